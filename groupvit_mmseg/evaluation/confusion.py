"""Counts of (label, prediction) pairs: whole numbers, so that their order never matters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pairs = list[list[int]]


class SegmentationScores(NamedTuple):
    """What follows from a confusion matrix, in percent.

    Attributes:
        miou (float): Mean IoU over the classes in masks or predictions.
        mean_accuracy (float): Mean over classes of their pixels found.
        pixel_accuracy (float): Pixels labelled rightly.
        class_iou (list[float | None]): By class; None where it is undefined.
    """

    miou: float
    mean_accuracy: float
    pixel_accuracy: float
    class_iou: list[float | None]


def count_pairs(
    label_map: Tensor, predicted: Tensor, num_classes: int, ignored: int = 255
) -> Pairs:
    """Pixels of each (label, prediction) pair that occurs: ``[[label, prediction, count], ...]``.

    Args:
        label_map (Tensor): Ground truth ``(H, W)``.
        predicted (Tensor): Prediction ``(H, W)``.
        num_classes (int): Number of classes ``K``.
        ignored (int): Label that does not count. Defaults to 255.
    """
    known = label_map != ignored
    pairs = label_map[known].long() * num_classes + predicted[known].long()
    values, counts = torch.unique(pairs, return_counts=True)
    rows, columns = values // num_classes, values % num_classes
    return torch.stack([rows, columns, counts], dim=1).tolist()


def confusion_matrix(pairs: Iterable[Pairs], num_classes: int) -> NDArray[np.int64]:
    """Sum over images, ``(K, K)``: rows are labels, columns predictions."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for image in pairs:
        for label, predicted, count in image:
            matrix[label, predicted] += count
    return matrix


def segmentation_scores(matrix: NDArray[np.int64]) -> SegmentationScores:
    """IoU and accuracies of a confusion matrix."""
    right = np.diagonal(matrix).astype(np.float64)
    labelled, predicted = matrix.sum(1), matrix.sum(0)
    iou = _percent(right, labelled + predicted - right)
    accuracy = _percent(right, labelled)
    return SegmentationScores(
        miou=float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0,
        mean_accuracy=float(np.nanmean(accuracy)) if np.isfinite(accuracy).any() else 0.0,
        pixel_accuracy=float(100 * right.sum() / max(matrix.sum(), 1)),
        class_iou=[None if np.isnan(value) else float(value) for value in iou],
    )


def _percent(part: NDArray[np.float64], whole: NDArray) -> NDArray[np.float64]:
    """Percent, not a number where the whole is nothing."""
    return 100 * np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
