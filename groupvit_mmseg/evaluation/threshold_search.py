"""Calibration of the background threshold for any options of the segmentation.

Letters: images are ``H × W`` pixels, ``K`` is the number of classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.datasets.segmentation_checks import check_masks
from groupvit_mmseg.evaluation.calibration import (
    NO_IMAGE,
    ThresholdCalibration,
    calibrate_threshold,
    checked_thresholds,
    chosen_threshold,
)
from groupvit_mmseg.evaluation.confusion import count_labels
from groupvit_mmseg.evaluation.predictions import CARRIED, check_threshold, collect_predictions
from groupvit_mmseg.models.encoded_windows import (
    EmbeddedClasses,
    EncodedWindows,
    encode_windows,
)
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.out_of_memory import memory_sentence

NUM_SAMPLED = 16
"""int: Images whose scores decide which thresholds are tried."""


def calibrate_segmentor(
    segmentor: GroupViTSegmentor, batches: Iterable[dict], *, ignore_index: int = 255
) -> ThresholdCalibration:
    """Select the background threshold of the highest mIoU, whatever the segmentor's options.

    Where each segment of a window decides for itself, :func:`.collect_predictions` and
    :func:`.calibrate_threshold` do it. With averages over views (``tta_scales``, ``tta_flip``) and
    refined scores (``pamr_steps``, ``crf_steps``), :func:`search_threshold` does.

    Args:
        segmentor (GroupViTSegmentor): Its head has a background.
        batches (Iterable[dict]): A dataloader of images with masks, which are not test images.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Raises:
        ValueError: As these raise it.
    """
    if set(segmentor.options.changed()) <= set(CARRIED):
        predictions = collect_predictions(segmentor, batches, ignore_index=ignore_index)
        return calibrate_threshold(predictions, ignore_index=ignore_index)
    return search_threshold(segmentor, batches, ignore_index=ignore_index)


@torch.no_grad()
def search_threshold(
    segmentor: GroupViTSegmentor,
    batches: Iterable[dict],
    thresholds: Sequence[float] | None = None,
    *,
    ignore_index: int = 255,
) -> ThresholdCalibration:
    """Select the threshold of the highest mIoU by a segmentation at each of them.

    An image is encoded once, but its scores are averaged and refined again for every threshold that
    changes one of them. Predictions are compared at the size of the masks, unlike those of
    :func:`.collect_predictions`, so that the two mIoUs differ.

    Args:
        segmentor (GroupViTSegmentor): Its head has a background.
        batches (Iterable[dict]): A dataloader of images with masks, read once.
        thresholds (Sequence[float], optional): Thresholds to try, in [0, 1]. Defaults to None:
            steps of .05 and 100 quantiles of the segments' best scores in the first 16 images.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Raises:
        ValueError: If the head has no threshold, a mask does not fit, there is no image with a
            background, or with anything else, or a threshold is outside [0, 1].
        RuntimeError: If the memory is too small for an image.
    """
    head = segmentor.decode_head
    check_threshold(head)
    segmentor.eval()
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    images = _encoded(segmentor, batches, ignore_index)
    first = list(itertools.islice(images, NUM_SAMPLED))
    if not first:
        raise ValueError(NO_IMAGE)
    candidates = checked_thresholds(_grid(segmentor, first) if thresholds is None else thresholds)
    total, count = torch.zeros(()), 0
    for image in itertools.chain(first, images):
        total = total + _count(segmentor, image, embedded, candidates, ignore_index)
        count += 1
    return chosen_threshold(total, candidates, count)


class _EncodedImage(NamedTuple):
    """An image ``(3, H, W)``, its sample with the mask, and its windows after the backbone."""

    image: Tensor
    sample: SegDataSample
    windows: EncodedWindows


def _encoded(
    segmentor: GroupViTSegmentor, batches: Iterable[dict], ignore_index: int
) -> Iterator[_EncodedImage]:
    """Encode images one by one."""
    for batch in batches:
        check_masks(batch['data_samples'], segmentor.num_classes, ignore_index)
        data = segmentor.data_preprocessor(batch, False)
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            with memory_sentence(partial(segmentor.too_large, [image])):
                windows = encode_windows(segmentor, image)
            yield _EncodedImage(image, sample, windows)


def _grid(segmentor: GroupViTSegmentor, images: Sequence[_EncodedImage]) -> list[float]:
    """Return steps of .05, and quantiles of the best scores of the segments of some images."""
    head = segmentor.decode_head
    best = [
        head.foreground_affinity(affinity).amax(dim=-1)
        for each in images
        for affinity in each.windows.affinities(head)
    ]
    quantiles = torch.quantile(torch.cat(best).double().cpu(), torch.linspace(0, 1, 100).double())
    return [*(step / 20 for step in range(21)), *quantiles.clamp(0, 1).tolist()]


def _count(
    segmentor: GroupViTSegmentor,
    encoded: _EncodedImage,
    embedded: EmbeddedClasses,
    thresholds: Sequence[float],
    ignore_index: int,
) -> Tensor:
    """Count predictions and labels of an image at every threshold, ``(T, K, K)``."""
    num_classes = segmentor.num_classes
    mask = encoded.sample.gt_sem_seg.get('data')[0]  # (H, W)
    counts: list[Tensor] = []
    before: list[Tensor] = []
    for threshold in thresholds:
        windowed = encoded.windows.scored(segmentor.decode_head, embedded.with_threshold(threshold))
        # Most thresholds are between the same segments as the one before.
        if counts and all(map(torch.equal, windowed.scores, before)):
            counts.append(counts[-1])
            continue
        blank = SegDataSample(metainfo=encoded.sample.metainfo)
        with memory_sentence(partial(segmentor.too_large, [encoded.image])):
            result = segmentor.label_windows(windowed, encoded.image, blank)
        labels = result.pred_sem_seg.get('data')[0]
        counts.append(count_labels(labels, mask, num_classes, num_classes, ignore_index).cpu())
        before = windowed.scores
    return torch.stack(counts)
