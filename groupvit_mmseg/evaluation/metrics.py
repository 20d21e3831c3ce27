"""MMSegmentation's IoU with the value of each class, of the segments' oracle, of the foreground."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS
from torch import Tensor

from groupvit_mmseg.evaluation.confusion import (
    ClassAreas,
    class_areas,
    count_labels,
    iou,
    pairwise_iou,
)
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

    # An empty prefix leaves the names plain; IoUMetric warns about None.
    default_prefix = ''

    def __init__(self, **kwargs: Any) -> None:  # of the base class
        super().__init__(**kwargs)
        self.class_iou: dict[str, float | None] = {}

    @staticmethod
    def intersect_and_union(
        pred_label: Tensor, label: Tensor, num_classes: int, ignore_index: int
    ) -> ClassAreas:
        """As ``IoUMetric``, in float64: sums of float32 over a data set depend on their order."""
        counts = count_labels(pred_label, label, num_classes, num_classes, ignore_index)
        return class_areas(counts.cpu().double())  # rows are predictions

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Print the table, fill ``class_iou`` and return the aggregates, as ``IoUMetric``.

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
            percent = (iou(intersect, union) * 100).tolist()
            self.class_iou = {
                name: None if value != value else round(value, 4)
                for name, value in zip(class_names_of(self), percent, strict=True)
            }
        return {name: float(value) for name, value in metrics.items()}


@METRICS.register_module()
class OracleIoUMetric(PerClassIoUMetric):
    """IoU when each segment gets its best class: the upper bound set by the groups' shapes (4.3).

    The best class of a segment has the mask of the highest IoU with it in the same image. Reads
    ``pred_group_map``, ``(1, H, W)`` segment indices, of the data samples.
    """

    default_prefix = 'oracle'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Rename each sample's segments to their best classes and count as ``IoUMetric``."""
        super().process(data_batch, [self._renamed(sample) for sample in data_samples])

    def _renamed(self, sample: dict) -> dict:
        """Return the sample with its segments' best classes as the prediction."""
        if 'pred_group_map' not in sample:
            raise KeyError(
                'OracleIoUMetric found no pred_group_map in a data sample: evaluate a '
                "GroupViTSegmentor with test_cfg=dict(mode='whole')."
            )
        group_map = sample['pred_group_map']['data'].squeeze(0)
        label_map = sample['gt_sem_seg']['data'].squeeze(0).to(group_map.device)
        num_classes = len(class_names_of(self))
        classes = best_classes(group_map, label_map, num_classes, self.ignore_index)
        return {**sample, 'pred_sem_seg': {'data': classes[group_map][None]}}


