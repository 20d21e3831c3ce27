"""Means, deviations and paired differences against numbers worked out by hand."""

import math

import pytest

from groupvit_mmseg.benchmark.seed_statistics import (
    mean_and_deviation,
    mean_table,
    paired_difference,
    seed_table,
)


def test_mean_and_deviation():
    # Deviations -2, 0, 2 from 4: the variance is 8 / 2.
    estimate = mean_and_deviation({0: 2.0, 1: 4.0, 2: 6.0})
    assert estimate == (4.0, 2.0, 3)
    assert mean_and_deviation({5: 7.0}) == (7.0, None, 1)
    assert mean_and_deviation({}) is None


def test_differences_are_paired_by_seed():
    baseline = {0: 10.0, 1: 20.0, 2: 30.0}
    # Differences 1, 2, 6: mean 3, variance (4 + 1 + 9) / 2 = 7, error sqrt(7 / 3).
    estimate = paired_difference({2: 36.0, 0: 11.0, 1: 22.0, 9: 0.0}, baseline)
    assert estimate.mean == 3.0
    assert estimate.spread == pytest.approx(math.sqrt(7 / 3))
    assert estimate.num_seeds == 3
    assert paired_difference({1: 21.0}, baseline) == (1.0, None, 1)
    assert paired_difference({7: 1.0}, baseline) is None


def test_tables():
    scores = {'hard': {0: 10.0, 1: 20.0}, 'soft': {0: 11.0, 1: 23.0, 2: 5.0}, 'new': {2: 4.0}}
    lines = seed_table(scores, baseline='hard').splitlines()
    assert lines[2] == '| hard | 15.00 ± 7.07 | - | 2 | 10.00 | 20.00 | - |'
    assert lines[3] == '| soft | 13.00 ± 9.17 | +2.00 ± 1.00 | 3 | 11.00 | 23.00 | 5.00 |'
    assert lines[4] == '| new | 4.00 | - | 1 | - | - | 4.00 |'
    table = mean_table({'mIoU': scores, 'minutes': {'soft': {0: 2.0}}}, ['soft', 'hard'])
    assert table.splitlines()[2:] == [
        '| soft | 13.00 ± 9.17 | 2.00 |',
        '| hard | 15.00 ± 7.07 | - |',
    ]
