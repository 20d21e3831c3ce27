"""Faults of the machine in a training: one sentence, status 2, and an exact rest after --resume."""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from groupvit_mmseg.engine import training_faults

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
COUNTER = itertools.count()
TOOL = load_file('tools/train.py')


@HOOKS.register_module(force=True)
class FaultHook(Hook):
    """Calls a function of ``FAULTS`` with the runner before a step."""

    def __init__(self, fault, step):
        self.fault, self.step = fault, step

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            FAULTS[self.fault](runner)


def take_a_terabyte(runner):
    torch.empty(2**60)


def gpu_is_full(runner):
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 1 TiB\nmore')


def kill_a_worker(runner):
    children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    time.sleep(30)  # the signal of the worker's end comes here


def spoil_a_weight(runner):
    runner.optim_wrapper.max_skipped = 2
    next(runner.model.text_projector.parameters()).data.view(-1)[3] = float('nan')


FAULTS = {f.__name__: f for f in (take_a_terabyte, gpu_is_full, kill_a_worker, spoil_a_weight)}


@pytest.fixture
def train(tiny_config, tmp_path, capfd):
    """Calls tools/train.py here with a changed config; returns the status and the errors."""

    def main(name='run', **changes):
        cfg = tiny_config.copy()
        cfg.merge_from_dict(changes)
        number = next(COUNTER)
        cfg.experiment_name = cfg.visualizer.name = f'{tmp_path.name}-{number}'
        cfg.dump(tmp_path / f'{number}.py')
        options = [tmp_path / f'{number}.py', '--work-dir', tmp_path / name, '--resume']
        capfd.readouterr()
        status = TOOL.main([str(option) for option in options])
        return status, capfd.readouterr().err

    return main


def weights(folder):
    return torch.load(folder / 'epoch_3.pth', weights_only=True)['state_dict']


CASES = [
    ('take_a_terabyte', 'Out of memory in step 6, with batch_size=8 a process: set model.micro_ba'),
    ('gpu_is_full', 'set model.micro_batch_size=4, which keeps the gradients, or set train_datal'),
    ('spoil_a_weight', 'the first such value was in the parameter text_projector.'),
    ('kill_a_worker', 'A loader worker (process '),
]


@pytest.mark.parametrize('fault, sentence', CASES, ids=[case[0] for case in CASES])
def test_a_fault_is_one_sentence_and_the_run_resumes(train, tmp_path, fault, sentence):
    workers = dict(num_workers=1, persistent_workers=True) if 'worker' in fault else {}
    hooks = [dict(type='FaultHook', fault=fault, step=5)]
    status, errors = train(train_dataloader=workers, custom_hooks=hooks)
    assert status == 2
    assert errors.count('error: ') == 1, errors
    assert sentence in errors
    assert '--resume' in errors
    assert 'Traceback' not in errors
    assert [path.name for path in (tmp_path / 'run').glob('epoch*.pth')] == ['epoch_1.pth']
    assert train(train_dataloader=workers)[0] == 0
    assert train('whole', train_dataloader=workers)[0] == 0
    expected, resumed = weights(tmp_path / 'whole'), weights(tmp_path / 'run')
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)


def test_the_advice_follows_the_micro_batches_there_are(make_runner):
    runner = make_runner(model=dict(micro_batch_size=4))
    runner.train_loop  # noqa: B018  (builds the loader)
    sentence = training_faults.sentence_of_fault(MemoryError(), runner)
    assert 'batch_size=8 and micro_batch_size=4 a process: set model.micro_batch_size=2' in sentence
    runner.model.micro_batch_size = 1
    sentence = training_faults.sentence_of_fault(MemoryError(), runner)
    assert 'a process: set train_dataloader.batch_size below 8;' in sentence


