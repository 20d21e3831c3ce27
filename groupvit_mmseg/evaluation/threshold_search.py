"""Calibration of the background threshold for any options of the segmentation.

Letters: images are ``H × W`` pixels, ``K`` is the number of classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.datasets.segmentation_checks import check_masks
from groupvit_mmseg.evaluation.calibration import (
    ThresholdCalibration,
    calibrate_threshold,
    chosen_threshold,
)
from groupvit_mmseg.evaluation.confusion import count_labels
from groupvit_mmseg.evaluation.predictions import CARRIED, check_threshold, collect_predictions
from groupvit_mmseg.models.encoded_windows import EmbeddedClasses, encode_windows
from groupvit_mmseg.models.segmentor import GroupViTSegmentor

STEPS = tuple(step / 100 for step in range(101))
"""tuple[float, ...]: Thresholds that are tried where every one takes a segmentation."""


def calibrate_segmentor(
    segmentor: GroupViTSegmentor, batches: Iterable[dict]
) -> ThresholdCalibration:
    """Select the background threshold of the highest mIoU, whatever the segmentor's options.

    Where each segment of a window decides for itself, :func:`.collect_predictions` and
    :func:`.calibrate_threshold` do it. Averages over views (``tta_scales``, ``tta_flip``) and
    refined scores (``pamr_steps``, ``crf_steps``) are computed for each of 101 thresholds instead,
    from one encoding of each image.

    Args:
        segmentor (GroupViTSegmentor): Its head has a background.
        batches (Iterable[dict]): A dataloader of images with masks, which are not test images.

    Raises:
        ValueError: As the two raise it.
    """
    if set(segmentor.options.changed()) <= set(CARRIED):
        return calibrate_threshold(collect_predictions(segmentor, batches))
    return search_threshold(segmentor, batches)


@torch.no_grad()
def search_threshold(
    segmentor: GroupViTSegmentor, batches: Iterable[dict], thresholds: Sequence[float] = STEPS
) -> ThresholdCalibration:
    """Select the threshold of the highest mIoU by a segmentation at each of them.

    Args:
        segmentor (GroupViTSegmentor): Its head has a background.
        batches (Iterable[dict]): A dataloader of images with masks.
        thresholds (Sequence[float]): Thresholds to try, ascending, in [0, 1]. Defaults to steps of
            .01.

    Raises:
        ValueError: If the head has no threshold, a mask does not fit, or there is no image with a
            background, or with anything else.
    """
    check_threshold(segmentor.decode_head)
    segmentor.eval()
    images: list[Tensor] = []
    for batch in batches:
        check_masks(batch['data_samples'], segmentor.num_classes)
        data = segmentor.data_preprocessor(batch, False)
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            images.append(_count(segmentor, image, sample, thresholds))
    counts = torch.stack(images).sum(0) if images else torch.zeros(0, 0, 0)  # (T, K, K)
    return chosen_threshold(counts, thresholds, len(images))


def _count(
    segmentor: GroupViTSegmentor, image: Tensor, sample: SegDataSample, thresholds: Sequence[float]
) -> Tensor:
    """Count predictions and labels of an image at every threshold, ``(T, K, K)``."""
    head, num_classes = segmentor.decode_head, segmentor.num_classes
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    windows = encode_windows(segmentor, image)
    mask = sample.gt_sem_seg.get('data')[0]  # (H, W)
    counts: list[Tensor] = []
    before: list[Tensor] = []
    for threshold in thresholds:
        windowed = windows.scored(head, embedded.with_threshold(threshold))
        # Most thresholds are between the same segments as the one before.
        if not counts or not all(map(torch.equal, windowed.scores, before)):
            blank = SegDataSample(metainfo=sample.metainfo)
            result = segmentor.label_windows(windowed, image, blank)
            labels = result.pred_sem_seg.get('data')[0]
            one = count_labels(labels, mask, num_classes, num_classes).cpu()
            before = windowed.scores
        else:
            one = counts[-1]
        counts.append(one)
    return torch.stack(counts)
