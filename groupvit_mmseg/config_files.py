"""Config files as MMEngine reads them, and the files that travel with the package."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config

_MAX_DOTS = 50


def read_config(path: str | Path) -> Config:
    """Read a config file, which is Python and can raise any exception.

    Modules of ``custom_imports`` are looked for in the folder of the file too, after all others.

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If the file or one of its base files does not exist.
        ImportError: If a module that it names cannot be imported.
        ValueError: If it cannot be read; the message names the line.

    Example:
        >>> _ = Path('own.py').write_text('model = dict(depth=3)')
        >>> read_config('own.py').model.depth
        3
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config at {path}.')
    folder = str(Path(path).resolve().parent)
    if b'custom_imports' in Path(path).read_bytes() and folder not in sys.path:
        sys.path.append(folder)
    try:
        return Config.fromfile(path)
    except (OSError, ImportError):
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ValueError(
            f'The config {path} cannot be read ({type(error).__name__}: {reason}'
            f'{_line_of(error, path)}): correct it.'
        ) from error


def shipped_file(path: str) -> Path:
    """Find a config, a tool or a demo: in the checkout, or in ``.mim`` of an installed wheel.

    Args:
        path (str): Path in the repository, such as ``tools/train.py``.

    Raises:
        FileNotFoundError: If this installation does not have it.

    Example:
        >>> path = 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
        >>> read_config(shipped_file(path)).max_epochs
        6
    """
    package = Path(__file__).parent
    for folder in (package.parent, package / '.mim'):
        if (folder / path).is_file():
            return folder / path
    raise FileNotFoundError(f'There is no {path} in this installation of groupvit-mmseg.')


def _line_of(error: Exception, path: str | Path) -> str:
    """Return ``, line N`` for the line of the file that raised; empty if the error names it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).name == Path(path).name]
    return f', line {lines[-1]}' if lines and not isinstance(error, SyntaxError) else ''


def merge_options(cfg: Config, options: Mapping[str, object]) -> None:
    """Apply settings with dotted keys, as ``--cfg-options`` gives them, to a config in place.

    Args:
        cfg (Config): The config.
        options (Mapping[str, object]): Values by key; the number of an entry of a list is a key.

    Raises:
        ValueError: If a key leads through a value that has no keys, or beyond the end of a list, or
            has more than 50 dots.

    Example:
        >>> cfg = Config(dict(model=dict(stages=[dict(depth=6)])))
        >>> merge_options(cfg, {'model.stages.0.depth': 3})
        >>> cfg.model.stages[0].depth
        3
    """
    for key, value in options.items():
        if key.count('.') > _MAX_DOTS:
            raise ValueError(f'The setting {key:.100}... has more than {_MAX_DOTS} dots.')
        try:
            cfg.merge_from_dict({key: value})
        # mmengine raises these for keys that fit no value of the config.
        except (AssertionError, AttributeError, KeyError, IndexError, TypeError) as error:
            reason = str(error).partition('. You may set')[0].rstrip('.')
            raise ValueError(f'The setting {key} does not fit the config: {reason}.') from error
