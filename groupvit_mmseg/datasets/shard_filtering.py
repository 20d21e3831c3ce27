"""Shards made of other shards: the samples that lists of keys keep or drop, in shards of one size.

The result is planned from the headers of all shards; every new shard is then written by itself.
Which process or job writes it changes nothing in it.
"""

import functools
import hashlib
import io
import itertools
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TypedDict

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.remote_shards import open_shard
from groupvit_mmseg.datasets.shard_members import (
    Member,
    RefusedMember,
    Sample,
    group_members,
    open_headers,
    read_members,
    refusal,
)
from groupvit_mmseg.datasets.shard_sizes import is_remote
from groupvit_mmseg.datasets.text_files import read_lines


class KeyList:
    """The keys in a file, one a line: ``key``, or ``shard.tar/key`` for one of that shard only.

    Keys are kept as hashes of 64 bits, 8 bytes each.

    Args:
        file (Path): UTF-8 text.

    Raises:
        OSError: If there is no such file.
        ValueError: If it holds no key.
    """

    def __init__(self, file: Path) -> None:
        hashes = np.fromiter(
            (_hash(line.text.strip()) for line in read_lines(file, Account('keys'))), np.uint64
        )
        if not len(hashes):
            raise ValueError(f'"{file}" lists no key.')
        self.hashes: NDArray[np.uint64] = np.unique(hashes)

    def __contains__(self, key: str) -> bool:
        value = np.uint64(_hash(key))
        index = int(np.searchsorted(self.hashes, value))
        return index < len(self.hashes) and self.hashes[index] == value

    def __len__(self) -> int:
        return len(self.hashes)


@functools.lru_cache(maxsize=4)
def key_list(file: str) -> KeyList:
    """Read a list of keys once for a process and those that it forks."""
    return KeyList(Path(file))


def _hash(text: str) -> int:
    """Return a hash of 64 bits."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), 'little')


class KeptCount(TypedDict):
    """Samples of a shard, those that stay, and those that are left out for a member twice."""

    samples: int
    kept: int
    twice: int


class NewShard(TypedDict):
    """Name and samples of a new shard."""

    name: str
    samples: int


def count_kept(shard: str, keep: str | None, drop: str | None) -> KeptCount:
    """Count the samples of a shard and those that stay, from the headers of a local one.

    Args:
        shard (str): Path or address.
        keep (str | None): File of the keys that stay; None keeps all.
        drop (str | None): File of keys that do not.

    Returns:
        KeptCount: The numbers.

    Raises:
        ValueError: If the shard is damaged.
    """
    samples = kept = twice = 0
    with _sentence(shard):
        for sample in group_members(_headers(shard)):
            samples += 1
            twice += bool(sample.repeated)
            kept += _stays(sample, shard, keep, drop)
    return {'samples': samples, 'kept': kept, 'twice': twice}


def _headers(shard: str) -> Iterator[Member]:
    """Read the names of members."""
    if is_remote(shard):
        with open_shard(shard) as stream:
            for name, content in read_members(stream):
                yield name, content if isinstance(content, RefusedMember) else b''
        return
    with open(shard, 'rb') as stream, open_headers(stream) as tar:
        for header in tar:
            if header.isreg():
                yield header.name, refusal(header) or b''
            tar.members = []  # type: ignore[attr-defined]  # else they pile up


def _stays(sample: Sample, shard: str, keep: str | None, drop: str | None) -> bool:
    """Return whether a sample is kept."""
    names = sample.key, f'{Path(shard).name}/{sample.key}'
    if (
        sample.problem
        or sample.repeated
        or (keep and not any(name in key_list(keep) for name in names))
    ):
        return False
    return not (drop and any(name in key_list(drop) for name in names))


def plan_shards(counts: Mapping[str, int], name: str, per_shard: int) -> list[str]:
    """Plan the new shards.

    Args:
        counts (Mapping[str, int]): Kept samples of every shard, in order.
        name (str): Begins the names of the new shards.
        per_shard (int): Samples in each but the last.

    Returns:
        list[str]: A line of JSON for each: its name, and the parts ``[shard, first, stop]`` of the
            kept samples that it is made of.

    Example:
        >>> for line in plan_shards({'a.tar': 3, 'b.tar': 1}, 'new', 2):
        ...     print(line)
        ["new-000000.tar", [["a.tar", 0, 2]]]
        ["new-000001.tar", [["a.tar", 2, 3], ["b.tar", 0, 1]]]
    """
    parts: list[list[list[str | int]]] = []
    room = 0
    for shard, count in counts.items():
        first = 0
        while first < count:
            if room == 0:
                parts.append([])
                room = per_shard
            stop = min(count, first + room)
            parts[-1].append([shard, first, stop])
            room, first = room - (stop - first), stop
    return [json.dumps([f'{name}-{n:06d}.tar', part]) for n, part in enumerate(parts)]


def write_planned(job: str, folder: str, keep: str | None, drop: str | None) -> NewShard:
    """Write a new shard; one that is there already is complete and stays.

    Args:
        job (str): A line of ``plan_shards``.
        folder (str): Where the shard is written.
        keep (str | None): See ``count_kept``.
        drop (str | None): See ``count_kept``.

    Returns:
        NewShard: The shard.

    Raises:
        ValueError: If a shard is damaged or has changed since it was counted.
    """
    name, parts = json.loads(job)
    samples = sum(stop - first for _, first, stop in parts)
    path = Path(folder, name)
    if not path.is_file():
        write_atomically(path, lambda stream: _write_tar(stream, parts, samples, keep, drop))
    return {'name': name, 'samples': samples}


def _write_tar(
    stream: IO[bytes],
    parts: Sequence[tuple[str, int, int]],
    samples: int,
    keep: str | None,
    drop: str | None,
) -> None:
    """Write samples as a tar that is the same whenever and by whomever it is written."""
    last, written = '', 0
    with tarfile.open(fileobj=stream, mode='w', format=tarfile.PAX_FORMAT) as tar:
        for sample in itertools.chain.from_iterable(
            _kept(shard, first, stop, keep, drop) for shard, first, stop in parts
        ):
            # Two samples of one name would be read as one.
            key = f'{sample.key}_2' if sample.key == last else sample.key
            last, written = key, written + 1
            for extension, content in sample.members.items():
                header = tarfile.TarInfo(f'{key}.{extension}')
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    if written != samples:
        raise ValueError(
            f'{parts[0][0]} to {parts[-1][0]} gave {written} samples where {samples} were counted: '
            'they changed; begin again in another folder.'
        )


def _kept(
    shard: str, first: int, stop: int, keep: str | None, drop: str | None
) -> Iterator[Sample]:
    """Read the kept samples ``first`` to ``stop`` of a shard."""
    with _sentence(shard), open_shard(shard) as stream:
        samples = (
            sample
            for sample in group_members(read_members(stream))
            if _stays(sample, shard, keep, drop)
        )
        yield from itertools.islice(samples, first, stop)


class _sentence:
    """Turns any error of reading a shard into one sentence."""

    def __init__(self, shard: str) -> None:
        self.shard = shard

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):  # tar, decompression and addresses have their own
            reason = ' '.join(str(error).split())
            raise ValueError(
                f'"{self.shard}" is damaged ({reason}): fetch or make it again.'
            ) from error
