"""Starts a script in several processes; an error of theirs is one sentence at the end.

python tools/launch.py --nproc_per_node=GPUS SCRIPT.py [arguments of the script]

Takes the arguments of torchrun and calls it. torchrun ends with its own traceback if a process
fails; this ends with the sentence of the process that failed first, or with its exit status.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import main as torchrun

LAUNCHED = 'GROUPVIT_LAUNCHED'
RERUN = 75  # EX_TEMPFAIL, as tools/train.py ends


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun and return the exit status."""
    args = list(sys.argv[1:] if argv is None else argv)
    os.environ[LAUNCHED] = str(os.getpid())
    signal.signal(signal.SIGUSR1, end_by_signal)  # torchrun handles the others in the same way
    for name in ('OMP_NUM_THREADS', 'MKL_NUM_THREADS'):  # as torchrun and mmengine do, with banners
        os.environ.setdefault(name, '1')
    # It is about copying the record to a launcher of this launcher.
    logging.getLogger('torch.distributed.elastic.multiprocessing.errors').setLevel(logging.CRITICAL)
    try:
        torchrun(args)
    except SignalException as end:  # the processes have been sent it, and have ended
        name = end.sigval.name
        print(f'Ended by {name}: --resume goes on from the last checkpoint.', file=sys.stderr)
        return RERUN if end.sigval in (signal.SIGTERM, signal.SIGUSR1) else 128 + end.sigval
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f'error: {sentence_of(rank, failure)}', file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0


def end_by_signal(number: int, _: FrameType | None) -> None:
    """Let torchrun send a signal to its processes, wait for them, and end."""
    name = signal.Signals(number)
    raise SignalException(f'Process {os.getpid()} got {name}.', sigval=name)


def sentence_of(rank: int, failure: ProcessFailure) -> str:
    """Return the recorded sentence, or how the process ended."""
    if os.path.isfile(failure.error_file):
        message: object = failure.message  # text, or the dict that torch's own recorder writes
        return str(message['message'] if isinstance(message, dict) else message)
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        return f'Rank {rank} was ended by {name}, and the other processes were stopped.'
    return f'Rank {rank} failed with status {failure.exitcode}; its own messages are above.'


if __name__ == '__main__':
    sys.exit(main())
