"""Files that are written whole or not at all."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import torch

Writer = Callable[[IO[bytes]], object]
UNFINISHED = re.compile(r'\.(.+)\.[a-z0-9_]{8}')
"""re.Pattern: Names of temporary neighbours, which ``tempfile`` ends so; group 1 is the file's."""


def save_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint so that a reader sees the old file or the whole new one."""
    write_atomically(path, lambda stream: torch.save(checkpoint, stream))


def write_atomically(path: str | Path, write: Writer) -> None:
    """Write a file through a temporary neighbour that replaces it once it is on disk.

    Args:
        path (str | Path): The file; its folder is made.
        write (Callable): Gets the open binary stream.
    """
    write_together({Path(path): write})


def write_together(files: Mapping[Path, Writer]) -> None:
    """Write files that belong together: none of them appears before all are on disk.

    Args:
        files (Mapping[Path, Callable]): What writes each, given the open binary stream.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
            temporaries[path] = Path(name)
            with os.fdopen(handle, 'wb') as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)
        raise


def remove_unfinished(folder: Path, of_run: Callable[[str], bool]) -> None:
    """Remove what a process that was killed while it wrote checkpoints has left.

    Args:
        folder (Path): Where it wrote.
        of_run (Callable[[str], bool]): Whether it gives its checkpoints such a name.
    """
    for path in folder.glob('.*'):
        name = UNFINISHED.fullmatch(path.name)
        if name and (name[1] == 'last_checkpoint' or of_run(name[1])):
            path.unlink(missing_ok=True)


def _umask() -> int:
    """The mask that an ordinary ``open`` would have applied."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
