"""Counts of (label, prediction) pairs and the IoU that follows from them.

This module states the IoU arithmetic once: :func:`class_areas` gives the areas of each class,
:func:`iou` divides them. A class that is absent, in neither masks nor predictions, has the IoU NaN
and is left out of every mean. Counts are whole numbers, so that their order never matters.

Letters: images are ``H × W`` pixels, ``K`` is the number of classes, ``S`` that of segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Pairs = list[list[int]]


class ClassAreas(NamedTuple):
    """Pixels of each class ``(K,)``, in the order of MMSegmentation's ``intersect_and_union``.

    Attributes:
        intersect (Tensor): Pixels of the class in both the prediction and the mask.
        union (Tensor): Pixels of the class in either.
        predicted (Tensor): Pixels of the class in the prediction.
        labelled (Tensor): Pixels of the class in the mask.
    """

    intersect: Tensor
    union: Tensor
    predicted: Tensor
    labelled: Tensor


class SegmentationScores(NamedTuple):
    """Scores of a confusion matrix, in percent.

    Attributes:
        miou (float): Mean IoU over the classes in masks or predictions.
        mean_accuracy (float): Mean over the classes in masks of the share of their pixels that is
            predicted correctly.
        pixel_accuracy (float): Share of all pixels that is predicted correctly.
        class_iou (list[float | None]): IoU by class; None for an absent class.
        frequency_weighted_iou (float): Mean IoU over all pixels of the masks, each with that of its
            class.
    """

    miou: float
    mean_accuracy: float
    pixel_accuracy: float
    class_iou: list[float | None]
    frequency_weighted_iou: float


def count_labels(
    group_map: Tensor, label_map: Tensor, num_groups: int, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count the pixels of every (segment, class) pair of one image.

    Args:
        group_map (Tensor): Segment of every pixel, ``(H, W)`` integers below ``num_groups``.
        label_map (Tensor): Class of every pixel, ``(H, W)`` integers.
        num_groups (int): Number of segments ``S``.
        num_classes (int): Number of classes ``K``.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Returns:
        Tensor: Counts ``(S, K)``, int64.

    Raises:
        ValueError: If a label that counts has no class.

    Example:
        >>> group_map = torch.tensor([[0, 0, 1], [0, 1, 1]])
        >>> label_map = torch.tensor([[0, 0, 2], [1, 2, 255]])
        >>> count_labels(group_map, label_map, num_groups=2, num_classes=3)
        tensor([[2, 1, 0],
                [0, 0, 2]])
    """
    valid = label_map != ignore_index
    labels = label_map[valid].long()
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f'A mask has labels from {int(labels.min())} to {int(labels.max())}, but there are '
            f'{num_classes} classes, and {ignore_index} is ignored: check both.'
        )
    pairs = group_map[valid].long() * num_classes + labels
    return torch.bincount(pairs, minlength=num_groups * num_classes).view(num_groups, num_classes)


def count_pairs(
    label_map: Tensor, predicted: Tensor, num_classes: int, ignore_index: int = 255
) -> Pairs:
    """Count the pixels of each (label, prediction) pair that occurs.

    Args:
        label_map (Tensor): Ground truth ``(H, W)``.
        predicted (Tensor): Prediction ``(H, W)``.
        num_classes (int): Number of classes ``K``.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Returns:
        list[list[int]]: ``[[label, prediction, count], ...]``, ascending.

    Example:
        >>> label_map, predicted = torch.tensor([[0, 1, 1, 255]]), torch.tensor([[0, 1, 0, 0]])
        >>> count_pairs(label_map, predicted, num_classes=2)
        [[0, 0, 1], [1, 0, 1], [1, 1, 1]]
    """
    valid = label_map != ignore_index
    pairs = label_map[valid].long() * num_classes + predicted[valid].long()
    values, counts = torch.unique(pairs, return_counts=True)
    rows, columns = values // num_classes, values % num_classes
    return torch.stack([rows, columns, counts], dim=1).tolist()


