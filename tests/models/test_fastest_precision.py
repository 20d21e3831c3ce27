"""The choice of 'auto', by injected times, and the files in which measurements are kept."""

import copy
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.models import fastest_precision as module
from groupvit_mmseg.models.fastest_precision import (
    LEAST_ROUNDS,
    ROUNDS,
    PrecisionChoice,
    choose,
    drawn_windows,
    fastest_precision,
    least_seconds,
)
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.models.measurement_cache import _cpu, kept, machine

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'


@pytest.fixture
def segmentor():
    cfg = Config.fromfile(CONFIG).model
    cfg.test_cfg = dict(mode='whole', precision='auto')
    return MODELS.build(cfg).eval()


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """An empty cache, and a machine on which bfloat16 takes half the time; counts measurements."""
    counts = dict(times=0, agreement=0)
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('GROUPVIT_PRECISION')

    def times(runs):
        counts['times'] += 1
        return {'fp32-plain': 1.0, 'fp32': 0.8, 'bf16': 0.5}

    def agreement(segmentor, windows):
        counts['agreement'] += 1
        return 0.999

    monkeypatch.setattr(module, 'least_seconds', times)
    monkeypatch.setattr(module, '_agreement', agreement)
    return counts


@pytest.mark.parametrize(
    'seconds, agreement, expected',
    [
        (dict(fp32=0.5, bf16=0.4), 0.999, 'bf16'),
        (dict(fp32=0.5, bf16=0.4), 0.994, 'fp32'),  # too many other labels
        (dict(fp32=0.95, bf16=0.4), 0.994, 'fp32-plain'),
        (dict(fp32=0.95, bf16=0.91), 1.0, 'fp32-plain'),  # a tie
        (dict(fp32=0.4, bf16=0.5), 1.0, 'fp32'),
        (dict(fp32=2.0, bf16=3.0), 1.0, 'fp32-plain'),
        ({}, 1.0, 'fp32-plain'),
    ],
)
def test_the_fastest_is_taken_whose_labels_agree(seconds, agreement, expected):
    assert choose({'fp32-plain': 1.0, **seconds}, lambda: agreement) == expected


def test_labels_are_compared_only_for_a_bf16_that_is_fastest():
    assert choose({'fp32-plain': 1.0, 'fp32': 0.5, 'bf16': 0.6}, lambda: 1 / 0) == 'fp32'


def clocked(durations):
    """A clock, and runs that let it advance by the next of their durations each."""
    now, calls = [0.0], []

    def run(name):
        calls.append(name)
        now[0] += durations[name].pop(0)

    runs = {name: lambda name=name: run(name) for name in durations}
    return least_seconds(runs, lambda: now[0]), calls


def test_times_are_the_least_of_rounds_that_alternate_after_a_first():
    quick = {'a': [0.001, 0.09, 0.03, 0.07, 0.08, 0.06], 'b': [5, 0.02, 0.05, 0.04, 0.03, 0.03]}
    seconds, calls = clocked(quick)
    assert seconds == pytest.approx(dict(a=0.03, b=0.02))
    assert calls == ['a', 'b'] * (ROUNDS + 1)


def test_a_slow_machine_measures_fewer_rounds():
    seconds, calls = clocked({'a': [3, 2, 1, 0.1], 'b': [1, 1, 1, 1]})
    assert seconds == pytest.approx(dict(a=1, b=1))
    assert calls == ['a', 'b'] * (LEAST_ROUNDS + 1)


def test_one_measurement_serves_this_machine(segmentor, measured):
    assert segmentor.precision == 'bf16'
    other = MODELS.build(Config.fromfile(CONFIG).model).eval()
    other.load_state_dict(segmentor.state_dict())
    assert fastest_precision(other) == 'bf16'
    assert measured == dict(times=1, agreement=1)
    with torch.no_grad():
        other.backbone.norm.weight[0] = 7  # of the same shape: the labels are compared again
    assert fastest_precision(other) == 'bf16'
    assert measured == dict(times=1, agreement=2)


def test_other_threads_are_another_machine(segmentor, measured):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            assert segmentor.precision == 'bf16'
    finally:
        torch.set_num_threads(before)
    assert measured['times'] == 2


