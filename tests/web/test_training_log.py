"""Logs of a training read while they grow: torn lines, resumed runs, pictures, warnings."""

import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest

from groupvit_mmseg.engine.hooks import group_diagnostics
from groupvit_web import training_log
from groupvit_web.charts import COLOURS, DASHES, describe, line_chart, table_of
from groupvit_web.growing_file import GrowingFile
from groupvit_web.training_log import Progress, TrainingLog, is_work_dir, thin_out
from groupvit_web.training_result import find_result, read_outcomes
from groupvit_web.training_run import Series, TrainingRun, Validation


def entry(step, epoch=1, **values):
    """A line of mmengine's log."""
    values.setdefault('loss', float(step))
    return json.dumps({**values, 'epoch': epoch, 'iter': step, 'step': step}) + '\n'


def write(folder, stamp, *lines, log='', append=False):
    """Write or append to the log of a run."""
    place = folder / stamp / 'vis_data'
    place.mkdir(parents=True, exist_ok=True)
    with (place / 'scalars.json').open('a' if append else 'w') as stream:
        stream.write(''.join(lines))
    if log:
        (folder / stamp / f'{stamp}.log').write_text(log)


FIRST, SECOND, THIRD = '20260101_000000', '20260102_000000', '20260103_000000'


def read(folder):
    log = TrainingLog(folder)
    log.update()
    return log


def test_a_line_is_read_once_and_only_when_it_is_whole(tmp_path):
    path = tmp_path / 'log'
    path.write_bytes(b'one\ntwo\nth')
    file = GrowingFile(path)
    assert list(file.new_lines()) == ['one', 'two']
    assert list(file.new_lines()) == []
    with path.open('ab') as stream:
        stream.write(b'ree\r\nvi\xff\n')
    assert list(file.new_lines()) == ['three', 'vi\ufffd']


def test_only_what_was_appended_is_read(tmp_path, monkeypatch):
    path = tmp_path / 'log'
    path.write_text('a' * 99 + '\n')
    file = GrowingFile(path)
    list(file.new_lines())
    reads = []
    original = Path.open

    def counting(self, *args, **kwargs):
        stream = original(self, *args, **kwargs)
        read_bytes = stream.read

        class Counted:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                stream.close()

            def seek(self, offset):
                stream.seek(offset)

            def read(self, count):
                reads.append(read_bytes(count))
                return reads[-1]

        return Counted()

    with path.open('a') as stream:
        stream.write('b\n')
    monkeypatch.setattr(Path, 'open', counting)
    assert list(file.new_lines()) == ['b']
    assert b''.join(reads) == b'b\n'


