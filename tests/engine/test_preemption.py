"""SIGTERM and SIGUSR1 end a run with a checkpoint, from which it goes on as if nothing had been."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from groupvit_mmseg.engine.preemption import Preempted, PreemptionHook, signals_caught

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
RESUME = load_file('tests/engine/test_resume.py')


class Signaller(Hook):
    """Sends a signal to this process, in a step or in a validation."""

    def __init__(self, number, *, step=None, in_validation=False):
        self.number, self.step, self.in_validation = number, step, in_validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step and not self.in_validation:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step and self.in_validation:
            os.kill(os.getpid(), self.number)


def train(make_runner, name, signaller=None, **changes):
    """Train until the end or the signal; return the sentence of the latter."""
    runner = make_runner(name, **changes)
    runner.register_hook(PreemptionHook())
    if signaller is not None:
        runner.register_hook(signaller)
    with signals_caught():
        try:
            runner.train()
        except Preempted as end:
            return str(end)
    return None


@pytest.fixture(scope='module')
def whole():
    return {}


@pytest.fixture
def uninterrupted(whole, make_runner, tmp_path):
    """The last checkpoint of a run that got no signal."""
    if not whole:
        assert train(make_runner, 'whole') is None
        whole['run'] = RESUME.content(tmp_path / 'whole' / 'epoch_3.pth')
    return whole['run']


@pytest.mark.parametrize(
    'step,workers',
    [
        (5, 0),
        *(pytest.param(s, 0, marks=pytest.mark.slow) for s in (0, 3, 10)),
        pytest.param(3, 2, marks=pytest.mark.slow),
    ],
)
def test_ended_at_any_step_and_resumed_is_the_uninterrupted_run(
    make_runner, uninterrupted, tmp_path, step, workers
):
    changes = dict(train_dataloader=dict(num_workers=workers))
    sentence = train(make_runner, 'run', Signaller(signal.SIGUSR1, step=step), **changes)
    saved = tmp_path / 'run' / f'iter_{step + 1}.pth'
    assert sentence == f'Ended by SIGUSR1 after {step + 1} steps: --resume goes on from {saved}.'
    assert saved.is_file()
    assert (tmp_path / 'run' / 'last_checkpoint').read_text() == str(saved)
    assert train(make_runner, 'run', resume='auto', **changes) is None
    ended = RESUME.content(tmp_path / 'run' / 'epoch_3.pth')
    if workers == 0:
        RESUME.assert_same(ended['state_dict'], uninterrupted['state_dict'])
        RESUME.assert_same(ended['optimizer'], uninterrupted['optimizer'])
        RESUME.assert_same(
            ended['message_hub']['log_scalars']['train/loss'],
            uninterrupted['message_hub']['log_scalars']['train/loss'],
        )
    assert not saved.exists()  # its successor is there
    assert {path.name for path in (tmp_path / 'run').glob('epoch_*.pth')} == {
        'epoch_2.pth',
        'epoch_3.pth',
    }


def test_a_signal_in_validation_ends_it_and_the_run_resumes(make_runner, uninterrupted, tmp_path):
    signaller = Signaller(signal.SIGTERM, step=8, in_validation=True)
    sentence = train(make_runner, 'run', signaller)
    assert sentence.startswith('Ended by SIGTERM after')
    assert sentence.endswith('--resume goes on from the last checkpoint.')
    assert train(make_runner, 'run', resume='auto') is None
    ended = RESUME.content(tmp_path / 'run' / 'epoch_3.pth')
    RESUME.assert_same(ended['state_dict'], uninterrupted['state_dict'])


def test_nothing_is_saved_between_accumulated_gradients(make_runner, tmp_path):
    changes = dict(optim_wrapper=dict(accumulative_counts=2))
    sentence = train(make_runner, 'run', Signaller(signal.SIGTERM, step=4), **changes)
    assert 'after 6 steps' in sentence
    assert (tmp_path / 'run' / 'iter_6.pth').is_file()


def test_a_signal_in_the_last_step_only_interrupts_the_validation(make_runner, tmp_path):
    sentence = train(make_runner, 'run', Signaller(signal.SIGTERM, step=11))
    assert 'after 12 steps' in sentence  # in the validation
    assert (tmp_path / 'run' / 'epoch_3.pth').is_file()
    assert train(make_runner, 'run', resume='auto') is None


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    with signals_caught():
        os.kill(os.getpid(), signal.SIGTERM)  # does not end this process
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)] == before


# Slows the training down, so that a signal meets it in the middle.
SLOW = """
import os, time
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

@HOOKS.register_module()
class SlowHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        print('step', runner.iter, os.getpid(), flush=True)
        if runner.iter >= 5 and 'SLOW' in os.environ:
            time.sleep(2)
"""


def command(ranks, config, work_dir):
    """The command of a training with some processes, which resumes what is there."""
    end = [str(config), '--work-dir', str(work_dir), '--resume']
    if ranks == 1:
        return [sys.executable, str(ROOT / 'tools/train.py'), *end]
    return [str(ROOT / 'tools/dist_train.sh'), end[0], str(ranks), *end[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(
    'ranks,receiver', [*product((1, 2), ('launcher', 'group')), (2, 'one rank')]
)
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_the_command_ends_it_with_status_75(
    tiny_config, tmp_path, ranks, receiver, number
):
    cfg = tiny_config.copy()
    cfg.train_dataloader.update(num_workers=2, batch_size=8 // ranks)
    cfg.custom_hooks = [dict(type='SlowHook')]
    cfg.custom_imports = dict(imports=['groupvit_mmseg', 'slow'], allow_failed_imports=False)
    (tmp_path / 'slow.py').write_text(SLOW)
    cfg.dump(tmp_path / 'config.py')
    env = dict(os.environ, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES='')
    env['PYTHONPATH'] = f'{tmp_path}:{ROOT}'
    began = time.monotonic()
    run = subprocess.Popen(
        command(ranks, tmp_path / 'config.py', tmp_path / 'run'),
        env=dict(env, SLOW='1'),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        rank = next(line.split()[2] for line in run.stdout if line.startswith('step 5 '))
        # The grace period of Slurm and torchrun is 30 s; a busy machine's start takes longer too.
        grace = max(30, time.monotonic() - began)
        began = time.monotonic()
        if receiver == 'group':
            os.killpg(run.pid, number)
        else:
            os.kill(int(rank) if receiver == 'one rank' else run.pid, number)
        _, errors = run.communicate(timeout=2 * grace)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
    assert time.monotonic() - began < grace
    assert run.returncode == 75, errors[-3000:]
    assert f'Ended by {number.name}' in errors
    assert errors.count('--resume goes on from') == 1
    assert 'Traceback' not in errors
    assert list((tmp_path / 'run').glob('iter_*.pth'))
    subprocess.run(
        command(ranks, tmp_path / 'config.py', tmp_path / 'run'),
        env=env,
        check=True,
        timeout=4 * grace,
        capture_output=True,
    )
    (last,) = (tmp_path / 'run').glob('epoch_3.pth')
    losses = torch.load(last, weights_only=True)['message_hub']['log_scalars']['train/loss']
    assert len(losses['values']) == 12