def test_the_choice_is_kept_while_the_weights_stay(segmentor, measured, monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'fastest_precision', lambda _: calls.append(1) or 'fp32')
    choice = PrecisionChoice()
    assert [choice.of(segmentor) for _ in range(3)] == ['fp32'] * 3
    assert len(calls) == 1
    segmentor.load_state_dict(segmentor.state_dict())
    choice.of(segmentor)
    assert len(calls) == 2
    for unused in (copy.deepcopy(choice), pickle.loads(pickle.dumps(choice))):
        unused.of(segmentor)
    assert len(calls) == 4


def test_training_is_never_measured(segmentor, measured):
    assert segmentor.train().precision == 'fp32'
    assert measured['times'] == 0


def test_the_environment_names_the_precision(segmentor, measured, monkeypatch):
    monkeypatch.setenv('GROUPVIT_PRECISION', 'fp32-plain')
    assert segmentor.precision == 'fp32-plain'
    monkeypatch.setenv('GROUPVIT_PRECISION', 'fp16')
    with pytest.raises(ValueError, match=r'GROUPVIT_PRECISION=fp16 is none of fp32, fp32-plain'):
        _ = segmentor.precision
    assert measured['times'] == 0


def test_a_real_measurement_chooses_a_float_precision(segmentor, monkeypatch, tmp_path):
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path))
    monkeypatch.delenv('GROUPVIT_PRECISION')
    assert segmentor.precision in {*PRECISIONS} - {'auto', 'int8'}
    contents = [json.loads(path.read_text()) for path in (tmp_path / 'precision').iterdir()]
    assert min(len(content['numbers']) for content in contents) >= 1
    assert {'fp32-plain', 'fp32'} <= set(contents[0]['numbers']) | set(contents[-1]['numbers'])


def test_agreement_is_the_share_of_equal_labels(segmentor, monkeypatch):
    windows = drawn_windows(segmentor)
    side = segmentor.backbone.grid_shape[0] * segmentor.backbone.patch_size
    assert windows.shape == (4, 3, side, side)
    assert module._agreement(segmentor, windows) > 0.5
    monkeypatch.setattr(module, 'encode_in', lambda _, backbone, images: backbone.encode(images))
    assert module._agreement(segmentor, windows) == 1


@pytest.mark.parametrize(
    'content', ['', '{', '[]', '{"numbers": 3}', '{"cpu": "b", "numbers": {"a": 1}}', '\udc80']
)
def test_a_damaged_file_costs_the_measurement(tmp_path, content):
    assert kept({'cpu': 'a'}, lambda: {'a': 1.0}, tmp_path) == {'a': 1.0}
    (path,) = tmp_path.iterdir()
    path.write_bytes(content.encode(errors='surrogateescape'))
    assert kept({'cpu': 'a'}, lambda: {'a': 2.0}, tmp_path) == {'a': 2.0}
    assert kept({'cpu': 'a'}, lambda: {'a': 3.0}, tmp_path) == {'a': 2.0}


def test_a_folder_that_cannot_be_written_costs_the_measurement(tmp_path):
    file = tmp_path / 'file'
    file.touch()
    assert kept({'cpu': 'a'}, lambda: {'a': 1.0}, file / 'folder') == {'a': 1.0}


def test_keys_have_files_of_their_own(tmp_path):
    for cpu in 'ab':
        kept({'cpu': cpu}, lambda: {'a': 1.0}, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cpu_is_told_by_its_model_and_its_flags(tmp_path):
    text = 'processor : 0\nmodel name : Fast\nflags : avx {}\n\nprocessor : 1\nmodel name : Other\n'
    texts = []
    for flag in ('avx2', 'avx512_bf16'):
        (tmp_path / 'cpuinfo').write_text(text.format(flag))
        texts.append(_cpu(tmp_path / 'cpuinfo'))
    assert all(each.startswith('Fast flags ') for each in texts)
    assert texts[0] != texts[1]
    assert _cpu(tmp_path / 'none')
    assert machine()['threads'] == torch.get_num_threads()
    assert os.environ['GROUPVIT_PRECISION'] == 'fp32'  # of all tests; see conftest.py
