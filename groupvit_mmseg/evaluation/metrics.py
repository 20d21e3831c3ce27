"""MMSeg's IoU with what it lacks: the value of each class, and the oracle of the segments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from groupvit_mmseg.text.vocabulary import is_background


@METRICS.register_module()
class PerClassIoUMetric(IoUMetric):
    """``IoUMetric`` that keeps the IoU of every class after it has printed its table.

    Arguments are those of ``IoUMetric``. The metric's names are the same (``mIoU``, ``aAcc``, ...).

    Attributes:
        class_iou (dict[str, float | None]): IoU in percent by class name; None for a class that
            occurs neither in a mask nor in a prediction. Empty before the first evaluation, and on
            ranks other than the first.
    """

    # An empty prefix says that plain names are meant; None would be warned about.
    default_prefix = ''

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.class_iou: dict[str, float | None] = {}

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As ``IoUMetric``, in float64: sums of float32 over a data set depend on their order."""
        counts = count_labels(pred_label, label, num_classes, num_classes, ignore_index)
        counts = counts.double().cpu()  # rows are predictions
        intersect, predicted, labelled = counts.diagonal(), counts.sum(1), counts.sum(0)
        return intersect.clone(), predicted + labelled - intersect, predicted, labelled

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Print the table and return the aggregates, as ``IoUMetric``; fill ``class_iou``.

        Raises:
            ValueError: If no pixel counts.
        """
        if results and not self.format_only and not any(union.any() for _, union, _, _ in results):
            raise ValueError(
                f'{type(self).__name__} counts no pixel of {len(results)} images: all have the '
                f'label {self.ignore_index}, which is ignored, or a label that it leaves out.'
            )
        metrics = super().compute_metrics(results)
        if not self.format_only:
            intersect, union, _, _ = (sum(areas) for areas in zip(*results, strict=True))
            iou = (intersect / union * 100).tolist()
            self.class_iou = {
                name: None if value != value else round(value, 4)
                for name, value in zip(self.dataset_meta['classes'], iou, strict=True)
            }
        return {name: float(value) for name, value in metrics.items()}


@METRICS.register_module()
class OracleIoUMetric(PerClassIoUMetric):
    """IoU when each segment is given its best class: what the groups' shapes allow (paper, 4.3).

    The best class of a segment is the one whose mask in the same image it overlaps with the highest
    IoU. Reads ``pred_group_map``, ``(1, H, W)`` segment indices, of the data samples.
    """

    default_prefix = 'oracle'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Rename each sample's segments to their best classes and count as ``IoUMetric``."""
        super().process(data_batch, [self._renamed(sample) for sample in data_samples])

    def _renamed(self, sample: dict) -> dict:
        """The sample with its segments' best classes as the prediction."""
        if 'pred_group_map' not in sample:
            raise KeyError(
                'OracleIoUMetric found no pred_group_map in a data sample: evaluate a '
                "GroupViTSegmentor with test_cfg=dict(mode='whole')."
            )
        group_map = sample['pred_group_map']['data'].squeeze(0)
        label_map = sample['gt_sem_seg']['data'].squeeze(0).to(group_map)
        num_classes = len(self.dataset_meta['classes'])
        classes = best_classes(group_map, label_map, num_classes, self.ignore_index)
        return {**sample, 'pred_sem_seg': {'data': classes[group_map][None]}}


@METRICS.register_module()
class ForegroundIoUMetric(PerClassIoUMetric):
    """IoU over foreground pixels and classes alone, from the same pass that finds the background.

    What a set scores without its background class (VOC20 beside VOC21): pixels of class 0 are left
    out, and all others are given their best foreground class, for the zero-shot head keeps
    foreground scores where the background wins. Reads ``seg_logits``.
    """

    default_prefix = 'foreground'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the background out of predictions and masks and count as ``IoUMetric``."""
        super().process(data_batch, [self._without_background(s) for s in data_samples])

    def _without_background(self, sample: dict) -> dict:
        """The sample with its best foreground classes as the prediction."""
        if 'seg_logits' not in sample:
            raise KeyError(
                'ForegroundIoUMetric found no seg_logits in a data sample: evaluate with '
                'test_cfg=dict(with_scores=True).'
            )
        check_first_class(self)
        label_map = sample['gt_sem_seg']['data']
        foreground = sample['seg_logits']['data'][1:].argmax(0, keepdim=True) + 1
        return {
            **sample,
            'pred_sem_seg': {'data': foreground},
            'gt_sem_seg': {'data': label_map.masked_fill(label_map == 0, self.ignore_index)},
        }


def check_first_class(metric: Any) -> None:
    """Refuse a metric of the foreground on a set whose first class is not the background.

    Raises:
        ValueError: Names the class, whose pixels would be left out.
    """
    first = metric.dataset_meta['classes'][0]
    if not is_background(first):
        raise ValueError(
            f'{type(metric).__name__} leaves out label 0, which is {first!r} here and no '
            'background: do without this metric.'
        )


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
    """
    known = label_map != ignore_index
    labels = label_map[known].long()
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f'A mask has labels from {int(labels.min())} to {int(labels.max())}, but there are '
            f'{num_classes} classes, and {ignore_index} is ignored: check both.'
        )
    pairs = group_map[known].long() * num_classes + labels
    return torch.bincount(pairs, minlength=num_groups * num_classes).view(num_groups, num_classes)


def best_classes(
    group_map: Tensor, label_map: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Class of the highest IoU with each segment, ``(S,)``; the lowest index wins a tie."""
    num_groups = int(group_map.max()) + 1
    counts = count_labels(group_map, label_map, num_groups, num_classes, ignore_index)
    union = counts.sum(1, keepdim=True) + counts.sum(0, keepdim=True) - counts
    return (counts / union.clamp(min=1)).argmax(1)
