"""Boundaries and mask probing against numbers worked out by hand and naive loops."""

import numpy as np
import pytest
import torch

from groupvit_mmseg.evaluation.shape_metrics import (
    BoundaryIoUMetric,
    MaskProbingMetric,
    best_overlap,
    boundary,
)


def sample(label, **maps):
    data = {'gt_sem_seg': {'data': torch.tensor(label)[None]}}
    return data | {name: {'data': torch.tensor(value)[None]} for name, value in maps.items()}


def evaluate(metric, samples):
    metric.dataset_meta = {'classes': ('background', 'cat', 'dog')}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def slow_boundary(mask, distance):
    edge = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        rows, columns = range(y - distance, y + distance + 1), range(x - distance, x + distance + 1)
        edge[y, x] = any(
            not (0 <= i < mask.shape[0] and 0 <= j < mask.shape[1] and mask[i, j])
            for i in rows
            for j in columns
        )
    return edge


@pytest.mark.parametrize('distance', [1, 2, 3])
def test_boundary_is_what_a_loop_finds(distance):
    mask = np.random.default_rng(0).random((3, 4)).repeat(8, 0).repeat(8, 1) > 0.3
    expected = slow_boundary(mask, distance)
    assert (boundary(mask, distance) == expected).all()
    assert 0 < expected.sum() < mask.sum()


def test_boundary_iou_by_hand():
    """A 7 x 7 square and the same square with its middle taken out: the ring is met wholly."""
    label = np.zeros((9, 9), int)
    label[1:8, 1:8] = 1
    predicted = label.copy()
    predicted[4, 4] = 0
    metric = BoundaryIoUMetric(dilation_ratio=1 / 12.7)  # a pixel
    evaluate(metric, [sample(label.tolist(), pred_sem_seg=predicted.tolist())])
    # Of the square, 24 pixels are near its contour; the hole adds its 8 neighbours to them.
    assert metric.class_iou['cat'] == pytest.approx(100 * 24 / 32, abs=1e-3)
    # Of the background, all 32 are near a contour; the hole is one more in the prediction.
    assert metric.class_iou['background'] == pytest.approx(100 * 32 / 33, abs=1e-3)
    assert metric.class_iou['dog'] is None


def test_ignored_pixels_are_no_part_of_a_boundary():
    label = [[1, 1, 255], [1, 1, 255], [1, 1, 255]]
    metric = BoundaryIoUMetric()
    evaluate(metric, [sample(label, pred_sem_seg=[[1, 1, 0], [1, 1, 2], [1, 1, 2]])])
    assert metric.class_iou == {'background': None, 'cat': 100.0, 'dog': None}


def test_best_overlap_by_hand():
    group_map = torch.tensor([[0, 0, 1, 1], [0, 2, 2, 1]])
    label_map = torch.tensor([[0, 5, 5, 255], [0, 0, 7, 7]])
    # foreground 4 pixels; segments 0: 1 of 3, 1: 2 of its 2 known, 2: 1 of 2
    assert best_overlap(group_map, label_map) == pytest.approx(2 / 4)
    assert best_overlap(group_map, label_map * 0) is None


def test_probing_averages_images_with_a_foreground():
    samples = [
        sample([[1, 0]], pred_group_map=[[0, 1]]),
        sample([[2, 2]], pred_group_map=[[0, 1]]),
        sample([[0, 0]], pred_group_map=[[0, 1]]),
    ]
    assert evaluate(MaskProbingMetric(), samples) == {
        'probing/jaccard': 75.0,
        'probing/images': 2.0,
    }


@pytest.mark.parametrize(
    'one, error, message',
    [
        (sample([[1]]), KeyError, 'with_group_map=True'),
        (sample([[0]], pred_group_map=[[0]]), ValueError, 'No image has a foreground'),
    ],
)
def test_what_cannot_be_probed_is_said(one, error, message):
    with pytest.raises(error, match=message):
        evaluate(MaskProbingMetric(), [one])
