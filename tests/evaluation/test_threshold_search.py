"""Thresholds for views and refined scores: the search agrees with segmenting at each of them."""

from pathlib import Path

import pytest
import torch
from mmseg.evaluation import IoUMetric

from groupvit_mmseg.evaluation import (
    calibrate_segmentor,
    calibrate_threshold,
    collect_predictions,
    threshold_search,
)
from groupvit_mmseg.evaluation.threshold_search import search_threshold

from loading import load_file

PREDICTIONS = load_file(Path(__file__).with_name('test_predictions.py'))
NAMES, make_batches = PREDICTIONS.NAMES, PREDICTIONS.make_batches


def make_segmentor(threshold=0.5, **options):
    torch.manual_seed(0)
    segmentor = PREDICTIONS.make_segmentor(mode='whole', **options)
    segmentor.decode_head.affinity = 'softmax'
    segmentor.set_classes(NAMES, with_background=True, bg_thresh=threshold)
    return segmentor


@pytest.mark.parametrize(
    'options', [dict(tta_scales=(0.5, 1.0), tta_flip=True), dict(pamr_steps=2), {}]
)
def test_the_search_is_what_the_segmentor_does_at_each_threshold(options):
    segmentor = make_segmentor(**options)
    thresholds = (0.0, 0.18, 0.2, 0.21, 0.5)  # most decide differently
    found = search_threshold(segmentor, make_batches(3), thresholds)
    assert len({miou for _, miou in found.curve}) > 2
    for threshold, miou in found.curve:
        segmentor.set_classes(NAMES, with_background=True, bg_thresh=threshold)
        metric = IoUMetric(prefix='whole')
        metric.dataset_meta = dict(classes=NAMES)
        for batch in make_batches(3):
            (result,) = segmentor.val_step(batch)
            metric.process({}, [result.to_dict()])
        assert miou == pytest.approx(metric.evaluate(3)['whole/mIoU'], abs=0.006)
    assert found.miou == max(miou for _, miou in found.curve)
    assert found.num_crops == 3


def test_without_views_both_ways_agree():
    segmentor = make_segmentor()
    searched = search_threshold(segmentor, make_batches(3))
    tried = list(dict(searched.curve))
    quick = calibrate_threshold(collect_predictions(segmentor, make_batches(3)), thresholds=tried)
    assert dict(searched.curve) == pytest.approx(dict(quick.curve))
    assert len(tried) > 21  # scores of segments are closer together than steps of .05
    assert len(set(dict(searched.curve).values())) > 2
    assert searched.threshold == quick.threshold


@pytest.mark.parametrize(
    'options, searches',
    [
        ({}, False),
        (dict(with_confidence=True), False),
        (dict(tta_flip=True), True),
        (dict(pamr_steps=1), True),
    ],
)
def test_options_decide_how_it_is_calibrated(options, searches):
    found = calibrate_segmentor(make_segmentor(**options), make_batches(2))
    way = search_threshold if searches else collect_predictions
    expected = way(make_segmentor(**options), make_batches(2))
    assert found == (expected if searches else calibrate_threshold(expected))


def test_thresholds_are_sorted_and_checked():
    segmentor = make_segmentor(tta_flip=True)
    found = search_threshold(segmentor, make_batches(1), (0.5, 0.2, 0.5))
    assert list(dict(found.curve)) == [0.2, 0.5]
    for thresholds in ((), (0.5, 1.5)):
        with pytest.raises(ValueError, match=r'must lie in \[0, 1\]'):
            search_threshold(segmentor, make_batches(1), thresholds)


def test_all_images_count_and_the_first_give_the_grid(monkeypatch):
    monkeypatch.setattr(threshold_search, 'NUM_SAMPLED', 1)
    found = search_threshold(make_segmentor(tta_flip=True), make_batches(3))
    assert found.num_crops == 3
    alone = search_threshold(make_segmentor(tta_flip=True), make_batches(1))
    assert list(dict(found.curve)) == list(dict(alone.curve))
    assert found.curve != alone.curve


def test_the_threshold_of_the_head_decides_nothing():
    before, after = (
        search_threshold(make_segmentor(threshold, tta_flip=True), make_batches(2))
        for threshold in (0.1, 0.9)
    )
    assert before == after


def test_without_images_or_a_threshold_is_one_sentence():
    with pytest.raises(ValueError, match='No image to calibrate'):
        calibrate_segmentor(make_segmentor(tta_flip=True), [])
    segmentor = make_segmentor(tta_flip=True)
    segmentor.set_classes(['cat', 'dog'])
    with pytest.raises(ValueError, match='with_background=True'):
        calibrate_segmentor(segmentor, make_batches(1))
