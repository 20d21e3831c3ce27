"""Checks of output paths before the work begins: they are writable and replace no input."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard

from PIL import Image


def check_output(
    path: str | Path | None, *, reads: Iterable[object] = (), name: str = '--out'
) -> None:
    """Refuse an output file that would replace an input or cannot be written.

    Args:
        path (str | Path, optional): The file; None checks nothing, for tools that only print.
        reads (Iterable): Inputs of the same command; those that are no files, such as addresses,
            names or None, are ignored.
        name (str): Option of the command line, for messages. Defaults to '--out'.

    Raises:
        ValueError: If the file is an input or a folder, or cannot be created.

    Example:
        >>> _ = Path('masks.png').write_bytes(b'')
        >>> check_output('masks.png', reads=['masks.png'])
        Traceback (most recent call last):
        ValueError: --out masks.png would replace masks.png, which this command reads: ...
    """
    if path is None:
        return
    path = Path(path)
    if path.is_dir():
        raise ValueError(f'{name} {path} is a folder: name a file.')
    check_folder(path.parent, name=name)
    for source in reads:
        if _is_file(source) and path.exists() and path.samefile(source):
            raise ValueError(
                f'{name} {path} would replace {source}, which this command reads: name another '
                'file.'
            )


def check_figure(path: str | Path, *, name: str = '--out') -> None:
    """Refuse the file of a figure whose suffix is that of no image format.

    Args:
        path (str | Path): The file.
        name (str): Option of the command line, for messages. Defaults to '--out'.

    Raises:
        ValueError: If Pillow writes no such format.

    Example:
        >>> check_figure('figure.txt')
        Traceback (most recent call last):
        ValueError: --out figure.txt has no suffix of an image format: let it end in .png.
    """
    if Image.registered_extensions().get(Path(path).suffix.lower()) not in Image.SAVE:
        raise ValueError(f'{name} {path} has no suffix of an image format: let it end in .png.')


def check_folder(folder: str | Path, *, name: str = '--out') -> None:
    """Refuse an output folder that cannot be created or written to.

    Args:
        folder (str | Path): The folder; it need not exist.
        name (str): Option of the command line, for messages. Defaults to '--out'.

    Raises:
        ValueError: If the path is a file or below one, or there is no permission to write.
    """
    folder = Path(folder).absolute()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f'{name}: {existing} is a file, not a folder: name another folder.')
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f'{name}: there is no permission to write to {existing}: name another.')


def _is_file(source: object) -> TypeGuard[str | Path]:
    """Return whether an argument of a command line is the path of a file."""
    try:
        return isinstance(source, str | Path) and Path(source).expanduser().is_file()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return False
