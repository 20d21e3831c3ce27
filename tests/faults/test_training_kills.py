"""Processes of a training are killed at random moments; the resumed run is the undisturbed one.

Real processes: ranks over gloo, started by ``tools/dist_train.sh``, with loader workers. Each case
kills once, twice or three times: a rank, the launcher, a loader worker, or all processes.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
MOMENTS = int(os.environ.get('FAULT_MOMENTS', '4'))
VICTIMS = ('rank', 'launcher', 'worker', 'all')
SECONDS = 240
# Writes down which pairs each step read.
RECORDER = """
import json, os
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class RecorderHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(f"{os.environ['RECORD']}.{runner.rank}.jsonl", 'a') as file:
            print(json.dumps([runner.iter, data_batch['keys']]), file=file, flush=True)
"""


@pytest.fixture(scope='module')
def folder(tiny_config, tmp_path_factory):
    """A config of 24 steps on two ranks with two workers each, and the module that it imports."""
    cfg = tiny_config.copy()
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=6, val_interval=2),
            train_dataloader=dict(batch_size=4, num_workers=2, persistent_workers=True),
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=2)),
            custom_hooks=[dict(type='RecorderHook'), dict(type='EMAHook', momentum=0.3)],
            custom_imports=dict(imports=['groupvit_mmseg', 'recorder'], allow_failed_imports=False),
        )
    )
    folder = tmp_path_factory.mktemp('kills')
    (folder / 'recorder.py').write_text(RECORDER)
    cfg.dump(folder / 'config.py')
    return folder


def start(folder, name):
    """Start the training, or go on with it."""
    env = dict(os.environ, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='')
    env.update(PYTHONPATH=f'{folder}:{ROOT}', RECORD=str(folder / name))
    with (folder / f'{name}.log').open('a') as log:
        return subprocess.Popen(
            [ROOT / 'tools/dist_train.sh', folder / 'config.py', '2', '--resume']
            + ['--work-dir', folder / name],
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def children(pid):
    """Return the processes that a process has started."""
    try:
        return [int(c) for c in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]
    except OSError:
        return []


def kill(run, victim, rng):
    """Kill -9 a process of a run; return whether there was one."""
    ranks = children(run.pid)
    workers = [worker for rank in ranks for worker in children(rank)]
    pids = dict(launcher=[run.pid], all=[run.pid, *ranks, *workers], rank=ranks, worker=workers)
    chosen = pids[victim] if victim == 'all' else pids[victim] and [rng.choice(pids[victim])]
    for pid in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(chosen)


def end(run):
    """Wait for a run; end what a dead launcher has left, as a scheduler does with a job."""
    try:
        return run.wait(SECONDS)
    finally:
        for pid in (int(path.name) for path in Path('/proc').iterdir() if path.name.isdigit()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) == run.pid:  # of this run's own session
                    os.kill(pid, signal.SIGKILL)


def steps(folder, name):
    """Return how many steps rank 0 has written down."""
    record = folder / f'{name}.0.jsonl'
    return len(record.read_text().splitlines()) if record.exists() else 0


def read_by_step(folder, name):
    """Return the keys of each step over all ranks; a step that was repeated read the same."""
    read = {}
    for rank in range(2):
        for line in (folder / f'{name}.{rank}.jsonl').read_text().splitlines():
            step, keys = json.loads(line)
            assert read.setdefault((step, rank), keys) == keys, (step, rank)
    return read


@pytest.fixture(scope='module')
def undisturbed(folder):
    """Checkpoint and samples of a run in which nothing is killed, and its seconds."""
    began = time.monotonic()
    assert end(start(folder, 'whole')) == 0, (folder / 'whole.log').read_text()[-3000:]
    content = torch.load(folder / 'whole/iter_24.pth', weights_only=True)
    return content, read_by_step(folder, 'whole'), time.monotonic() - began


def assert_same(first, second, where=''):
    """Equal in every tensor and value of every depth."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f'{where}.{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f'{where}.{index}')
    else:
        assert first == second, where


@pytest.mark.faults
@pytest.mark.parametrize('number', range(MOMENTS))
def test_killed_and_resumed_is_undisturbed(folder, undisturbed, number):
    expected, samples, seconds = undisturbed
    rng, name = random.Random(number), f'run{number}'
    victim = VICTIMS[number % len(VICTIMS)]
    for _ in range(rng.randrange(1, 3)):
        run = start(folder, name)
        wanted = steps(folder, name) + rng.randrange(12)  # 0: while everything starts
        limit = time.monotonic() + 2 * seconds
        while run.poll() is None and steps(folder, name) < wanted and time.monotonic() < limit:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, seconds / 20))
        hit = run.poll() is None and kill(run, victim, rng)
        began = time.monotonic()
        status = end(run)
        assert time.monotonic() - began < 60 or not hit  # nobody waits for a dead process
        assert status != 0 or not hit or steps(folder, name) >= 24
    assert end(start(folder, name)) == 0, (folder / f'{name}.log').read_text()[-3000:]
    content = torch.load(folder / name / 'iter_24.pth', weights_only=True)
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(content[part], expected[part], part)
    curves = [c['message_hub']['log_scalars'] for c in (content, expected)]
    for curve in ('train/loss', 'train/lr', 'train/grad_norm', 'val/mIoU'):
        assert_same(curves[0][curve], curves[1][curve], curve)
    infos = [c['message_hub']['runtime_info'] for c in (content, expected)]
    assert infos[0]['best_score'] == infos[1]['best_score']
    assert read_by_step(folder, name) == samples
