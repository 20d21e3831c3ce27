"""Runs a function in a forked process with limits of memory and time, and reports how it ended."""

import faulthandler
import json
import os
import resource
import signal
from collections.abc import Callable
from typing import NamedTuple

MIB = 2**20
# What decoders, PyTorch and Python say where an allocation failed.
_MEMORY = ('enough memory', 'insufficient memory', 'alloc', 'memoryerror')


class Outcome(NamedTuple):
    """How a call ended.

    Attributes:
        kind (str): 'returned', 'raised', 'memory' (an allocation beyond the limit, also one that
            was caught and became another error), 'hang' or 'crash'.
        error (str): Type and message of the error, or the signal.
        types (tuple[str, ...]): Names of the error's classes, the most specific first.
    """

    kind: str
    error: str = ''
    types: tuple[str, ...] = ()


def call(function: Callable[..., object], *args: object, mib: int, seconds: float = 2.0) -> Outcome:
    """Call a function in a forked process.

    Args:
        function (Callable): What to call; its result is dropped.
        *args: Its arguments.
        mib (int): Address space beyond what the process has already.
        seconds (float): Processor time after which the call counts as hanging. Defaults to 2.

    Returns:
        Outcome: How it ended.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reader)
            faulthandler.disable()  # a crash is reported by the parent
            limit_memory(mib)
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, seconds)
            os.write(writer, json.dumps(outcome_of(function, *args)).encode())
            status = 0
        finally:
            os._exit(status)  # never back into the caller's code
    os.close(writer)
    with os.fdopen(reader, 'rb') as stream:
        data = stream.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0:
        kind, error, types = json.loads(data)
        return Outcome(kind, error, tuple(types))
    if status == -signal.SIGPROF:
        return Outcome('hang', f'more than {seconds} s')
    return Outcome('crash', f'status {status}')


def limit_memory(mib: int) -> None:
    """Limit the address space of this process to what it has and some more."""
    with open('/proc/self/statm') as stream:
        pages = int(stream.read().split()[0])
    limit = pages * resource.getpagesize() + mib * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def outcome_of(function: Callable[..., object], *args: object) -> Outcome:
    """Call a function here and describe how it ended."""
    try:
        function(*args)
    except BaseException as error:
        return describe(error)
    return Outcome('returned')


def describe(error: BaseException) -> Outcome:
    """Describe an error; one that an allocation caused, also indirectly, is of kind 'memory'."""
    cause: BaseException | None = error
    text = f'{type(error).__name__}: {error}'[:500]
    types = tuple(cls.__name__ for cls in type(error).__mro__)
    while cause is not None:
        said = f'{type(cause).__name__}: {cause}'.lower()
        if isinstance(cause, MemoryError) or any(word in said for word in _MEMORY):
            return Outcome('memory', text, types)
        cause = cause.__cause__ or cause.__context__
    return Outcome('raised', text, types)
