"""Temporary folders beside the results, which a later run removes if a process was killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

_LOCK = '.in-use'


@contextlib.contextmanager
def staging_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for the time of the block; remove those of processes that were killed.

    A process holds a lock on its folder, which the system drops when it ends in any way. Folders
    without a lock file and those of other machines are left alone, as all are on systems without
    locks.

    Args:
        parent (Path): Folder in which it is made.
        prefix (str): Begins its name, and those of the folders to remove.

    Yields:
        Path: The folder.

    Example:
        >>> with staging_folder(Path('.'), '.plan-') as folder:
        ...     folder.is_dir()
        True
        >>> folder.exists()
        False
    """
    prefix = f'{prefix}{socket.gethostname()}-'
    for abandoned in parent.glob(f'{prefix}*'):
        _remove_if_abandoned(abandoned)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    try:
        with (folder / 'lock').open('w') as lock:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    os.rename(lock.name, folder / _LOCK)  # never seen without its lock
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder whose lock nobody holds."""
    with contextlib.suppress(OSError):
        with (folder / _LOCK).open('r+') as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
