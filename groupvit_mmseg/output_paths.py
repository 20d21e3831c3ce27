"""Places of results, checked before the work begins: writable, and nothing that is read."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def check_output(
    path: str | Path | None, *, reads: Iterable[Any] = (), name: str = '--out'
) -> None:
    """Refuse a file to write that would replace an input, or that cannot be written.

    Args:
        path (str | Path, optional): The file; None checks nothing, for tools that only print.
        reads (Iterable): Paths that the same command reads; what is no file, such as an address,
            a name or None, is passed over.
        name (str): What the command line calls the file. Defaults to '--out'.

    Raises:
        ValueError: If the file is one of those read, is a folder, or lies where none can be made.
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


def check_folder(folder: str | Path, *, name: str = '--out') -> None:
    """Refuse a folder to write into that cannot be made or written.

    Args:
        folder (str | Path): The folder; it may have to be made.
        name (str): What the command line calls it. Defaults to '--out'.

    Raises:
        ValueError: If a file is in its place, or its owner lets nobody write.
    """
    folder = Path(folder).absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise ValueError(f'{name}: {there} is a file and no folder: name another place.')
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f'{name}: nothing may be written to {there}: name another place.')


def _is_file(source: Any) -> bool:
    """Whether something given on a command line is a file."""
    try:
        return isinstance(source, str | Path) and Path(source).expanduser().is_file()
    except (OSError, ValueError):  # too long, or with characters that no path has
        return False
