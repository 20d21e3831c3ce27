"""Ends a run early on SIGTERM or SIGUSR1: a checkpoint first, then a status that asks for a rerun.

Schedulers send these signals some time before they kill a job: Slurm with
``--signal=USR1@60`` or when it preempts, Kubernetes when it evicts a pod. All ranks agree on the
step, so that it does not matter which of them got the signal, and when.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType

import torch
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from torch import distributed
from torch.utils.data import DataLoader

from groupvit_mmseg.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from groupvit_mmseg.engine.optimizers.optimizer_check import built_optim_wrapper

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
EXIT_STATUS = 75
"""int: ``EX_TEMPFAIL`` of sysexits.h: the same command, with ``--resume``, goes on."""
# Number of the signal; shared with the loader workers, which get the signals of their group too.
_RECEIVED = mmap.mmap(-1, 1)
_CAUGHT = False  # in the last signals_caught() block
_SECONDS_FOR_PARENT = 0.5


class Preempted(Exception):
    """The end of a run that was asked to end; the message is one sentence."""


@contextlib.contextmanager
def signals_caught() -> Iterator[None]:
    """Note the signals within the block instead of dying of them."""
    global _CAUGHT
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    _RECEIVED[0] = 0
    try:
        yield
    finally:
        _CAUGHT = bool(_RECEIVED[0])
        _RECEIVED[0] = 0
        for number, handler in before.items():
            signal.signal(number, handler)


def was_signalled() -> bool:
    """Return whether the last ``signals_caught()`` block ended with a signal not yet acted upon."""
    return _CAUGHT


def _note(number: int, _: FrameType | None) -> None:
    """Note a signal; nothing else is safe in the middle of a step."""
    _RECEIVED[0] = number


def begin_worker(begin: Callable[[int], object] | None, worker: int) -> None:
    """Begin a loader worker, which outlives a signal that its parent has got too.

    Args:
        begin (Callable[[int], object], optional): What the loader calls at the beginning.
        worker (int): Index of the worker.
    """

    def end_unless_noted(number: int, _: FrameType | None) -> None:
        end = time.monotonic() + _SECONDS_FOR_PARENT
        while not _RECEIVED[0]:
            if time.monotonic() > end:
                os._exit(128 + number)  # the parent ends this worker alone
            time.sleep(0.01)

    if signal.getsignal(signal.SIGTERM) is _note:
        for number in SIGNALS:
            signal.signal(number, end_unless_noted)
    if begin is not None:
        begin(worker)


class PreemptionHook(Hook):
    """Writes a checkpoint and raises :class:`Preempted` once a signal is noted on any rank.

    In a validation nothing is written: the run goes on from its last checkpoint. Use it within
    :func:`signals_caught`.
    """

    priority = 'LOWEST'  # after the hooks whose state the checkpoint holds

    def __init__(self) -> None:
        self._group: distributed.ProcessGroup | None = None

    def before_train(self, runner: Runner) -> None:
        """Prepare the loaders' workers, and a group over the CPUs, which waits for no GPU."""
        for loader in _loaders(runner):
            loader.worker_init_fn = partial(begin_worker, loader.worker_init_fn)
        if is_distributed():
            self._group = distributed.new_group(backend='gloo')

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """End the run, unless gradients are being accumulated."""
        done = runner.iter + 1
        if done % built_optim_wrapper(runner)._accumulative_counts:
            return
        number = self._received()
        if number and done < runner.max_iters:
            self._end(runner, number, done, _save(runner))

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: object = None,
    ) -> None:
        """End the run."""
        number = self._received()
        if number:
            self._end(runner, number, runner.iter, 'the last checkpoint')

    def _received(self) -> int:
        """Return the signal that any rank has got; 0 if there is none."""
        number = _RECEIVED[0]
        if self._group is not None:
            largest = torch.tensor([number])
            distributed.all_reduce(largest, distributed.ReduceOp.MAX, self._group)
            number = int(largest)
        return number

    def _end(self, runner: Runner, number: int, steps: int, checkpoint: str) -> None:
        """Raise the end of the run; loader workers end as after any epoch."""
        runner.train_dataloader._iterator = None
        _RECEIVED[0] = 0
        raise Preempted(
            f'Ended by {signal.Signals(number).name} after {steps} steps: --resume goes on '
            f'from {checkpoint}.'
        )


def _loaders(runner: Runner) -> list[DataLoader]:
    """Return the loaders of training and validation."""
    loops = (runner.train_loop, runner.val_loop)
    return [loop.dataloader for loop in loops if loop is not None]


def _save(runner: Runner) -> str:
    """Write a checkpoint; return its path, or a word for it."""
    for hook in runner.hooks:
        if isinstance(hook, AtomicCheckpointHook):
            return hook.save_now(runner)
    return 'the last checkpoint'
