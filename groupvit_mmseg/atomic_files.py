"""Files that appear complete or not at all."""

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import torch

_LONGEST_PREFIX = 240  # of 255 bytes
Writer = Callable[[IO[bytes]], object]
TEMPORARY_NAME = re.compile(r'\.(.+)\.[a-z0-9_]{8}')
"""re.Pattern: Names of temporary files, with the ending of ``tempfile``; group 1 is the target."""


def save_checkpoint(checkpoint: Mapping[str, object], path: str | Path) -> None:
    """Write a checkpoint atomically: a reader sees the old file or the complete new one.

    Args:
        checkpoint (Mapping): Anything that ``torch.save`` can write.
        path (str | Path): The file; its folder is created.

    Raises:
        OSError: If the disk is full, or the file cannot be written for another reason.

    Example:
        >>> save_checkpoint({'state_dict': {'scale': torch.ones(1)}}, 'run/epoch_1.pth')
        >>> torch.load('run/epoch_1.pth', weights_only=True)
        {'state_dict': {'scale': tensor([1.])}}
    """
    try:
        write_atomically(path, lambda stream: torch.save(checkpoint, stream))
    except (OSError, RuntimeError) as error:
        fault = _disk_error(error)
        if fault is None:
            raise
        raise OSError(
            fault.errno,
            f'The checkpoint cannot be written ({fault.strerror}); earlier ones are complete',
            str(path),
        ) from error


def write_atomically(path: str | Path, write: Writer, *, sync: bool = True) -> None:
    """Write a file under a temporary name and rename it once it is on disk.

    Args:
        path (str | Path): The file; its folder is created.
        write (Callable): Function that writes the content to the open binary stream.
        sync (bool): Whether to wait until the content is on disk. Without it many small files take
            less time, and the file may be empty after a loss of power. Defaults to True.

    Example:
        >>> write_atomically('notes/a.txt', lambda stream: stream.write(b'complete'))
        >>> Path('notes/a.txt').read_text()
        'complete'
    """
    write_together({Path(path): write}, sync=sync)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, as UTF-8.

    Args:
        path (str | Path): The file; its folder is created.
        text (str): The content.
    """
    write_atomically(path, lambda stream: stream.write(text.encode()))


def write_together(files: Mapping[Path, Writer], *, sync: bool = True) -> None:
    """Write files that belong together: none of them appears before all are on disk.

    Args:
        files (Mapping[Path, Callable]): Function that writes each file to its open binary stream.
        sync (bool): Whether to wait until the content is on disk. Defaults to True.

    Raises:
        OSError: If one cannot be written; the error names it.
    """
    temporaries: dict[Path, Path] = {}
    try:
        for path, write in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.name))
            temporaries[path] = Path(name)
            with naming_file(path), os.fdopen(handle, 'wb') as stream:
                write(stream)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_umask())
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    except BaseException:
        for temporary in temporaries.values():
            with contextlib.suppress(OSError):  # the first error says more
                temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def naming_file(path: str | Path) -> Iterator[None]:
    """Name a file in the errors of the disk that come without one, as those of writing do.

    Args:
        path (str | Path): The file that the block writes.

    Example:
        >>> with naming_file('table.csv'):
        ...     raise OSError(28, 'No space left on device')
        Traceback (most recent call last):
        OSError: [Errno 28] No space left on device: 'table.csv'
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def remove_unfinished(folder: Path, is_checkpoint_name: Callable[[str], bool]) -> None:
    """Remove the temporary files of a process that was killed while it wrote checkpoints.

    Args:
        folder (Path): Folder of the checkpoints.
        is_checkpoint_name (Callable[[str], bool]): Whether the run names its checkpoints so.
    """
    for path in folder.glob('.*'):
        name = TEMPORARY_NAME.fullmatch(path.name)
        if name and (name[1] == 'last_checkpoint' or is_checkpoint_name(name[1])):
            path.unlink(missing_ok=True)


def _disk_error(error: BaseException) -> OSError | None:
    """Return the error of the system behind an error of ``torch.save``, which hides it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _prefix(name: str) -> str:
    """Return the beginning of a temporary file's name, cut where it would be too long."""
    return f'.{os.fsencode(name)[:_LONGEST_PREFIX].decode(errors="ignore")}.'


def _umask() -> int:
    """Return the mask that an ordinary ``open`` applies to the permissions of a new file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
