"""How well shapes are met, whatever they are called: boundaries, and the best segment's overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmseg.registry import METRICS
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.evaluation.metrics import PerClassIoUMetric, check_first_class, count_labels


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

    def __init__(self, *, dilation_ratio: float = 0.02, **kwargs) -> None:
        super().__init__(**kwargs)
        self.dilation_ratio = dilation_ratio

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Counts boundary pixels of each sample."""
        for sample in data_samples:
            label_map = sample['gt_sem_seg']['data'].squeeze(0).cpu().numpy()
            predicted = sample['pred_sem_seg']['data'].squeeze(0).cpu().numpy()
            distance = max(1, round(self.dilation_ratio * math.hypot(*label_map.shape)))
            self.results.append(self._areas(predicted, label_map, distance))

    def _areas(
        self, predicted: NDArray, label_map: NDArray, distance: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Intersection, union, prediction and label areas of each class's boundary."""
        known = label_map != self.ignore_index
        areas = torch.zeros(4, len(self.dataset_meta['classes']), dtype=torch.float64)
        for index in np.union1d(label_map[known], predicted[known]).tolist():
            one = boundary((label_map == index) & known, distance)
            other = boundary((predicted == index) & known, distance)
            counts = [(one & other).sum(), (one | other).sum(), other.sum(), one.sum()]
            areas[:, index] = torch.tensor([int(count) for count in counts])
        intersect, union, predictions, labels = areas
        return intersect, union, predictions, labels


def boundary(mask: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Pixels of a mask ``(H, W)`` within a distance of its contour, counted along rows, columns
    and diagonals.
    """
    kernel = np.ones((2 * distance + 1,) * 2, np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & ~inner.astype(bool)


@METRICS.register_module()
class MaskProbingMetric(BaseMetric):
    """Jaccard index of an image's foreground and the segment that meets it best, averaged.

    The foreground is everything but class 0 and ignored pixels; images without any are left out.
    Reads ``pred_group_map`` of the data samples: evaluate whole images with
    ``test_cfg=dict(mode='whole', with_group_map=True)``.

    Args:
        ignore_index (int): Label that does not count. Defaults to 255.
        **kwargs: Arguments of ``BaseMetric``.
    """

    default_prefix = 'probing'

    def __init__(self, *, ignore_index: int = 255, **kwargs) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the best segment's overlap of each sample, not a number without a foreground.

        Ranks put their results together by position, so every sample leaves one.
        """
        for sample in data_samples:
            if 'pred_group_map' not in sample:
                raise KeyError(
                    'MaskProbingMetric found no pred_group_map in a data sample: evaluate a '
                    "GroupViTSegmentor with test_cfg=dict(mode='whole', with_group_map=True)."
                )
            check_first_class(self)
            group_map = sample['pred_group_map']['data'].squeeze(0)
            label_map = sample['gt_sem_seg']['data'].squeeze(0).to(group_map)
            overlap = best_overlap(group_map, label_map, self.ignore_index)
            self.results.append(math.nan if overlap is None else overlap)

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """The mean in percent, and the number of images it is of."""
        found = [overlap for overlap in results if not math.isnan(overlap)]
        if not found:
            raise ValueError('No image has a foreground to probe: labels above 0 are needed.')
        return dict(jaccard=100 * math.fsum(found) / len(found), images=float(len(found)))


def best_overlap(group_map: Tensor, label_map: Tensor, ignore_index: int = 255) -> float | None:
    """Highest Jaccard index of a segment and the foreground; None without a foreground."""
    foreground = torch.where(label_map == ignore_index, label_map, (label_map > 0).long())
    counts = count_labels(group_map, foreground, int(group_map.max()) + 1, 2, ignore_index)
    if not counts[:, 1].sum():
        return None
    union = counts[:, 0] + counts[:, 1].sum()
    return float((counts[:, 1] / union).max())
