"""Figures of an evaluation: images beside masks and predictions, and the confusion of classes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import BaseDataset, pseudo_collate
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.benchmark.result_types import JournalLine
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.evaluation.confusion import confusion_matrix, segmentation_scores
from groupvit_mmseg.evaluation.reliability import Reliability
from groupvit_mmseg.inference.loading import EvaluatedSegmentor
from groupvit_mmseg.visualization import draw_labels, enlarge, panel, save_figure

MAX_CLASSES = 40
SIDE = 240


def select_images(
    images: Mapping[int, JournalLine], num_classes: int, count: int
) -> dict[str, list[int]]:
    """Select the best, the worst and some random images by the mIoU of each.

    Args:
        images (Mapping[int, JournalLine]): Results of a journal by index.
        num_classes (int): Number of classes, the background included.
        count (int): Images of each kind.

    Returns:
        dict[str, list[int]]: Indices by ``best``, ``worst`` and ``random``.

    Example:
        >>> images = {3: dict(pairs=[[0, 0, 1], [0, 1, 1]]), 8: dict(pairs=[[1, 1, 2]])}
        >>> selection = select_images(images, num_classes=2, count=1)
        >>> selection['best'], selection['worst']
        ([8], [3])
    """
    mious = {
        index: segmentation_scores(confusion_matrix([line['pairs']], num_classes)).miou
        for index, line in images.items()
        if line['pairs']
    }
    ordered = sorted(mious, key=lambda index: (-mious[index], index))
    sample = random.Random(0).sample(sorted(mious), min(count, len(mious)))
    return dict(best=ordered[:count], worst=ordered[::-1][:count], random=sample)


def draw_images(
    segmentor: EvaluatedSegmentor, dataset: BaseDataset, indices: Sequence[int], path: str | Path
) -> None:
    """Draw images with their masks and predictions, a row per image.

    Args:
        segmentor (EvaluatedSegmentor): With the classes of the data set.
        dataset (BaseDataset): Images with masks.
        indices (Sequence[int]): Indices of the images.
        path (str | Path): File of the figure; its suffix decides the format.
    """
    rows = [_row(segmentor, dataset[index]) for index in indices]
    save_figure(panel(rows, ('image', 'truth', 'prediction')), path)


@torch.inference_mode()
def _row(segmentor: EvaluatedSegmentor, data: dict) -> list[NDArray[np.uint8]]:
    """Draw image, truth and prediction."""
    (sample,) = segmentor.test_step(pseudo_collate([data]))
    image = enlarge(load_image(sample.metainfo['img_path']), SIDE)
    truth, predicted = (
        enlarge(maps.get('data')[0].cpu().numpy(), SIDE)
        for maps in (sample.gt_sem_seg, sample.pred_sem_seg)
    )
    names = segmentor.class_names
    return [image, *(draw_labels(image, labels, names) for labels in (truth, predicted))]


def draw_confusion(matrix: NDArray[np.int64], names: Sequence[str], path: str | Path) -> None:
    """Draw which share of each class's pixels is predicted as which class.

    Args:
        matrix (NDArray): Pixels ``(K, K)``; rows are labels, columns predictions.
        names (Sequence[str]): Names of the classes.
        path (str | Path): File of the figure; its suffix decides the format. Of more than 40
            classes, those with the most pixels in masks and predictions are drawn.
    """
    weight = matrix.sum(0) + matrix.sum(1)
    classes = np.sort(np.argsort(-weight, kind='stable')[:MAX_CLASSES])
    classes = classes[weight[classes] > 0]
    pixels = matrix[classes].sum(1, keepdims=True)
    shares = matrix[np.ix_(classes, classes)] / np.maximum(pixels, 1)
    side = 2.5 + 0.24 * len(classes)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.add_subplot()
    heatmap = axes.imshow(100 * shares, cmap='Blues', vmin=0, vmax=100)
    labels = [names[index] for index in classes]
    axes.set_xticks(range(len(classes)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(classes)), labels, fontsize=7)
    axes.set_xlabel('prediction')
    axes.set_ylabel('ground truth')
    figure.colorbar(heatmap, ax=axes, shrink=0.7, label='% of the pixels of a class')
    kind = Path(path).suffix[1:]
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=110, format=kind))


def draw_reliability(bins: Reliability, path: str | Path) -> None:
    """Draw accuracy against confidence, and the share of the pixels at each confidence.

    Args:
        bins (Reliability): Accuracy by confidence.
        path (str | Path): File of the figure; its suffix decides the format.
    """
    figure = Figure(figsize=(4.5, 4.5), layout='constrained')
    axes = figure.add_subplot()
    centres = (np.arange(len(bins.pixels)) + 0.5) / len(bins.pixels)
    shares = np.array(bins.pixels) / sum(bins.pixels)
    axes.bar(centres, shares, 1 / len(centres), color='lightgrey', label='share of the pixels')
    points = [(c, a) for c, a in zip(bins.confidence, bins.accuracy) if c is not None]
    axes.plot(*zip(*points), 'o-', label='accuracy')
    axes.plot([0, 1], [0, 1], 'k:', label='calibrated')
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel='confidence', ylabel='accuracy')
    axes.set_title(f'expected calibration error {100 * bins.error:.1f} %', fontsize=10)
    axes.legend(fontsize=8)
    kind = Path(path).suffix[1:]
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=110, format=kind))
