"""Scores of a set from the lines of its journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmpretrain.evaluation import Accuracy

from groupvit_mmseg.evaluation.confusion import confusion_matrix, segmentation_scores


def iou_scores(images: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """IoU and accuracies in percent, and the IoU of each class."""
    matrix = confusion_matrix((line['pairs'] for line in images), len(names))
    if not matrix.any():
        raise ValueError(
            f'No pixel of the {len(images)} masks counts: all have the label that is ignored.'
        )
    scores = segmentation_scores(matrix)
    metrics = dict(mIoU=scores.miou, aAcc=scores.pixel_accuracy, mAcc=scores.mean_accuracy)
    return dict(metrics=metrics, class_iou=dict(zip(names, scores.class_iou, strict=True)))


def accuracy_scores(images: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Top-1 and top-5 accuracy in percent, by MMPretrain's metric."""
    scores = torch.zeros(len(images), len(names))
    best = torch.tensor([line['best'] for line in images])
    scores.scatter_(1, best, torch.arange(best.shape[1], 0, -1.0).expand_as(best))
    labels = torch.tensor([line['label'] for line in images])
    ((top1,), (top5,)) = Accuracy.calculate(scores, labels, topk=(1, best.shape[1]))
    return dict(metrics=dict(top1=float(top1), top5=float(top5)), class_iou={})