def confusion_matrix(pairs: Iterable[Pairs], num_classes: int) -> NDArray[np.int64]:
    """Sum the pairs of many images.

    Args:
        pairs (Iterable[Pairs]): Of :func:`count_pairs`, by image.
        num_classes (int): Number of classes ``K``.

    Raises:
        ValueError: If a pair has another class.

    Returns:
        NDArray: Pixels ``(K, K)``: rows are labels, columns predictions.

    Example:
        >>> confusion_matrix([[[0, 0, 1], [1, 0, 1]], [[1, 1, 4]]], num_classes=2)
        array([[1, 0],
               [1, 4]])
    """
    matrix = np.zeros((num_classes, num_classes), np.int64)
    for image in pairs:
        for label, predicted, count in image:
            if not (0 <= label < num_classes and 0 <= predicted < num_classes):
                raise ValueError(
                    f'The results count label {label} and prediction {predicted}, but there are '
                    f'{num_classes} classes: evaluate into another folder.'
                )
            matrix[label, predicted] += count
    return matrix


def class_areas(counts: Tensor) -> ClassAreas:
    """Return the areas of each class.

    Args:
        counts (Tensor): Pixels ``(K, K)``: rows are predictions, columns labels.

    Example:
        >>> areas = class_areas(torch.tensor([[1, 1], [0, 4]]))
        >>> areas.intersect.tolist(), areas.union.tolist()
        ([1, 4], [2, 5])
    """
    intersect, predicted, labelled = counts.diagonal(), counts.sum(1), counts.sum(0)
    return ClassAreas(intersect.clone(), predicted + labelled - intersect, predicted, labelled)


def iou(intersect: Tensor, union: Tensor) -> Tensor:
    """Divide intersections by unions: in [0, 1], NaN for absent classes.

    Args:
        intersect (Tensor): Pixels in both of two regions, any shape.
        union (Tensor): Pixels in either, the same shape.

    Returns:
        Tensor: In the dtype of the areas; for integers in PyTorch's default dtype.

    Example:
        >>> iou(torch.tensor([1, 4, 0]), torch.tensor([2, 5, 0]))
        tensor([0.5000, 0.8000,    nan])
    """
    return intersect / union


def pairwise_iou(counts: Tensor) -> Tensor:
    """Return the IoU of every segment with every class, 0 where both are absent.

    Args:
        counts (Tensor): Pixels ``(S, K)`` of :func:`count_labels`.

    Returns:
        Tensor: ``(S, K)``.
    """
    union = counts.sum(1, keepdim=True) + counts.sum(0, keepdim=True) - counts  # (S, K)
    return iou(counts, union).nan_to_num(0)


def segmentation_scores(matrix: NDArray[np.int64]) -> SegmentationScores:
    """Return the IoU and the accuracies of a confusion matrix.

    Args:
        matrix (NDArray): Pixels ``(K, K)``: rows are labels, columns predictions.

    Example:
        >>> scores = segmentation_scores(np.array([[1, 0, 0], [1, 4, 0], [0, 0, 0]]))
        >>> scores.miou, scores.class_iou
        (65.0, [50.0, 80.0, None])
    """
    areas = class_areas(torch.from_numpy(matrix).T.double())
    class_iou = 100 * iou(areas.intersect, areas.union)
    accuracy = 100 * (areas.intersect / areas.labelled)
    return SegmentationScores(
        miou=_mean_of_present(class_iou),
        mean_accuracy=_mean_of_present(accuracy),
        pixel_accuracy=float(100 * areas.intersect.sum() / max(matrix.sum(), 1)),
        class_iou=[None if value != value else value for value in class_iou.tolist()],
        frequency_weighted_iou=float(
            (class_iou.nan_to_num(0) * areas.labelled).sum() / max(matrix.sum(), 1)
        ),
    )


def _mean_of_present(values: Tensor) -> float:
    """Average over the classes that are not NaN; 0 if all are."""
    return 0.0 if values.isnan().all() else float(np.nanmean(values.numpy()))
