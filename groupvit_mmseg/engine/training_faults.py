"""Faults of the machine in the middle of a training, each as one sentence."""

from __future__ import annotations

import os
import re
import sys
import time

from mmengine.dist import is_distributed
from mmengine.runner import Runner

from groupvit_mmseg.datasets.slot_reader import TooManyFailures
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.preemption import was_signalled
from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.launch_record import LAUNCHED
from groupvit_mmseg.models.finite_scores import NotFiniteError
from groupvit_mmseg.out_of_memory import is_out_of_memory

_RESUME = 'checkpoints are complete, and --resume goes on from the last one'
_LESS_MEMORY = 'lower num_workers of the loader, or the shuffle_buffer of its data set'
# What gloo, NCCL and the store say where another process has ended or is silent.
_LOST = re.compile(
    r'closed by peer|reset by peer|Broken pipe|Connection refused|Socket (closed|Timeout)|'
    r'Timed out waiting|remote process exited|NCCL (communicator|watchdog).*(abort|timeout)',
    re.IGNORECASE | re.DOTALL,
)
_TIMED_OUT = re.compile(r'DataLoader timed out after ([\d.]+) seconds')
_WORKER = re.compile(r'DataLoader worker \(pid.*?(\d+)\)(.*)', re.DOTALL)
_SECONDS_FOR_LAUNCHER = 10.0


def sentence_of_fault(error: BaseException, runner: Runner | None) -> str | None:
    """Return the sentence for an error that the machine or the numbers caused; None for others.

    Args:
        error (BaseException): Raised by a training.
        runner (Runner, optional): The run, if it was built.

    Example:
        >>> error = RuntimeError('DataLoader timed out after 30 seconds')
        >>> sentence_of_fault(error, None)
        'No batch came for 30 s: ...'
    """
    text = str(error)
    if isinstance(error, FloatingPointError | NotFiniteError):
        return text
    if isinstance(error, TooManyFailures):
        return error_text(error)
    if text.startswith('Out of memory on'):  # of a validation
        return text
    if is_out_of_memory(error) and 'DataLoader worker process' in text:
        return f'A loader worker ran out of memory: {_LESS_MEMORY}; {_RESUME}.'
    if runner is not None and is_out_of_memory(error):
        return _memory_sentence(runner)
    if silent := _TIMED_OUT.search(text):
        return (
            f'No batch came for {silent[1]} s: what the data lies on hangs, or is slower than '
            f'train_dataloader.timeout or val_dataloader.timeout (0 is no limit); {_RESUME}.'
        )
    if worker := _WORKER.search(text):
        if 'signal: Killed' not in text:
            return f'A loader worker (process {worker[1]}){_one_line(worker[2])} ({_RESUME}).'
        return (
            f'A loader worker (process {worker[1]}) was killed, as the system does where memory is '
            f'short: {_LESS_MEMORY}; {_RESUME}.'
        )
    return None


def _one_line(text: str) -> str:
    """Return a text without its line breaks."""
    return ' ' + ' '.join(text.split())


def _memory_sentence(runner: Runner) -> str:
    """Return the sentence for a step that does not fit into the memory."""
    batch = getattr(runner.train_dataloader, 'batch_size', None) or 1
    model = unwrap_model(runner.model)
    now = getattr(model, 'micro_batch_size', None)
    advice = f'set train_dataloader.batch_size below {batch}'
    if hasattr(model, 'micro_batch_size') and (now or batch) > 1:
        half = max(1, min(now or batch, batch) // 2)
        advice = f'set model.micro_batch_size={half}, which keeps the gradients, or {advice}'
    is_now = f' and micro_batch_size={now}' if now else ''
    return (
        f'Out of memory in step {runner.iter + 1}, with batch_size={batch}{is_now} a process: '
        f'{advice}; {_RESUME}.'
    )


def is_lost_process(error: BaseException) -> bool:
    """Return whether an error says that another process of the training has ended."""
    return is_distributed() and isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def report_lost_process() -> None:
    """Print that another process has ended; the launcher, which knows more, ends this one.

    A launcher that has sent its signal already, in the middle of the step, is not waited for.
    """
    print(f'Another process of this training has ended: {_RESUME}.', file=sys.stderr, flush=True)
    if LAUNCHED in os.environ and not was_signalled():
        time.sleep(_SECONDS_FOR_LAUNCHER)
