"""Intervals and the paired test against SciPy, and against what must hold."""

import numpy as np
import pytest
import torch
from scipy import stats

from groupvit_mmseg.evaluation.bootstrap import (
    bootstrap_interval,
    compare_paired,
    image_areas,
    miou_of,
)
from groupvit_mmseg.evaluation.confusion import (
    confusion_matrix,
    count_pairs,
    segmentation_scores,
)

CLASSES = 4


@pytest.fixture(scope='module')
def images():
    """Pairs of 40 images: a prediction that is right at 60 % of the pixels, and one at 70 %."""
    generator = torch.Generator().manual_seed(0)

    def pairs(share):
        labels = torch.randint(0, CLASSES, (40, 8, 8), generator=generator)
        right = torch.rand(labels.shape, generator=generator) < share
        other = torch.randint(0, CLASSES, labels.shape, generator=generator)
        predicted = torch.where(right, labels, other)
        return [count_pairs(*each, CLASSES) for each in zip(labels, predicted)]

    return pairs(0.6), pairs(0.7)


def test_all_images_once_give_the_usual_miou(images):
    areas = image_areas(images[0], CLASSES)
    expected = segmentation_scores(confusion_matrix(images[0], CLASSES)).miou
    assert miou_of(areas.intersect.sum(0), areas.union.sum(0)) == pytest.approx(expected, abs=1e-9)


def test_absent_classes_do_not_count():
    areas = image_areas([[[0, 0, 4]], [[2, 2, 1], [2, 0, 1]]], CLASSES)
    assert miou_of(areas.intersect.sum(0), areas.union.sum(0)) == pytest.approx((80 + 50) / 2)
    assert np.isnan(miou_of(areas.intersect[:0].sum(0), areas.union[:0].sum(0)))


def test_the_interval_is_that_of_scipy(images):
    areas = image_areas(images[0], CLASSES)

    def statistic(indices, axis=-1):
        indices = np.asarray(indices, int)
        return miou_of(areas.intersect[indices].sum(-2), areas.union[indices].sum(-2))

    expected = stats.bootstrap(
        (np.arange(40),),
        statistic,
        n_resamples=4000,
        method='percentile',
        vectorized=True,
        random_state=np.random.default_rng(1),
    ).confidence_interval
    found = bootstrap_interval(areas, resamples=4000)
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.1 * width)
    assert found.high == pytest.approx(expected.high, abs=0.1 * width)


def test_the_p_value_is_that_of_scipy(images):
    first, second = (image_areas(pairs, CLASSES) for pairs in images)
    small = [type(each)(each.intersect[:9], each.union[:9]) for each in (first, second)]

    def difference(a, b, axis=-1):
        a, b = np.asarray(a, int), np.asarray(b, int)
        both = [np.concatenate([each[i] for each in small]) for i in (0, 1)]
        scores = [miou_of(both[0][each].sum(-2), both[1][each].sum(-2)) for each in (a, b)]
        return scores[1] - scores[0]

    expected = stats.permutation_test(
        (np.arange(9), np.arange(9, 18)),
        difference,
        permutation_type='samples',
        vectorized=True,
        n_resamples=np.inf,
        axis=-1,
    ).pvalue
    found = compare_paired(*small, resamples=4000).p_value
    assert 0.01 < expected < 0.9
    assert found == pytest.approx(expected, abs=0.03)


def test_a_difference_is_found_and_none_is_not(images):
    first, second = (image_areas(pairs, CLASSES) for pairs in images)
    better = compare_paired(first, second)
    assert better.difference > 0
    assert better.interval.low > 0
    assert better.p_value < 0.01
    same = compare_paired(first, first)
    assert same == (0, (0, 0), 1)
    back = compare_paired(second, first)
    assert back.difference == -better.difference
    assert back.p_value == pytest.approx(better.p_value, abs=0.01)


def test_few_images_are_uncertain(images):
    wide = bootstrap_interval(image_areas(images[0][:5], CLASSES))
    narrow = bootstrap_interval(image_areas(images[0], CLASSES))
    assert wide.high - wide.low > narrow.high - narrow.low
    certain = bootstrap_interval(image_areas(images[0], CLASSES), level=0.5)
    assert certain.high - certain.low < narrow.high - narrow.low
    assert narrow == bootstrap_interval(image_areas(images[0], CLASSES))


def test_images_without_a_class_leave_an_interval():
    """Three images, one wholly ignored: some resamples have that one alone."""
    pairs = [[[0, 0, 4]], [[1, 1, 1], [1, 0, 1]], []]
    interval = bootstrap_interval(image_areas(pairs, CLASSES))
    assert 0 < interval.low < interval.high <= 100


def test_results_of_other_images_are_refused(images):
    first, second = image_areas(images[0], CLASSES), image_areas(images[1][:9], CLASSES)
    with pytest.raises(ValueError, match='compare results of the same images'):
        compare_paired(first, second)
