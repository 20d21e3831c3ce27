"""Two trainings are compared by their logs, value by value."""

import json

import numpy as np
import pytest

from groupvit_web.log_comparison import (
    compare_runs,
    compared_scalars,
    first_difference,
    read_whole_log,
    step_seconds,
)
from groupvit_web.training_run import Series


def series(*values, first=1):
    return Series(np.arange(first, first + len(values)), np.array(values, float))


@pytest.fixture
def write_log(tmp_path):
    """Writes the log of a run, a dict for each step, and reads it."""

    def write(entries):
        file = tmp_path / '20260102_030405/vis_data/scalars.json'
        file.parent.mkdir(parents=True)
        lines = [json.dumps(dict(entry, step=i, iter=i)) for i, entry in enumerate(entries, 1)]
        file.write_text('\n'.join([*lines, '{"mIoU": 3.0, "step": 1}\n']))
        return read_whole_log(tmp_path)

    return write


def test_losses_gradient_norm_and_learning_rate_are_compared(write_log):
    log = write_log([dict(lr=0.1, time=1, grad_norm=2.0, loss_a=3.0, memory=5, my_loss=4)] * 2)
    scalars = compared_scalars(log)
    assert list(scalars) == ['loss_a', 'my_loss', 'grad_norm', 'lr']
    assert scalars['loss_a'].values.tolist() == [3.0, 3.0]


def test_a_log_without_a_loss_has_nothing_to_compare(write_log):
    assert compared_scalars(write_log([dict(lr=0.1, grad_norm=1.0)])) == {}


def test_a_log_longer_than_one_update_is_read_to_its_end(write_log, monkeypatch):
    for name in ('training_run.READ_AT_ONCE', 'growing_file.CHUNK'):
        monkeypatch.setattr(f'groupvit_web.{name}', 64)
    log = write_log([dict(loss=float(i)) for i in range(50)])
    assert log.series('loss').values.tolist() == [*range(50)]


@pytest.mark.parametrize(
    'times,expected',
    [
        ([9, 9, 9, 9, 9, 1, 2, 3, 8, 4, 5], 3.5),  # five of eleven are left out
        ([9, 9, 9, 1, 2, 3], 2),  # half of six
        ([7], 7),
    ],
)
def test_the_first_steps_do_not_count_as_speed(write_log, times, expected):
    assert step_seconds(write_log([dict(loss=1, time=time) for time in times])) == expected


def test_speed_without_logged_times_is_unknown(write_log):
    assert step_seconds(write_log([dict(loss=1)])) is None


def test_the_earliest_difference_is_found_a_loss_before_others():
    before = dict(loss=series(1, 2, 3), loss_a=series(1, 2, 3), lr=series(1, 2, 3))
    after = dict(loss=series(1, 2, 4), loss_a=series(1, 5, 6), lr=series(1, 7, 3))
    assert first_difference(before, after) == (2, 'loss_a', 2, 5)
    assert first_difference(before, dict(before)) is None
    assert first_difference(before, dict(before, lr=series(1, 2, 3.0000000000000004)))[1] == 'lr'


def test_values_that_are_not_finite_equal_themselves_only():
    nan, inf = float('nan'), float('inf')
    strange = dict(loss=series(nan, inf, -inf))
    assert first_difference(strange, dict(loss=series(nan, inf, -inf))) is None
    for other in (series(nan, inf, inf), series(1, inf, -inf), series(nan, 1, -inf)):
        assert first_difference(strange, dict(loss=other), tolerance=0.9) is not None
        assert first_difference(dict(loss=other), strange, tolerance=0.9) is not None


def test_other_steps_and_other_names_are_refused():
    loss = dict(loss=series(1, 2))
    with pytest.raises(ValueError, match='at 2 steps, the last one 2, then at 3, the last one 3'):
        first_difference(loss, dict(loss=series(1, 2, 3)))
    with pytest.raises(ValueError, match='at 2 steps, the last one 2, then at 2, the last one 3'):
        first_difference(loss, dict(loss=series(1, 2, first=2)))
    with pytest.raises(ValueError, match='no loss of the same name'):
        first_difference(dict(loss_a=series(1), lr=series(1)), dict(loss=series(1), lr=series(1)))


def test_each_run_is_compared_with_the_first_of_its_training():
    one, other = dict(loss=series(1, 2)), dict(loss=series(1, 3), loss_a=series(1, 1))
    equal = compare_runs([one, one], [one, one])
    assert (equal.is_equal, equal.first, equal.changes, equal.steps) == (True, None, [None] * 2, 2)
    changed = compare_runs([one, one, one], [one, one, other])
    assert (changed.is_equal, changed.first, changed.changes[0]) == (False, None, None)
    assert changed.changes[1] == (2, 'loss', 2, 3)
    different = compare_runs([one], [other])
    assert (different.first, different.others) == ((2, 'loss', 2, 3), ['loss_a'])
    assert compare_runs([one], [other], tolerance=0.5).is_equal


def test_a_record_is_json_also_of_values_that_are_not_finite():
    result = compare_runs([dict(loss=series(1))], [dict(loss=series(float('nan')))])
    record = json.loads(json.dumps(result.record(), allow_nan=False))
    assert record['first_difference'] == dict(step=1, name='loss', before=1.0, after='nan')
    assert (record['is_equal'], record['steps'], record['names']) == (False, 1, ['loss'])
