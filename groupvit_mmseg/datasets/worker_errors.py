"""The sentence of an error, wherever it was raised."""

from __future__ import annotations

from pickle import UnpicklingError


def sentence(error: BaseException) -> str:
    """What an error says, without the traceback that a loader's process puts before it.

    Args:
        error (BaseException): Of this process, or raised again from a worker of a ``DataLoader``.
    """
    if isinstance(error, KeyError) and len(error.args) == 1:
        text = str(error.args[0])  # str() would put quotation marks around it
    else:
        text = str(error)
    if 'Original Traceback' in text:
        last = text.strip().rsplit('\n', 1)[-1]
        return last.partition(': ')[2] or last
    return text


def told(error: BaseException) -> str:
    """What an error says, in one line; of a type that says too little, with its name."""
    text = ' '.join(sentence(error).split())
    speaks = isinstance(error, (ImportError, OSError, RuntimeError, ValueError, UnpicklingError))
    return text if speaks else f'{type(error).__name__}: {text}'
