"""The message of an error, wherever it was raised."""

from __future__ import annotations

from pickle import UnpicklingError

# Errors of these types are raised with a sentence; the others need their name to be understood.
WITH_SENTENCE = (ImportError, OSError, RuntimeError, ValueError, UnpicklingError)


def error_text(error: BaseException) -> str:
    """Return the message of an error without the traceback that a worker process adds to it.

    Args:
        error (BaseException): Raised in this process, or raised again from a worker of a
            ``DataLoader``.
    """
    if isinstance(error, KeyError) and len(error.args) == 1:
        text = str(error.args[0])  # str() would put quotation marks around it
    else:
        text = str(error)
    if 'Original Traceback' in text:
        last = text.strip().rsplit('\n', 1)[-1]
        return last.partition(': ')[2] or last
    return text


def error_line(error: BaseException) -> str:
    r"""Return the message of an error on one line, behind the name of its type where that helps.

    Example:
        >>> error_line(ValueError('two\nlines'))
        'two lines'
        >>> error_line(KeyError('img_path'))
        'KeyError: img_path'
    """
    text = ' '.join(error_text(error).split())
    is_sentence = isinstance(error, WITH_SENTENCE) or (isinstance(error, KeyError) and ' ' in text)
    return text if is_sentence and text else f'{type(error).__name__}: {text}'.rstrip(': ')
