"""Files that are written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch


def save_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint so that a reader sees the old file or the whole new one."""
    write_atomically(path, lambda stream: torch.save(checkpoint, stream))


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary neighbour that replaces it once it is on disk.

    Args:
        path (str | Path): The file; its folder is made.
        write (Callable): Gets the open binary stream.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The mask that an ordinary ``open`` would have applied."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