@pytest.mark.parametrize(
    'error, sentence',
    [
        (RuntimeError('Out of memory on cpu: an image of'), 'Out of memory on cpu: an image of'),
        (
            MemoryError('Caught MemoryError in DataLoader worker process 0.'),
            'A loader worker ran out',
        ),
        (
            RuntimeError(
                'DataLoader worker (pid 7) is killed by signal: Bus error. Shared\nmemory'
            ),
            'A loader worker (process 7) is killed by signal: Bus error. Shared memory (',
        ),
        (
            RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed.'),
            'short: lower num_',
        ),
        (RuntimeError('CUBLAS_STATUS_ALLOC_FAILED when calling'), 'Out of memory in step 1, with'),
    ],
)
def test_advice_fits_the_fault(make_runner, error, sentence):
    runner = make_runner()
    runner.train_loop  # noqa: B018  (builds the loader)
    assert sentence in training_faults.sentence_of_fault(error, runner)


def test_a_shard_that_hangs_ends_the_run_after_the_time_limit(train, tiny_data, tmp_path):
    """A FIFO that nobody writes takes the place of a shard after the shards were checked."""
    data = tmp_path / 'data'
    shutil.copytree(tiny_data, data)

    def hang(runner):
        for shard in data.glob('*.tar'):
            shard.unlink()
            os.mkfifo(shard)

    FAULTS['hang'] = hang
    hooks = [dict(type='FaultHook', fault='hang', step=3)]  # the next epoch opens them again
    dataset = dict(sources=[dict(shards='pairs-*.tar', data_root=str(data))])
    loader = dict(num_workers=1, persistent_workers=False, dataset=dataset, timeout=2)
    began = time.monotonic()
    status, errors = train(train_dataloader=loader, custom_hooks=hooks)
    assert time.monotonic() - began < 60
    assert status == 2
    assert 'error: No batch came for 2' in errors
    assert 'train_dataloader.timeout' in errors
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


def test_loaders_with_workers_have_a_time_limit(make_runner, tiny_config):
    for workers, timeout in ((0, 0), (1, 1800)):
        loader = {**tiny_config.train_dataloader, 'num_workers': workers}
        assert make_runner().build_dataloader(loader).timeout == timeout


PEER = """
import os, sys, time
sys.path.insert(0, sys.argv.pop(1))
import runpy, signal
from torch.utils.data import DataLoader
from torch.nn import Module
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class DyingHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter != 5:
            return
        if runner.rank == 1:
            time.sleep(3)  # the other one waits in the collective of its step
            os.kill(os.getpid(), signal.SIGKILL)
        print('step 5', flush=True)

tool = sys.argv.pop(1)
sys.argv[0] = tool
runpy.run_path(tool, run_name='__main__')
"""


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return str(sock.getsockname()[1])


def test_a_rank_that_dies_in_a_collective_ends_the_other_with_one_sentence(tiny_config, tmp_path):
    """Without a launcher that would end it: as on another machine."""
    cfg = tiny_config.copy()
    hooks = [dict(type='DyingHook')]
    # merged, not set: other tests read the same config
    cfg.merge_from_dict({'train_dataloader.batch_size': 4, 'custom_hooks': hooks})
    cfg.dump(tmp_path / 'config.py')
    (tmp_path / 'peer.py').write_text(PEER)
    command = [sys.executable, tmp_path / 'peer.py', ROOT, ROOT / 'tools/train.py']
    command += [tmp_path / 'config.py', '--work-dir', tmp_path / 'run', '--launcher', 'pytorch']
    env = dict(os.environ, CUDA_VISIBLE_DEVICES='', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1')
    env |= dict(MASTER_PORT=free_port(), PYTHONPATH=str(ROOT))
    for name in ('GROUPVIT_LAUNCHED', 'TORCHELASTIC_ERROR_FILE'):
        env.pop(name, None)
    runs = [
        subprocess.Popen(
            [str(word) for word in command],
            env=dict(env, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        runs[1].communicate(timeout=300)
        began = time.monotonic()
        _, errors = runs[0].communicate(timeout=60)
        assert time.monotonic() - began < 60
    finally:
        for run in runs:
            run.kill()
    assert runs[1].returncode == -signal.SIGKILL
    assert runs[0].returncode == 1
    assert errors.count('Another process of this training has ended') == 1, errors[-3000:]
    assert 'Traceback' not in errors
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()
