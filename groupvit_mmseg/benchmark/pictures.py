"""Pictures of an evaluation: images beside their masks, and which classes are taken for which."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.evaluation.confusion import confusion_matrix, segmentation_scores
from groupvit_mmseg.visualization import draw_labels, enlarge, panel, save_picture

MAX_CLASSES = 40
SIDE = 240


def chosen_images(
    images: Mapping[int, Mapping[str, Any]], num_classes: int, count: int
) -> dict[str, list[int]]:
    """Indices of the best, the worst and some random images by their own mIoU.

    Args:
        images (Mapping[int, Mapping]): A journal's results by index.
        num_classes (int): Number of classes.
        count (int): Images of each kind.
    """
    own = {
        index: segmentation_scores(confusion_matrix([line['pairs']], num_classes)).miou
        for index, line in images.items()
        if line['pairs']
    }
    ordered = sorted(own, key=lambda index: (-own[index], index))
    drawn = random.Random(0).sample(ordered, min(count, len(ordered)))
    return dict(best=ordered[:count], worst=ordered[::-1][:count], random=drawn)


def draw_images(segmentor: Any, dataset: Any, indices: Sequence[int], path: str | Path) -> None:
    """Draw images, their masks and what a segmentor says, one below the other.

    Args:
        segmentor (Any): A ``GroupViTSegmentor`` set up for the classes.
        dataset (Any): A segmentation data set of MMSegmentation.
        indices (Sequence[int]): Which images.
        path (str | Path): The picture.
    """
    rows = [_row(segmentor, dataset[index]) for index in indices]
    save_picture(panel(rows, ('image', 'truth', 'prediction')), path)


@torch.inference_mode()
def _row(segmentor: Any, data: dict) -> list[NDArray[np.uint8]]:
    """Image, truth and prediction."""
    (sample,) = segmentor.test_step(pseudo_collate([data]))
    image = enlarge(load_image(sample.img_path), SIDE)
    truth, predicted = (
        enlarge(maps.data[0].cpu().numpy(), SIDE)
        for maps in (sample.gt_sem_seg, sample.pred_sem_seg)
    )
    names = segmentor.decode_head.class_names
    return [image, *(draw_labels(image, labels, names) for labels in (truth, predicted))]


def draw_confusion(matrix: NDArray[np.int64], names: Sequence[str], path: str | Path) -> None:
    """Draw what share of each class's pixels is labelled as which class.

    Args:
        matrix (NDArray): Pixels ``(K, K)``; rows are labels, columns predictions.
        names (Sequence[str]): Names of the classes.
        path (str | Path): The picture; its suffix decides the format. Of more than 40 classes,
            those with the most pixels in masks and predictions are drawn.
    """
    weight = matrix.sum(0) + matrix.sum(1)
    kept = np.sort(np.argsort(-weight, kind='stable')[:MAX_CLASSES])
    kept = kept[weight[kept] > 0]
    shares = matrix[np.ix_(kept, kept)] / np.maximum(matrix[kept].sum(1, keepdims=True), 1)
    side = 2.5 + 0.24 * len(kept)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.add_subplot()
    picture = axes.imshow(100 * shares, cmap='Blues', vmin=0, vmax=100)
    labels = [names[index] for index in kept]
    axes.set_xticks(range(len(kept)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(kept)), labels, fontsize=7)
    axes.set_xlabel('labelled as')
    axes.set_ylabel('is')
    figure.colorbar(picture, ax=axes, shrink=0.7, label='% of the pixels of a class')
    kind = Path(path).suffix[1:]
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=110, format=kind))
