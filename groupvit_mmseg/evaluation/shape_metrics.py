"""Metrics of shapes, not of names: IoU near boundaries, and the overlap of the best segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.evaluation.confusion import ClassAreas, count_labels, iou
from groupvit_mmseg.evaluation.metrics import (
    PerClassIoUMetric,
    check_first_class,
    class_names_of,
)


@METRICS.register_module()
class BoundaryIoUMetric(PerClassIoUMetric):
    """IoU of the pixels near the boundaries of each class (Boundary IoU, arXiv 2103.16562).

    Of a class's mask and of its prediction, only pixels within a distance of their own contour
    count; the edge of the image is a contour.

    Args:
        dilation_ratio (float): The distance over the diagonal of the image. Defaults to 0.02.
        **kwargs: Arguments of ``IoUMetric``.
    """

    default_prefix = 'boundary'

    def __init__(self, *, dilation_ratio: float = 0.02, **kwargs: Any) -> None:  # of the base class
        super().__init__(**kwargs)
        self.dilation_ratio = dilation_ratio

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Count the boundary pixels of each sample."""
        for sample in data_samples:
            label_map = sample['gt_sem_seg']['data'].squeeze(0).cpu().numpy()
            predicted = sample['pred_sem_seg']['data'].squeeze(0).cpu().numpy()
            self.results.append(
                boundary_areas(
                    torch.from_numpy(predicted),
                    torch.from_numpy(label_map),
                    len(class_names_of(self)),
                    dilation_ratio=self.dilation_ratio,
                    ignore_index=self.ignore_index,
                )
            )


def boundary_areas(
    predicted: Tensor,
    label_map: Tensor,
    num_classes: int,
    *,
    dilation_ratio: float = 0.02,
    ignore_index: int = 255,
) -> ClassAreas:
    """Return the areas of each class's boundary in one image.

    Args:
        predicted (Tensor): Class of each pixel ``(H, W)``.
        label_map (Tensor): True class of each pixel ``(H, W)``.
        num_classes (int): Number of classes ``K``.
        dilation_ratio (float): Width of a boundary over the diagonal. Defaults to 0.02.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Example:
        >>> predicted, label_map = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 1]])
        >>> areas = boundary_areas(predicted, label_map, num_classes=2)
        >>> areas.intersect.tolist(), areas.union.tolist()
        ([1.0, 2.0], [2.0, 3.0])
    """
    truth, prediction = label_map.numpy(), predicted.numpy()
    distance = max(1, round(dilation_ratio * math.hypot(*truth.shape)))
    valid = truth != ignore_index
    areas = torch.zeros(4, num_classes, dtype=torch.float64)
    for index in np.union1d(truth[valid], prediction[valid]).tolist():
        true_edge = boundary((truth == index) & valid, distance)
        edge = boundary((prediction == index) & valid, distance)
        pixels = [true_edge & edge, true_edge | edge, edge, true_edge]
        areas[:, index] = torch.tensor([int(mask.sum()) for mask in pixels])
    return ClassAreas(*areas)


def boundary(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Return the pixels of a mask ``(H, W)`` near its contour.

    Args:
        mask (NDArray): ``(H, W)``; the edge of the image is a contour.
        distance (int): Steps along rows, columns or diagonals that a pixel is away at most.

    Example:
        >>> boundary(np.ones((3, 3), bool), distance=1).astype(int)
        array([[1, 1, 1],
               [1, 0, 1],
               [1, 1, 1]])
    """
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~inner.astype(bool)


@METRICS.register_module()
class MaskProbingMetric(BaseMetric):
    """Mean Jaccard index of each image's foreground and the segment of the highest overlap.

    The foreground is everything but class 0 and ignored pixels; images without any are left out.
    Reads ``pred_group_map`` of the data samples: evaluate whole images with
    ``test_cfg=dict(mode='whole', with_group_map=True)``.

    Args:
        ignore_index (int): Label that does not count. Defaults to 255.
        **kwargs: Arguments of ``BaseMetric``.

    Example:
        >>> metric = MaskProbingMetric()
        >>> metric.dataset_meta = dict(classes=['background', 'cat'])
        >>> group_map, label_map = torch.tensor([[[3, 3, 0, 0]]]), torch.tensor([[[1, 0, 0, 0]]])
        >>> sample = dict(pred_group_map=dict(data=group_map), gt_sem_seg=dict(data=label_map))
        >>> metric.process({}, [sample])
        >>> metric.evaluate(size=1)
        {'probing/jaccard': 50.0, 'probing/images': 1.0}
    """

    default_prefix = 'probing'

    def __init__(self, *, ignore_index: int = 255, **kwargs: Any) -> None:  # of the base class
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the overlap of each sample's best segment, NaN without a foreground.

        Results of several ranks are interleaved by position, so every sample stores one.
        """
        for sample in data_samples:
            if 'pred_group_map' not in sample:
                raise KeyError(
                    'MaskProbingMetric found no pred_group_map in a data sample: evaluate a '
                    "GroupViTSegmentor with test_cfg=dict(mode='whole', with_group_map=True)."
                )
            check_first_class(self)
            group_map = sample['pred_group_map']['data'].squeeze(0)
            label_map = sample['gt_sem_seg']['data'].squeeze(0).to(group_map.device)
            overlap = best_overlap(group_map, label_map, self.ignore_index)
            self.results.append(math.nan if overlap is None else overlap)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean in percent and the number of images that have a foreground."""
        overlaps = [overlap for overlap in results if not math.isnan(overlap)]
        if not overlaps:
            raise ValueError('No image has a foreground to probe: labels above 0 are needed.')
        return dict(jaccard=100 * math.fsum(overlaps) / len(overlaps), images=float(len(overlaps)))


def best_overlap(group_map: Tensor, label_map: Tensor, ignore_index: int = 255) -> float | None:
    """Return the highest Jaccard index of a segment and the foreground; None without a foreground.

    Args:
        group_map (Tensor): Segment of every pixel ``(H, W)``.
        label_map (Tensor): Class of every pixel ``(H, W)``; the foreground is above 0.
        ignore_index (int): Label that is not counted. Defaults to 255.

    Example:
        >>> best_overlap(torch.tensor([[3, 3, 0, 0]]), torch.tensor([[1, 0, 0, 0]]))
        0.5
    """
    foreground = torch.where(label_map == ignore_index, label_map, (label_map > 0).long())
    counts = count_labels(group_map, foreground, int(group_map.max()) + 1, 2, ignore_index)
    if not counts[:, 1].sum():
        return None
    return float(iou(counts[:, 1], counts[:, 0] + counts[:, 1].sum()).max())
