"""An evaluation that is killed at random moments and repeated gives the same table.

``FAULT_KILLS=100 pytest -s -m faults tests/faults/test_evaluation_kills.py`` kills until 100 kills
ended an evaluation early, and prints when they did.
"""

import collections
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest

from loading import load_file

KILLS = int(os.environ.get('FAULT_KILLS', '20'))
KILLS_A_RUN = 5
SETS = ('voc21', 'voc20')
IMAGES = 10
helper = load_file('tests/tools/test_evaluate.py')
place, tool = helper.place, helper.tool  # fixtures


@pytest.fixture(scope='module')
def larger(place, tmp_path_factory):
    """Ten images of the two sets, and the same model."""
    larger, root = tmp_path_factory.mktemp('larger'), 'VOCdevkit/VOC2012'
    shutil.copy(place / 'weights.pth', larger)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(helper, 'COUNT', IMAGES)
        helper.make_set(larger / 'data' / root, helper.LAYOUTS[root], np.random.default_rng(0))
    names = larger / 'data' / root / 'ImageSets/Segmentation/val.txt'
    names.parent.mkdir(parents=True)
    names.write_text(''.join(f'p{index}\n' for index in range(IMAGES)))
    return larger


def evaluate(tool, place, out, workers=0):
    """Evaluate in a forked process; return its number."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            status = helper.run(tool, place, out, f'--workers={workers}', sets=SETS)
        finally:
            os._exit(status)
    return child


def wait(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def results(out):
    """Content of the result files."""
    return {p.name: p.read_bytes() for p in out.iterdir() if p.suffix in ('.csv', '.md', '.json')}


def count_results(out):
    """Return how many images the journals hold."""
    lines = sum(path.read_bytes().count(b'\n') for path in out.rglob('*.jsonl'))
    return max(0, lines - len(SETS))


def has_ended(child):
    """Return whether a process has ended; it is not reaped."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def kill(child, out, rng, duration):
    """Kill an evaluation at a random time, or after a random image; return when, if it was hit."""
    began, first = time.monotonic(), count_results(out)
    if rng.random() < 0.5:
        time.sleep(rng.uniform(0, duration))
    else:
        image = rng.randint(first, len(SETS) * IMAGES)
        while not has_ended(child) and count_results(out) < image:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, duration / 10))
    os.kill(child, signal.SIGKILL)
    done, killed = count_results(out), wait(child) == -signal.SIGKILL
    assert time.monotonic() - began < 300
    if not killed:
        return None
    if done == first:
        return 'before an image'
    return 'among the images' if done < len(SETS) * IMAGES else 'after the images'


@pytest.mark.faults
def test_killed_at_random_moments_it_gives_the_same_table(tool, larger, tmp_path):
    began = time.monotonic()
    assert wait(evaluate(tool, larger, tmp_path / 'whole')) == 0
    duration = time.monotonic() - began
    expected = results(tmp_path / 'whole')
    assert {'table.csv', 'table.md'} < expected.keys()
    rng, moments, runs = random.Random(0), collections.Counter(), 0
    while moments.total() < KILLS:
        out = tmp_path / str(runs)
        out.mkdir()
        for _ in range(rng.randint(1, KILLS_A_RUN)):
            child = evaluate(tool, larger, out, workers=runs % 2)
            if moment := kill(child, out, rng, duration):
                moments[moment] += 1
        assert wait(evaluate(tool, larger, out)) == 0
        found = results(out)
        assert found.keys() == expected.keys()
        for name in expected:
            assert found[name] == expected[name], (runs, name)
        runs += 1
    print(f'{moments.total()} kills in {runs} evaluations: {dict(moments)}')


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
