"""The IoU arithmetic: to the bit that of NumPy and of each metric's own formula written out."""

import numpy as np
import pytest
import torch

from groupvit_mmseg.evaluation.calibration import SegmentPrediction, calibrate_threshold
from groupvit_mmseg.evaluation.confusion import (
    class_areas,
    confusion_matrix,
    count_labels,
    count_pairs,
    iou,
    pairwise_iou,
    segmentation_scores,
)
from groupvit_mmseg.evaluation.metrics import PerClassIoUMetric
from groupvit_mmseg.evaluation.shape_metrics import best_overlap


def random_maps(num_groups, num_classes, seed):
    """A group map and a label map with ignored pixels, in which some classes are absent."""
    generator = torch.Generator().manual_seed(seed)
    group_map = torch.randint(0, num_groups, (24, 31), generator=generator)
    label_map = torch.randint(0, max(2, num_classes - 3), (24, 31), generator=generator)
    label_map[torch.rand(24, 31, generator=generator) < 0.1] = 255
    return group_map, label_map


@pytest.mark.parametrize('num_classes', [2, 5, 21, 60, 171])
def test_scores_are_those_of_numpy(num_classes):
    predicted, label_map = random_maps(num_classes, num_classes, num_classes)
    predicted[predicted == num_classes - 1] = 0  # absent from both maps
    matrix = confusion_matrix([count_pairs(label_map, predicted, num_classes)], num_classes)
    right = np.diagonal(matrix).astype(np.float64)
    labelled, union = matrix.sum(1), matrix.sum(0) + matrix.sum(1) - right
    percent = 100 * np.divide(right, union, out=np.full(num_classes, np.nan), where=union > 0)
    recall = 100 * np.divide(right, labelled, out=np.full(num_classes, np.nan), where=labelled > 0)
    scores = segmentation_scores(matrix)
    assert scores.miou == np.nanmean(percent)
    assert scores.mean_accuracy == np.nanmean(recall)
    assert scores.pixel_accuracy == 100 * right.sum() / matrix.sum()
    assert scores.class_iou == [None if np.isnan(value) else value for value in percent]
    weighted = np.nansum(percent * labelled) / labelled.sum()
    assert scores.frequency_weighted_iou == pytest.approx(weighted)
    assert scores.class_iou[-1] is None or num_classes == 2


def test_no_pixel_scores_nothing():
    assert segmentation_scores(np.zeros((2, 2), np.int64)) == (0.0, 0.0, 0.0, [None, None], 0.0)


@pytest.mark.parametrize('num_classes', [2, 9, 21])
def test_areas_are_those_of_masks_compared_class_by_class(num_classes):
    predicted, label_map = random_maps(num_classes, num_classes, 7)
    areas = PerClassIoUMetric.intersect_and_union(predicted, label_map, num_classes, 255)
    known = label_map != 255
    for index in range(num_classes):
        one, other = (predicted == index) & known, label_map == index
        assert areas.intersect[index] == (one & other).sum()
        assert areas.union[index] == (one | other).sum()
        assert (areas.predicted[index], areas.labelled[index]) == (one.sum(), other.sum())


def test_calibrated_miou_is_the_mean_over_the_classes_that_occur():
    generator = torch.Generator().manual_seed(3)
    group_map, label_map = random_maps(8, 21, 4)
    affinity = torch.rand(8, 20, generator=generator)
    (result,) = calibrate_threshold(
        [SegmentPrediction(affinity, group_map, label_map)], thresholds=[0.8]
    ).curve
    score, best = affinity.max(1)
    predicted = (best + 1).masked_fill(score < score.max().clamp(max=0.8), 0)[group_map]
    counts = count_labels(predicted, label_map, 21, 21)
    intersect = counts.diagonal()
    union = counts.sum(0) + counts.sum(1) - intersect
    assert result == (0.8, float((intersect.double() / union)[union > 0].mean()) * 100)
    assert not union.all()


def test_pairs_of_segments_and_classes():
    group_map, label_map = random_maps(16, 9, 5)
    counts = count_labels(group_map, label_map, 16, 9)
    union = counts.sum(1, keepdim=True) + counts.sum(0, keepdim=True) - counts
    assert torch.equal(pairwise_iou(counts), counts / union.clamp(min=1))
    foreground = counts[:, 1:].sum(1)
    overlaps = foreground / (counts[:, 0] + foreground.sum())
    assert best_overlap(group_map, label_map) == float(overlaps.max())


def test_an_absent_class_is_not_a_number():
    areas = class_areas(torch.tensor([[3, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert torch.equal(
        iou(areas.intersect, areas.union).isnan(), torch.tensor([False, False, True])
    )
