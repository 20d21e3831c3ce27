"""Calibration of confidences: is a class right as often as its score says?

The expected calibration error of Guo et al. (arXiv 1706.04599), over pixels. Letters: ``H, W``
pixels, ``M`` bins of equal width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NUM_BINS = 15
UNIT = 10**6
"""int: Confidences are summed in millionths, so that the order of the images never matters."""
ROUNDING = 1e-3  # of resized and refined scores

ConfidenceCounts = list[list[int]]
"""list: By bin: pixels, correct pixels, sum of the confidences in millionths."""


class Reliability(NamedTuple):
    """Accuracy by confidence.

    Attributes:
        error (float): Expected calibration error in [0, 1]: the mean difference of confidence and
            accuracy over all pixels.
        pixels (list[int]): Pixels in each bin.
        confidence (list[float | None]): Mean confidence of each bin; None for an empty one.
        accuracy (list[float | None]): Share of its pixels whose class is right; None for an empty
            one.
    """

    error: float
    pixels: list[int]
    confidence: list[float | None]
    accuracy: list[float | None]


def count_confidence(
    confidence: Tensor, predicted: Tensor, label_map: Tensor, *, ignore_index: int = 255
) -> ConfidenceCounts:
    """Count the pixels of one image by their confidence.

    Args:
        confidence (Tensor): Score of each pixel's class in [0, 1], ``(H, W)``.
        predicted (Tensor): Class of each pixel ``(H, W)``.
        label_map (Tensor): True class of each pixel ``(H, W)``.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Raises:
        ValueError: If a score is not in [0, 1], and so no confidence.

    Example:
        >>> confidence, ones = torch.tensor([[0.95, 0.99, 0.5]]), torch.ones(1, 3)
        >>> count_confidence(confidence, ones, torch.tensor([[1, 0, 1]]))[-1]
        [2, 1, 1940000]
    """
    valid = label_map != ignore_index
    values = confidence[valid].double()
    if not ((values > -ROUNDING) & (values < 1 + ROUNDING)).all():
        raise ValueError(
            f'A calibration needs scores from 0 to 1, and those of an image are '
            f'{float(values.min()):.3g} to {float(values.max()):.3g}.'
        )
    values = values.clamp(0, 1)
    bins = (values * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    correct = (predicted[valid] == label_map[valid]).long()
    counts = torch.zeros(NUM_BINS, 3, dtype=torch.int64)
    parts = (torch.ones_like(correct), correct, (values * UNIT).round().long())
    counts.index_add_(0, bins, torch.stack(parts, dim=1))
    return counts.tolist()


def reliability(images: Sequence[ConfidenceCounts]) -> Reliability:
    """Sum the counts of images.

    Args:
        images (Sequence[ConfidenceCounts]): Of :func:`count_confidence`.

    Raises:
        ValueError: If no pixel counts.

    Example:
        >>> counts = [[0, 0, 0]] * 14 + [[4, 3, 4_000_000]]
        >>> reliability([counts]).error
        0.25
    """
    total = torch.tensor(list(images)).sum(0) if images else torch.zeros(NUM_BINS, 3)
    pixels, correct, sums = total.double().unbind(1)
    if not pixels.any():
        raise ValueError('No pixel counts: a calibration needs images with labels.')
    accuracy, confidence = correct / pixels, sums / UNIT / pixels  # NaN for empty bins
    gaps = (accuracy - confidence).abs().nan_to_num(0) * pixels
    return Reliability(
        error=float(gaps.sum() / pixels.sum()),
        pixels=[int(value) for value in pixels.tolist()],
        confidence=[None if value != value else value for value in confidence.tolist()],
        accuracy=[None if value != value else value for value in accuracy.tolist()],
    )
