"""The number of samples in each shard: ``sizes.json`` beside the shards, by file name."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from groupvit_mmseg.atomic_files import write_atomically

SIZES_FILE = 'sizes.json'


def is_remote(path: str) -> bool:
    """Return whether webdataset opens a shard with anything but the file system."""
    return '://' in path or path.startswith('pipe:')


def file_version(path: str) -> list[int]:
    """Return size in bytes and time in nanoseconds of a file; nothing for an address."""
    try:
        status = Path(path).stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def read_sizes(folder: Path) -> dict[str, int]:
    """Read the ``sizes.json`` of a folder; empty where there is none."""
    file = folder / SIZES_FILE
    return read_table(file) if file.is_file() else {}


def check_sizes_files(shards: Iterable[str]) -> None:
    """Raise ``ValueError`` where the sizes.json beside a shard cannot be added to."""
    for folder in {Path(shard).parent for shard in shards if not is_remote(shard)}:
        read_sizes(folder)


def write_sizes_of(sizes: Mapping[str, int]) -> list[str]:
    """Write the sizes of shards beside them; those that are not files here are left out.

    Args:
        sizes (Mapping[str, int]): Samples by path.

    Returns:
        list[str]: A sentence on each ``sizes.json``.

    Raises:
        OSError: If a file cannot be written.
    """
    folders: dict[Path, dict[str, int]] = {}
    for shard, size in sizes.items():
        path = Path(shard)
        if path.is_file():
            folders.setdefault(path.parent, {})[path.name] = size
    try:
        return [
            f'{write_sizes(folder, counts)}: {sum(counts.values()):,} samples in {len(counts)} '
            'shards'
            for folder, counts in folders.items()
        ]
    except OSError as error:
        raise OSError(f'The sizes cannot be written: {error}.') from error


def write_sizes(folder: Path, sizes: dict[str, int], *, remove: Collection[str] = ()) -> Path:
    """Add sizes to the ``sizes.json`` of a folder; the file is replaced whole.

    Args:
        folder (Path): Where the shards are.
        sizes (dict[str, int]): Samples by file name.
        remove (Collection[str]): Shards that are no longer listed. Defaults to ().

    Returns:
        Path: The file.
    """
    file = folder / SIZES_FILE
    others = {name: size for name, size in read_sizes(folder).items() if name not in remove}
    text = json.dumps(dict(sorted({**others, **sizes}.items())), indent=1) + '\n'
    write_atomically(file, lambda stream: stream.write(text.encode()))
    return file


def tabled_size(path: str, table: Mapping[str, int]) -> int | None:
    """Return the size of a shard: that of the last file name in its path, address or command.

    Example:
        >>> tabled_size('pipe:aws s3 cp s3://bucket/a-0.tar -', {'a-0.tar': 9})
        9
    """
    names = [name for name in re.split(r'[\s/"\'|;?]', path) if name in table]
    return table[names[-1]] if names else None


def read_table(file: Path) -> dict[str, int]:
    """Read one ``sizes.json``; raises ``ValueError`` if it is not valid."""
    try:
        table = json.loads(file.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'"{file}" is not valid JSON ({error}): write it anew.') from error
    if not isinstance(table, dict):
        raise ValueError(f'"{file}" must be an object {{"shard.tar": samples}}.')
    return table
