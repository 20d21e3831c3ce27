"""An evaluation that is killed at random moments and repeated gives the same table."""

import importlib.util
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get('FAULT_KILLS', '20'))
SETS = ('voc21', 'voc20')


def load(path, name):
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


helper = load('tests/tools/test_evaluate.py', 'evaluate_tests')
place, tool = helper.place, helper.tool  # fixtures


def evaluate(tool, place, out):
    """Evaluate in a forked process; return its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            status = helper.run(tool, place, out, sets=SETS)
        finally:
            os._exit(status)
    return child


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def results(out):
    """Content of the result files."""
    return {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in ('.csv', '.md', '.json')}


@pytest.mark.faults
def test_killed_at_random_moments_it_gives_the_same_table(tool, place, tmp_path):
    began = time.monotonic()
    assert wait(evaluate(tool, place, tmp_path / 'whole')) == 0
    duration = time.monotonic() - began
    expected = results(tmp_path / 'whole')
    assert {'table.csv', 'table.md'} < expected.keys()
    rng, killed = random.Random(0), 0
    for number in range(KILLS):
        out = tmp_path / str(number)
        for _ in range(rng.randrange(1, 4)):
            child = evaluate(tool, place, out)
            time.sleep(rng.uniform(0, duration))
            os.kill(child, signal.SIGKILL)
            killed += wait(child) == -signal.SIGKILL
        assert wait(evaluate(tool, place, out)) == 0
        found = results(out)
        assert found.keys() == expected.keys()
        for name in expected:
            assert found[name] == expected[name], (number, name)
    print(f'{killed} evaluations were killed', file=sys.stderr)
    assert killed >= KILLS / 2


@pytest.mark.faults
def test_torn_journals_give_the_same_table(tool, place, tmp_path):
    assert wait(evaluate(tool, place, tmp_path / 'run')) == 0
    expected = results(tmp_path / 'run')
    journals = sorted((tmp_path / 'run').rglob('*.jsonl'))
    assert len(journals) == len(SETS)
    rng = random.Random(0)
    for _ in range(KILLS):
        for path in journals:
            content = path.read_bytes()
            path.write_bytes(content[: rng.randrange(len(content))])
        assert wait(evaluate(tool, place, tmp_path / 'run')) == 0
        assert results(tmp_path / 'run') == expected


@pytest.mark.faults
def test_two_evaluations_of_one_folder_at_once(tool, place, tmp_path):
    assert wait(evaluate(tool, place, tmp_path / 'whole')) == 0
    children = [evaluate(tool, place, tmp_path / 'run') for _ in range(2)]
    statuses = sorted(map(wait, children))
    assert statuses in ([0, 0], [0, 2])  # 2: the other one writes, which is one sentence
    assert wait(evaluate(tool, place, tmp_path / 'run')) == 0
    assert results(tmp_path / 'run') == results(tmp_path / 'whole')
