"""Scores of a set, computed from the lines of its journal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmpretrain.evaluation import Accuracy

from groupvit_mmseg.benchmark.result_types import JournalLine, Scores
from groupvit_mmseg.evaluation.confusion import confusion_matrix, segmentation_scores


def iou_scores(images: Sequence[JournalLine], names: Sequence[str]) -> Scores:
    """Return IoU and accuracies in percent, and the IoU of each class.

    Args:
        images (Sequence[JournalLine]): Lines of segmented images.
        names (Sequence[str]): Names of the classes, the background included.

    Raises:
        ValueError: If no pixel counts.

    Example:
        >>> scores = iou_scores([dict(pairs=[[0, 0, 3], [1, 0, 1], [1, 1, 2]])], ['wall', 'cat'])
        >>> scores['class_iou']['wall'], round(scores['metrics']['mIoU'], 2)
        (75.0, 70.83)
    """
    matrix = confusion_matrix((line['pairs'] for line in images), len(names))
    if not matrix.any():
        raise ValueError(
            f'No pixel of the {len(images)} masks counts: all have the label that is ignored.'
        )
    scores = segmentation_scores(matrix)
    metrics = dict(
        mIoU=scores.miou,
        aAcc=scores.pixel_accuracy,
        mAcc=scores.mean_accuracy,
        fwIoU=scores.frequency_weighted_iou,
    )
    return Scores(metrics=metrics, class_iou=dict(zip(names, scores.class_iou, strict=True)))


def accuracy_scores(images: Sequence[JournalLine], names: Sequence[str]) -> Scores:
    """Return top-1 and top-5 accuracy in percent, by MMPretrain's metric.

    Args:
        images (Sequence[JournalLine]): Lines of classified images.
        names (Sequence[str]): Names of the classes.
    """
    scores = torch.zeros(len(images), len(names))
    best = torch.tensor([line['best'] for line in images])
    scores.scatter_(1, best, torch.arange(best.shape[1], 0, -1.0).expand_as(best))
    labels = torch.tensor([line['label'] for line in images])
    ((top1,), (top5,)) = Accuracy.calculate(scores, labels, topk=(1, best.shape[1]))
    return Scores(metrics=dict(top1=float(top1), top5=float(top5)), class_iou={})
