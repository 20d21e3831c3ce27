"""Memory that runs out: smaller batches where that helps, else one sentence."""

from __future__ import annotations

import contextlib
import functools
import logging
import re
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from mmengine.logging import print_log
from torch import Tensor

Output = TypeVar('Output')
FittingSizes = dict[tuple[object, ...], int]
"""Rows of a batch that fitted into the memory after more did not, by device and shape of a row."""
# What PyTorch says where an allocation failed; on GPUs it is a torch.cuda.OutOfMemoryError too.
_MESSAGES = re.compile(
    r"out of memory|can't allocate memory|not enough memory|could not create a (primitive|memory)$|"
    r'_ALLOC_FAILED',
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out, of a GPU or of the machine.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_out_of_memory(RuntimeError('shapes differ'))
        False
    """
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _MESSAGES.search(str(error)) is not None


def in_fitting_parts(
    run: Callable[[Tensor], Output], rows: Tensor, fitting: FittingSizes | None = None
) -> Iterator[tuple[slice, Output]]:
    """Run a function on a batch, or on smaller parts of it where the memory is too small.

    Args:
        run (Callable): Takes some rows of the batch.
        rows (Tensor): The batch ``(B, ...)``.
        fitting (FittingSizes, optional): What fitted for earlier batches, which is not exceeded
            again; it is kept up to date. None remembers nothing. Defaults to None.

    Yields:
        tuple[slice, Output]: Rows of each part, in order, and the output for them.

    Raises:
        RuntimeError: If the memory is too small for one row.

    Example:
        >>> def run(rows):
        ...     if len(rows) > 2:
        ...         raise MemoryError
        ...     return rows.tolist()
        >>> fitting = {}
        >>> [output for _, output in in_fitting_parts(run, torch.arange(5), fitting)]
        [[0, 1], [2, 3], [4]]
        >>> list(fitting.values())
        [2]
    """
    fitting = {} if fitting is None else fitting
    kind = (rows.device, rows.dtype, rows.shape[1:])
    start, size = 0, min(len(rows), fitting.get(kind, len(rows)))
    while start < len(rows):
        part = slice(start, start + size)
        call = functools.partial(run, rows[part])
        output = call() if size == 1 else unless_out_of_memory(call)
        if output is None:
            size //= 2
            fitting[kind] = size
            _note(f'Out of memory: {size} at a time are computed, with the same results.')
        else:
            yield part, output
            start += size


def unless_out_of_memory(call: Callable[[], Output]) -> Output | None:
    """Call a function; return None, and free what is cached, where memory runs out.

    Example:
        >>> unless_out_of_memory(lambda: 3)
        3
    """
    try:
        return call()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Out of the except block, whose traceback holds the tensors of the call.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None


@contextlib.contextmanager
def memory_sentence(
    sentence: Callable[[], str], error_type: type[Exception] = RuntimeError
) -> Iterator[None]:
    """Replace an error of memory that runs out within the block by one sentence.

    Args:
        sentence (Callable[[], str]): Returns the sentence.
        error_type (type[Exception]): Type of the new error. Defaults to ``RuntimeError``.

    Raises:
        RuntimeError: With the sentence; or of the type that is given.

    Example:
        >>> with memory_sentence(lambda: 'Out of memory: take a smaller image.'):
        ...     raise MemoryError
        Traceback (most recent call last):
        ...
        RuntimeError: Out of memory: take a smaller image.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise error_type(sentence()) from error


@functools.cache
def _note(text: str) -> None:
    """Log a warning, once in a process."""
    print_log(text, logger='current', level=logging.WARNING)