@METRICS.register_module()
class ForegroundIoUMetric(PerClassIoUMetric):
    """IoU over foreground pixels and classes alone, from the same pass as the IoU with background.

    The score of a set without its background class (VOC20 beside VOC21): pixels of class 0 are left
    out, and all others get their best foreground class; the zero-shot head keeps the foreground
    scores where the background wins. Reads ``seg_logits``.
    """

    default_prefix = 'foreground'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Remove the background from predictions and masks and count as ``IoUMetric``."""
        super().process(data_batch, [self._without_background(s) for s in data_samples])

    def _without_background(self, sample: dict) -> dict:
        """Return the sample with its best foreground classes as the prediction."""
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


@METRICS.register_module()
class ImageTagIoUMetric(PerClassIoUMetric):
    """IoU of a prediction that knows *what* but not *where*: one word over the image.

    The word is the foreground class of the largest smooth maximum of its pixels' scores,
    ``log mean exp(beta * score)``: pixels have the scores of their segments, so this weights each
    segment by its share. Reads ``seg_logits``.

    Args:
        foreground_only (bool): Whether pixels of the background, class 0, are left out. The prefix
            is then ``'tag_foreground'``. Defaults to False.
        center_share (float, optional): Share of the image, in (0, pi / 4], that an ellipse in its
            middle covers; the word is painted there and the rest is background. The prefix is then
            ``'tag_center'``: a model that knows *what*, and that photographers aim at things.
            Defaults to None, the whole image.
        smooth_max_beta (float): Sharpness of the maximum; 0 is near the mean. Defaults to 10.0.
        **kwargs: Arguments of ``IoUMetric``.

    Raises:
        ValueError: If ``center_share`` is out of its range, or is given with ``foreground_only``.
    """

    default_prefix = 'tag'

    def __init__(
        self,
        *,
        foreground_only: bool = False,
        center_share: float | None = None,
        smooth_max_beta: float = 10.0,
        **kwargs: Any,  # of the base class
    ) -> None:
        if center_share is not None and (foreground_only or not 0 < center_share <= math.pi / 4):
            raise ValueError(
                f'center_share = {center_share} must be above 0 and at most pi / 4, without '
                'foreground_only.'
            )
        if foreground_only:
            kwargs.setdefault('prefix', 'tag_foreground')
        if center_share is not None:
            kwargs.setdefault('prefix', 'tag_center')
        super().__init__(**kwargs)
        self.foreground_only = foreground_only
        self.center_share = center_share
        self.smooth_max_beta = smooth_max_beta

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Paint each image's best word over it and count as ``IoUMetric``."""
        super().process(data_batch, [self._painted(sample) for sample in data_samples])

    def _painted(self, sample: dict) -> dict:
        """Return the sample with its best word as the prediction."""
        if 'seg_logits' not in sample:
            raise KeyError(
                'ImageTagIoUMetric found no seg_logits in a data sample: evaluate with '
                'test_cfg=dict(with_scores=True).'
            )
        label_map = sample['gt_sem_seg']['data']
        first = int(is_background(class_names_of(self)[0]))
        scores = sample['seg_logits']['data'][first:].flatten(1)  # (K, H W)
        word = int((self.smooth_max_beta * scores).logsumexp(dim=1).argmax()) + first
        if self.foreground_only:
            check_first_class(self)
            label_map = label_map.masked_fill(label_map == 0, self.ignore_index)
        prediction = torch.full_like(label_map, word)
        if self.center_share is not None:
            check_first_class(self)
            inside = central_ellipse(*label_map.shape[-2:], share=self.center_share)
            prediction = prediction.where(inside.to(prediction.device), 0)
        return {
            **sample,
            'pred_sem_seg': {'data': prediction},
            'gt_sem_seg': {'data': label_map},
        }


def central_ellipse(height: int, width: int, *, share: float) -> Tensor:
    """Return which pixels lie in an ellipse in the middle, of the image's proportions.

    Args:
        height (int): Height ``H`` in pixels.
        width (int): Width ``W`` in pixels.
        share (float): Share of the image that it covers, in (0, pi / 4].

    Returns:
        Tensor: bool ``(H, W)``.

    Example:
        >>> central_ellipse(3, 4, share=0.3).long()
        tensor([[0, 0, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 0, 0]])
    """
    rows = (torch.arange(height) + 0.5) / height - 0.5
    columns = (torch.arange(width) + 0.5) / width - 0.5
    return rows[:, None] ** 2 + columns**2 <= share / math.pi  # (H, 1) and (W,) to (H, W)


def class_names_of(metric: BaseMetric) -> Sequence[str]:
    """Return the classes that an evaluator set on a metric.

    Raises:
        ValueError: If none did.
    """
    if metric.dataset_meta is None:
        raise ValueError(
            f'{type(metric).__name__} has no classes: set dataset_meta=dict(classes=[...]), as an '
            'Evaluator does.'
        )
    return metric.dataset_meta['classes']


def check_first_class(metric: BaseMetric) -> None:
    """Refuse a metric of the foreground on a set whose first class is not the background.

    Raises:
        ValueError: Names the class, whose pixels would be left out.
    """
    first = class_names_of(metric)[0]
    if not is_background(first):
        raise ValueError(
            f'{type(metric).__name__} leaves out label 0, which is {first!r} here and no '
            'background: do without this metric.'
        )


def best_classes(
    group_map: Tensor, label_map: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Return the class of the highest IoU with each segment; the lowest index wins a tie.

    Args:
        group_map (Tensor): Segment of every pixel ``(H, W)``.
        label_map (Tensor): Class of every pixel ``(H, W)``.
        num_classes (int): Number of classes ``K``.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Returns:
        Tensor: ``(S,)``, int64.

    Example:
        >>> import torch
        >>> group_map, label_map = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[2, 2, 1, 2]])
        >>> best_classes(group_map, label_map, num_classes=3)
        tensor([2, 1])
    """
    num_groups = int(group_map.max()) + 1
    counts = count_labels(group_map, label_map, num_groups, num_classes, ignore_index)  # (S, K)
    return pairwise_iou(counts).argmax(1)
