"""Calibration of the background threshold on images with masks that are not the test images.

Letters: images are ``H × W`` pixels, ``K`` is the number of classes, ``S`` that of segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.evaluation.confusion import class_areas, count_labels, iou

NO_IMAGE = 'No image to calibrate the background threshold on: give a calib split.'


class SegmentPrediction(NamedTuple):
    """Segments and masks of one image, or of one window of an image.

    Attributes:
        affinity (Tensor): Segments × foreground classes ``(S, K-1)``, before the threshold.
        group_map (Tensor): Segment of every pixel ``(H, W)``.
        label_map (Tensor): Ground truth ``(H, W)``, 0 the background, 255 ignored.
    """

    affinity: Tensor
    group_map: Tensor
    label_map: Tensor


class ThresholdCalibration(NamedTuple):
    """A calibrated threshold and its provenance.

    Attributes:
        threshold (float): Middle of the first plateau of the highest mIoU.
        miou (float): mIoU in percent at the threshold, on the calibration images.
        num_crops (int): Images, or windows of images, that it was calibrated on.
        curve (tuple[tuple[float, float], ...]): Every (threshold, mIoU in percent) tried.
    """

    threshold: float
    miou: float
    num_crops: int
    curve: tuple[tuple[float, float], ...]

    @property
    def provenance(self) -> str:
        """The origin in one phrase, for a result file."""
        return (
            f'calibrated on {self.num_crops} crops (mIoU there {self.miou:.2f}, '
            f'{len(self.curve)} thresholds tried)'
        )


class _Counts(NamedTuple):
    """Statistics of one image that the sweep over thresholds needs."""

    best_score: Tensor  # (S,)
    best_class: Tensor  # (S,), 1-based: 0 is the background
    max_affinity: Tensor  # ()
    labels: Tensor  # (S, K)


def calibrate_threshold(
    predictions: Iterable[SegmentPrediction],
    *,
    thresholds: Sequence[float] | None = None,
    ignore_index: int = 255,
) -> ThresholdCalibration:
    """Select the background threshold of the highest mIoU; needs one forward pass per image.

    A pixel is background where the best affinity of its segment is strictly below
    ``min(threshold, highest affinity of the image)``, as in the zero-shot head.

    Args:
        predictions (Iterable[SegmentPrediction]): The calibration images, read once.
        thresholds (Sequence[float], optional): Thresholds to try, in [0, 1]. Defaults to None:
            steps of .01 and 200 quantiles of the segments' best scores.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Returns:
        ThresholdCalibration: The threshold, its mIoU and the whole curve.

    Raises:
        ValueError: If there is no image, none with both background and foreground, or a threshold
            outside [0, 1].

    Example:
        >>> prediction = SegmentPrediction(
        ...     affinity=torch.tensor([[0.2], [0.8]]),
        ...     group_map=torch.tensor([[0, 1]]),
        ...     label_map=torch.tensor([[0, 1]]),
        ... )
        >>> result = calibrate_threshold([prediction], thresholds=[0.1, 0.3, 0.5, 0.7])
        >>> result.threshold, result.miou
        (0.5, 100.0)
    """
    images = [_reduce(item, ignore_index) for item in predictions]
    if not images:
        raise ValueError(NO_IMAGE)
    candidates = checked_thresholds(_candidates(images) if thresholds is None else thresholds)
    counts = torch.stack([_confusion(images, threshold) for threshold in candidates])
    return chosen_threshold(counts, candidates, len(images))


def checked_thresholds(thresholds: Iterable[float]) -> list[float]:
    """Return thresholds in ascending order, each once.

    Raises:
        ValueError: If there is none, or one outside [0, 1].
    """
    candidates = sorted(set(thresholds))
    if not candidates or candidates[0] < 0 or candidates[-1] > 1:
        raise ValueError(f'Thresholds to try must lie in [0, 1], got {candidates}.')
    return candidates


def chosen_threshold(
    counts: Tensor, thresholds: Sequence[float], num_crops: int
) -> ThresholdCalibration:
    """Return the threshold of the highest mIoU.

    Args:
        counts (Tensor): Pixels of each (prediction, label) at each threshold, ``(T, K, K)``.
        thresholds (Sequence[float]): The thresholds, ascending.
        num_crops (int): Images, or windows of images, that were counted.

    Raises:
        ValueError: If the masks have no background, or nothing else.
    """
    pixels = counts[0].sum(0)
    if not pixels[0] or not pixels[1:].any():
        raise ValueError(
            f'The masks have {int(pixels[0])} pixels of background and {int(pixels[1:].sum())} of '
            'other classes: a threshold needs both.'
        )
    mious = [_mean_iou(confusion) for confusion in counts]
    index = _middle_of_best(mious)
    curve = tuple(zip(thresholds, mious, strict=True))
    return ThresholdCalibration(thresholds[index], mious[index], num_crops, curve)


def _reduce(item: SegmentPrediction, ignore_index: int) -> _Counts:
    """Count pixels per segment and class; keep each segment's best class."""
    num_groups, num_foreground = item.affinity.shape
    labels = count_labels(
        item.group_map, item.label_map, num_groups, num_foreground + 1, ignore_index
    )
    score, index = item.affinity.max(dim=1)
    return _Counts(score.cpu(), index.cpu() + 1, score.max().cpu(), labels.cpu())


def _candidates(images: Sequence[_Counts]) -> list[float]:
    """Return steps of .01 and the quantiles of the best scores, ascending."""
    scores = torch.cat([image.best_score for image in images]).double()
    quantiles = torch.quantile(scores, torch.linspace(0, 1, 200, dtype=torch.float64))
    return sorted({*(step / 100 for step in range(101)), *quantiles.clamp(0, 1).tolist()})


def _confusion(images: Sequence[_Counts], threshold: float) -> Tensor:
    """Count the pixels of each (prediction, label) at one threshold, ``(K, K)``."""
    confusion = images[0].labels.new_zeros((images[0].labels.size(1),) * 2)
    for image in images:
        background = image.best_score < image.max_affinity.clamp(max=threshold)
        predicted = image.best_class.masked_fill(background, 0)
        confusion.index_add_(0, predicted, image.labels)
    return confusion


def _mean_iou(confusion: Tensor) -> float:
    """Return the mIoU in percent over the classes that occur in a confusion matrix ``(K, K)``."""
    areas = class_areas(confusion)
    class_iou = iou(areas.intersect.double(), areas.union)
    return float(class_iou[~class_iou.isnan()].mean()) * 100


def _middle_of_best(values: Sequence[float]) -> int:
    """Return the index in the middle of the first run of the highest value."""
    start = values.index(max(values))
    end = start
    while end + 1 < len(values) and values[end + 1] == values[start]:
        end += 1
    return (start + end) // 2
