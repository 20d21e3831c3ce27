"""Config files as MMEngine reads them; whatever goes wrong within one is said in one sentence."""

from __future__ import annotations

import traceback
from pathlib import Path

from mmengine.config import Config


def read_config(path: str | Path) -> Config:
    """Read a config file, which is Python and can raise anything.

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file, or none of those that it builds on.
        ImportError: If a module that it names cannot be imported.
        ValueError: If it cannot be read; the sentence has the line.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config at {path}.')
    try:
        return Config.fromfile(path)
    except (OSError, ImportError):
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'The config {path} cannot be read ({type(error).__name__}: {reason}'
            f'{_place(error, path)}): mend it.'
        ) from error


def _place(error: Exception, path: str | Path) -> str:
    """The line of the file that raised, if it is known and not said yet."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == Path(path).name]
    return f', line {lines[-1]}' if lines and not isinstance(error, SyntaxError) else ''