@pytest.mark.parametrize('chunk', [1, 3, 7])
def test_lines_may_cross_chunks(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr('groupvit_web.growing_file.CHUNK', chunk)
    path = tmp_path / 'log'
    path.write_text('first\nä second\n\n')
    assert list(GrowingFile(path).new_lines()) == ['first', 'ä second', '']


def test_a_long_file_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr('groupvit_web.growing_file.CHUNK', 4)
    path = tmp_path / 'log'
    file = GrowingFile(path)
    assert file.unread == 0
    path.write_text('first\nsecond\n')
    assert list(file.new_lines(limit=6)) == ['first']
    assert file.unread == 5
    assert list(file.new_lines(limit=100)) == ['second']
    assert file.unread == 0


def test_a_long_log_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr('groupvit_web.growing_file.CHUNK', 40)
    monkeypatch.setattr('groupvit_web.training_run.READ_AT_ONCE', 100)
    write(tmp_path, FIRST, *(entry(step) for step in range(10, 110, 10)))
    log = read(tmp_path)
    assert 0 < len(log.series('loss').steps) < 10
    assert log.unread > 0
    while log.unread:
        assert log.update()
    assert log.series('loss').steps.tolist() == list(range(10, 110, 10))


def test_a_replaced_file_is_read_again(tmp_path):
    path = tmp_path / 'log'
    path.write_text('long line\n')
    file = GrowingFile(path)
    assert list(file.new_lines()) == ['long line']
    path.write_text('new\n')
    assert list(file.new_lines()) == ['new']
    other = tmp_path / 'other'
    other.write_text('one\ntwo\nthree\n')
    os.replace(other, path)
    assert list(file.new_lines()) == ['one', 'two', 'three']


def test_values_of_a_run(tmp_path):
    write(tmp_path, FIRST, entry(10, lr=0.1), entry(20), entry(30, lr=0.3))
    log = read(tmp_path)
    assert log.series('loss').values.tolist() == [10, 20, 30]
    assert log.series('lr').steps.tolist() == [10, 30]
    assert log.series('absent').steps.size == 0
    assert set(log.names) == {'loss', 'lr'}


def test_a_torn_line_counts_once_it_is_whole(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(20)[:12])
    log = read(tmp_path)
    assert log.series('loss').steps.tolist() == [10]
    assert log.unreadable_lines == 0
    write(tmp_path, FIRST, entry(20)[12:], append=True)
    assert log.update()
    assert log.series('loss').steps.tolist() == [10, 20]
    assert not log.update()


@pytest.mark.parametrize(
    'line',
    ['{"loss": 1, "st\n', '[1]\n', '7\n', '{"loss": 1}\n', '{"step": "3"}\n', '{"step": 1e9}\n']
    + ['{"step": -1}\n', '[' * 100_000 + '\n', f'{{"step": {10**30}, "iter": 1}}\n'],
)
def test_damaged_lines_are_counted(tmp_path, line):
    write(tmp_path, FIRST, entry(10), line, entry(20))
    log = read(tmp_path)
    assert log.series('loss').steps.tolist() == [10, 20]
    assert log.unreadable_lines == 1
    assert any(
        'Lines of the log that are damaged and left out: 1.' in text for text in log.warnings()
    )


def test_what_is_no_number_is_left_out(tmp_path):
    write(tmp_path, FIRST, entry(10, name='x', flag=True, many=[1], huge=10**400, ok=2))
    assert read(tmp_path).names == ['ok', 'loss']


def test_a_resumed_run_replaces_the_steps_that_it_repeats(tmp_path):
    write(tmp_path, FIRST, *(entry(step, loss=1.0) for step in (10, 20, 30, 40, 50)))
    write(tmp_path, SECOND, *(entry(step, 2, loss=2.0) for step in (35, 45)))
    log = read(tmp_path)
    assert log.series('loss').steps.tolist() == [10, 20, 30, 35, 45]
    assert log.series('loss').values.tolist() == [1, 1, 1, 2, 2]
    write(tmp_path, THIRD, *(entry(step, 2, loss=3.0) for step in (25, 35)))
    log.update()
    assert log.series('loss').steps.tolist() == [10, 20, 25, 35]


def test_a_run_from_the_start_replaces_all(tmp_path):
    write(tmp_path, FIRST, entry(5, extra=1), entry(10))
    write(tmp_path, SECOND, entry(25), entry(50))
    log = read(tmp_path)
    assert log.series('loss').steps.tolist() == [25, 50]
    assert log.names == ['loss']


def test_values_that_were_all_replaced_give_no_warning(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(40, loss_old=float('nan'), group_entropy_1=0.0))
    write(tmp_path, SECOND, entry(35, 2), entry(45, 2))
    log = read(tmp_path)
    assert log.series('loss_old').steps.size == 0
    assert log.warnings() == []


def test_runs_without_a_step_do_not_count(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(20))
    write(tmp_path, SECOND)
    (tmp_path / THIRD).mkdir()  # of tools/test.py
    log = read(tmp_path)
    assert log.series('loss').steps.tolist() == [10, 20]
    assert log.progress().step == 20


def test_a_removed_run_is_forgotten(tmp_path):
    write(tmp_path, FIRST, entry(10))
    log = read(tmp_path)
    (tmp_path / FIRST).rename(tmp_path / 'elsewhere')
    assert log.update()
    assert log.progress() is None


def test_a_replaced_log_is_read_again(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(20))
    log = read(tmp_path)
    write(tmp_path, FIRST, entry(10))
    assert log.update()
    assert log.series('loss').steps.tolist() == [10]


LOG = """2026/01/01 00:00:00 - mmengine - INFO - Settings that determine the result:
    steps_per_epoch: 25
    total_steps: 100
2026/01/01 00:00:00 - mmengine - WARNING - The file is old.
2026/01/01 00:00:00 - mmengine - WARNING - The file is old.
01/01 00:00:01 - mmengine - INFO - Epoch(train) [1][10/25]  lr: 1e-03  eta: 1 day, 2:03:04  time: 1
01/01 00:00:01 - mmengine - INFO - Epoch(val) [1][10/10]  eta: 0:00:07  time: 1
"""


def test_progress(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(20), log=LOG)
    os.utime(tmp_path / FIRST / 'vis_data/scalars.json', (1000, 1000))
    log = read(tmp_path)
    left = ((24 + 2) * 60 + 3) * 60 + 4
    assert log.progress(1030.0) == Progress(20, 100, left, 30.0, False)
    assert log.warnings() == ['Logged: The file is old.']


@pytest.mark.parametrize('step,is_finished', [(80, False), (90, False), (91, True), (100, True)])
def test_the_end_is_seen_before_the_last_step(tmp_path, step, is_finished):
    write(tmp_path, FIRST, entry(10), entry(20), entry(step), log=LOG)
    assert read(tmp_path).progress().is_finished is is_finished


def test_validations_are_at_the_end_of_their_epoch(tmp_path):
    scores = json.dumps({'mIoU': 40.5, 'data_time': 1, 'time': 2, 'step': 1}) + '\n'
    write(tmp_path, FIRST, entry(10), entry(20), scores, log=LOG)
    assert read(tmp_path).validations() == [Validation(25, {'mIoU': 40.5})]
    write(tmp_path, SECOND, entry(10), entry(20), scores)  # the length of an epoch is not known
    assert read(tmp_path).validations() == [Validation(20, {'mIoU': 40.5})]


def test_validations_of_a_run_by_iterations(tmp_path):
    lines = [json.dumps({'loss': 1.0, 'iter': step, 'step': step}) + '\n' for step in (10, 20)]
    scores = json.dumps({'mIoU': 40.5, 'step': 5}) + '\n'
    write(tmp_path, FIRST, scores, *lines, log=LOG)
    assert read(tmp_path).validations() == [Validation(5, {'mIoU': 40.5})]


def test_pictures_of_replaced_steps_are_left_out(tmp_path):
    write(tmp_path, FIRST, entry(10), entry(20), entry(30))
    write(tmp_path, SECOND, entry(25, 2), entry(35, 2))
    for stamp, step in ((FIRST, 20), (FIRST, 30), (SECOND, 40)):
        folder = tmp_path / stamp / 'vis_data/vis_image'
        folder.mkdir(exist_ok=True)
        for name in (f'group_map_1_{step}.png', f'group_map_0_{step}.png', 'other_5.png', 'x'):
            (folder / name).write_bytes(b'')
    log = read(tmp_path)
    pictures = [(each.step, each.name) for each in log.pictures()]
    assert pictures == [(s, f'group_map_{i}') for s in (20, 40) for i in (0, 1)]
    (tmp_path / SECOND / 'vis_data/vis_image/group_map_0_50.png').write_bytes(b'')
    assert log.update()
    assert not log.update()


def test_a_collapse_is_said_with_the_limits_of_the_hook(tmp_path):
    defaults = inspect.signature(group_diagnostics.GroupUsageHook).parameters
    assert defaults['min_entropy'].default == training_log.MIN_ENTROPY
    assert defaults['max_similarity'].default == training_log.MAX_SIMILARITY
    names = 'group_entropy_1', 'group_entropy_2', 'segment_similarity'
    write(tmp_path, FIRST, entry(10, **dict(zip(names, (0.5, 0.05, 0.995)))))
    log = read(tmp_path)
    assert len(log.warnings()) == 2
    assert 'group_entropy_2 is 0.05' in log.warnings()[0]
    assert 'stage 2' in log.warnings()[0]
    write(tmp_path, FIRST, entry(20, **dict(zip(names, (0.5, 0.5, 0.5)))), append=True)
    log.update()
    assert log.warnings() == []


@pytest.mark.parametrize('value', ['NaN', 'Infinity', '-Infinity', '1e200'])
def test_a_loss_that_is_not_finite_is_said(tmp_path, value):
    write(tmp_path, FIRST, entry(10), f'{{"loss": {value}, "iter": 20, "step": 20}}\n')
    (warning,) = read(tmp_path).warnings()
    assert warning.startswith('loss is ')
    assert 'step 20' in warning


def test_work_directories_are_told_from_others(tmp_path):
    assert not is_work_dir(tmp_path)
    write(tmp_path, FIRST)
    assert is_work_dir(tmp_path)
    assert not is_work_dir(tmp_path / FIRST)


def test_thinned_values_keep_their_mean_and_the_last_step():
    values = np.random.default_rng(0).normal(size=1000)
    thin = thin_out(Series(np.arange(1000), values), 100)
    assert thin.values.shape == (100,)
    assert thin.values.mean() == pytest.approx(values.mean())
    assert thin.steps[-1] == 999
    assert thin.values[:2] == pytest.approx([values[:10].mean(), values[10:20].mean()])
    values[5:8] = np.nan, np.inf, -1e308
    assert np.abs(thin_out(Series(np.arange(1000), values), 7).values).max() < 10


def test_a_chart_takes_the_colour_of_its_surroundings():
    lines = {'loss <&> $x$': Series(np.array([10, 20]), np.array([8.0, 4.0]))}
    svg = line_chart(lines, title='Losses', name='losses')
    assert svg.startswith('<svg')
    assert 'currentColor' in svg
    assert '#010203' not in svg
    assert '<style' not in svg
    assert 'loss &lt;&amp;&gt; $x$' in svg
    assert 'aria-label="Losses: loss &lt;&amp;&gt; $x$ from 8 at step 10' in svg
    assert 'url(#losses-' in svg
    assert 'id="losses-' in svg


def test_colours_are_seen_on_white_and_on_dark_grey():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    assert len(COLOURS) == len(DASHES)
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) >= 3
        assert (luminance(colour) + 0.05) / (luminance('#27272a') + 0.05) >= 3


