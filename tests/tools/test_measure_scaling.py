"""tools/benchmarks/measure_scaling.py: points of real work, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from groupvit_mmseg.benchmark.scaling_curves import Point

from loading import load_file

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='memory is read from /proc')


@pytest.fixture
def tool():
    return load_file('tools/benchmarks/measure_scaling.py')


def test_memory_is_that_of_the_call_alone():
    """What was used and freed before does not count, what is freed within the call does.

    In a process of its own, as the tool measures: in one that ran other tests, an array may take
    memory that the allocator has kept.
    """
    script = """
import runpy
import numpy as np
measure_memory = runpy.run_path('tools/benchmarks/measure_scaling.py')['measure_memory']
np.ones(60 * 2**17)  # 60 MiB
print(measure_memory(lambda: (np.ones(20 * 2**17), np.ones(2**17))))
print(measure_memory(lambda: None))
"""
    command = [sys.executable, '-c', script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    grown, nothing = map(float, ended.stdout.split())
    assert grown == pytest.approx(21, abs=3)
    assert nothing < 2


@pytest.mark.slow
def test_every_curve_is_measured_in_small(tool, tmp_path, capsys):
    assert tool.main(['--tiny', '--rounds', '1', '--out', str(tmp_path)]) == 0
    curves = json.loads((tmp_path / 'scaling.json').read_text())['curves']
    assert [curve['title'] for curve in curves] == [s.title for s in tool.SCALINGS.values()]
    for curve in curves:
        assert all(0.05 < p['limit'] / p['seconds'] < 2 for p in curve['points'])
        assert all(p['mib'] >= 0 for p in curve['points'])
    windows, _, _, batch, _, ranks = (curve['points'] for curve in curves)
    assert windows[1]['limit'] > 2 * windows[0]['limit']  # four windows, not one
    assert batch[1]['mib'] > batch[0]['mib'] + 20  # the activations of a pair
    assert ranks[1]['mib'] > 1.3 * ranks[0]['mib']
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / 'scaling.md').read_text().strip().replace(
        '\n\n|', '\n\n|'
    )
    assert (tmp_path / 'scaling.png').is_file()


def test_a_chosen_curve_is_written_alone(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(tool, 'measure_alone', lambda _, value, rounds: Point(value, 2.0, 3.0, 1.0))
    assert tool.main(['--curves', 'ranks', '--out', str(tmp_path)]) == 0
    (curve,) = json.loads((tmp_path / 'scaling.json').read_text())['curves']
    assert [p['value'] for p in curve['points']] == list(tool.SCALINGS['ranks'].values)


def test_a_system_without_proc_is_one_sentence(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tool.Path, 'exists', lambda self: False)
    assert tool.main(['--tiny', '--out', str(tmp_path / 'out')]) == 2
    assert 'Memory is read from /proc/self' in capsys.readouterr().err


def test_the_speed_of_products_is_that_of_a_product(tool):
    a, threads = torch.randn(1024, 1024), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = min(tool.seconds_of(lambda: a @ a) for _ in range(5))
        assert 0.4 < tool.product_speed() / (2 * 1024**3 / seconds) < 4
    finally:
        torch.set_num_threads(threads)


def test_a_process_that_fails_is_one_sentence(tool, tmp_path, capfd, monkeypatch):
    def fails(value):
        raise SystemExit(3)

    broken = tool.SCALINGS['ranks']._replace(prepare=fails)
    monkeypatch.setitem(tool.SCALINGS, 'ranks', broken)
    assert tool.main(['--curves', 'ranks', '--tiny', '--out', str(tmp_path)]) == 2
    assert 'The process that measured 1 ranks failed.' in capfd.readouterr().err