def test_a_chart_is_a_text_and_a_table_too():
    one = Series(np.array([10, 20, 30]), np.array([8.0, 2.0, 4.0]))
    two = Series(np.array([20]), np.array([0.123456]))
    assert 'lowest 2, highest 8' in describe('Losses', {'one': one})
    assert describe('Losses', {}) == 'Losses: no values yet.'
    columns, rows = table_of({'one': one, 'two': two}, 10)
    assert columns == ['step', 'one', 'two']
    assert rows == [['10', '8', ''], ['20', '2', '0.1235'], ['30', '4', '']]
    assert [row[0] for row in table_of({'one': one}, 2)[1]] == ['10', '30']


def test_results_of_both_tools(tmp_path):
    folder = tmp_path / 'quickstart/train'
    folder.mkdir(parents=True)
    assert find_result(folder, tmp_path) is None
    path = tmp_path / 'quickstart/result.json'
    one = {'things_and_grounds': {'mIoU': 2.84}}
    path.write_text(json.dumps({'untrained': one, 'trained': {'things_and_grounds': {'mIoU': 77}}}))
    assert find_result(folder, tmp_path) == path
    assert find_result(folder, folder) is None  # nothing above the folder of the command line
    assert read_outcomes(path) == [('things and grounds', 2.84, 77.0)]
    part = {'way': {'mIoU': 10**400}, 'other': {'mIoU': float('nan')}, 'third': 3}
    path.write_text(json.dumps({'untrained': part, 'trained': part}))
    assert read_outcomes(path) == []
    real = {key: {'metrics': {'mIoU': 5.0 + i}} for i, key in enumerate(('untrained', 'trained'))}
    path.write_text(json.dumps({**real, 'trained_calibrated': {'metrics': {'mIoU': 9}}}))
    assert read_outcomes(path) == [('mIoU', 5.0, 6.0), ('calibrated', 5.0, 9.0)]


@pytest.mark.parametrize('text', ['', '{', '[]', '{"trained": 1}', '\x00'])
def test_other_files_are_no_results(tmp_path, text):
    (tmp_path / 'result.json').write_text(text)
    with pytest.raises(ValueError, match=r'^result\.json is no '):
        read_outcomes(tmp_path / 'result.json')


@pytest.mark.slow
def test_a_large_log_is_read_in_seconds_and_then_only_its_end(tmp_path):
    import time

    values = {f'value_{i}': 0.123456789 * i for i in range(16)}
    line = json.dumps(values)[:-1]
    place = tmp_path / FIRST / 'vis_data'
    place.mkdir(parents=True)
    with (place / 'scalars.json').open('w') as stream:
        for step in range(1, 400_001):
            stream.write(f'{line}, "loss": 1.0, "iter": {step}, "step": {step}}}\n')
    assert (place / 'scalars.json').stat().st_size > 150e6
    run = TrainingRun(tmp_path / FIRST)
    while run.unread:
        run.update()
    write(tmp_path, FIRST, entry(400_001), append=True)
    start = time.perf_counter()
    assert run.update()
    assert time.perf_counter() - start < 1
    assert run.last_step == 400_001
