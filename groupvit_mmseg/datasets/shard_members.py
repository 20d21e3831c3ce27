"""Groups the members of a tar to samples, for training, check_shards.py and count_shards.py alike.

Members that follow each other and share the folder and the name up to its first dot are one sample,
as in webdataset. Hidden files (``._photo.jpg`` of macOS, ``.DS_Store``), webdataset's
``__name__`` and names without a dot belong to none.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from webdataset.tariterators import base_plus_ext

from groupvit_mmseg.datasets.plain_tar import read_plain_members
from groupvit_mmseg.datasets.tar_stream import StrictTarInfo, is_compressed, open_tar

if TYPE_CHECKING:
    from webdataset.gopen import Pipe

# Ends messages on samples that lack a member: explains how members may be separated.
MEMBERS_RULE = (
    'a sample is the members that follow each other in the tar and have one folder and one name; '
    'a dot within the name ends it'
)
NO_END_MARK = (
    'has no end mark, as a tar that was cut off between two samples: compare its length with that '
    'of the original'
)
MAX_SAMPLE_BYTES = 2**28
"""int: Bytes of all members of a sample; an image of 50 million pixels has up to 150 MB as PNG."""
MAX_MEMBERS = 1000
"""int: Members of a sample."""
_MEMBERS_SHOWN = 4
_METADATA = re.compile(r'__[^/]*__($|/)')


class RefusedMember(NamedTuple):
    """A member that is not read, and why."""

    reason: str


Member: TypeAlias = 'tuple[str, bytes | RefusedMember]'
"""TypeAlias: Name and content of a file in a tar."""


@dataclass
class Sample:
    """Members of one sample.

    Attributes:
        key (str): Folder and name up to the first dot.
        members (dict[str, bytes]): Contents by extension, the part after that dot in lower case.
        repeated (list[str]): Names of members whose extension the sample has already.
        problem (str | None): Why a member was not read; the sample is a bad one.
    """

    key: str
    members: dict[str, bytes] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    problem: str | None = None
    num_bytes: int = 0

    def add(self, name: str, extension: str, content: bytes | RefusedMember) -> None:
        """Add a member, unless it is refused, is there already, or the sample is full."""
        if isinstance(content, RefusedMember):
            self.problem = self.problem or content.reason
        elif extension in self.members:
            self.repeated += [name] * (len(self.repeated) < MAX_MEMBERS)
        elif len(self.members) == MAX_MEMBERS:
            self.problem = self.problem or f'it has more than {MAX_MEMBERS} members'
        elif self.num_bytes + len(content) > MAX_SAMPLE_BYTES:
            self.problem = self.problem or f'it has more than {MAX_SAMPLE_BYTES:,} bytes'
        else:
            self.members[extension] = content
            self.num_bytes += len(content)


def read_members(stream: BinaryIO | Pipe) -> Iterator[Member]:
    """Read the files of a tar, compressed or not, from the beginning to the end.

    Args:
        stream (BinaryIO | Pipe): The tar.

    Yields:
        tuple[str, bytes | RefusedMember]: Name and content.

    Raises:
        EOFError: If the tar is compressed and torn.
        OSError: If its compression is damaged.
        tarfile.TarError: If the tar is damaged.
    """
    start = 0
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        yield from read_plain_members(stream)
        start = stream.tell()
        if start and not stream.peek(1):  # the end, without an end mark
            return
    with open_tar(stream, unpack=not start) as tar:
        for header in tar:
            if header.isreg():
                yield header.name, read_content(tar, header)
            tar.members = []  # type: ignore[attr-defined]  # else they pile up


def refusal(header: tarfile.TarInfo) -> RefusedMember | None:
    """Return why a file of a tar is not read: it is too large or has holes; None if it is."""
    if header.issparse():
        return RefusedMember(f'the member "{header.name:.200}" is a sparse file: pack it anew')
    if header.size > MAX_SAMPLE_BYTES:
        return RefusedMember(
            f'the member "{header.name:.200}" of {header.size:,} bytes is larger than the limit of '
            f'{MAX_SAMPLE_BYTES:,}'
        )
    return None


def read_content(tar: tarfile.TarFile, header: tarfile.TarInfo) -> bytes | RefusedMember:
    """Read a file of a tar, unless it is refused."""
    refused = refusal(header)
    file = None if refused else tar.extractfile(header)
    return refused or (b'' if file is None else file.read())


def group_members(members: Iterable[Member]) -> Iterator[Sample]:
    """Group the members of a tar to samples.

    Args:
        members (Iterable[tuple[str, bytes | RefusedMember]]): Names and contents, in the order of
            the tar.

    Yields:
        Sample: Each one when the next begins.
    """
    sample: Sample | None = None
    for name, content in members:
        if is_hidden(name) or _METADATA.match(name):
            continue
        key, extension = base_plus_ext(name)
        if key is None or extension is None:
            continue
        if sample is None or sample.key != key:
            if sample is not None:
                yield sample
            sample = Sample(key)
        sample.add(name, extension.lower(), content)
    if sample is not None:
        yield sample


class ShardCount(NamedTuple):
    """Counts from the headers of a tar.

    Attributes:
        samples (int): Samples as training groups them.
        files (int): Files, those that belong to no sample included.
        hidden (int): Hidden files.
        repeated (tuple[str, ...]): Members that their sample has already; it is a bad one.
        ended (bool): Whether the tar has its end mark, as most writers make it.
    """

    samples: int
    files: int
    hidden: int
    repeated: tuple[str, ...]
    ended: bool = True


def count_members(path: str | Path) -> ShardCount:
    """Count the samples of a tar, compressed or not; only the headers are read.

    Args:
        path (str | Path): A local tar.

    Returns:
        ShardCount: The samples that training finds, exactly.

    Raises:
        EOFError: If it is compressed and torn.
        OSError: If there is no such file, or its compression is damaged.
        tarfile.TarError: If it is no tar, or a damaged one.
    """
    counter = _Counter()
    for sample in group_members(counter.headers(Path(path))):
        counter.samples += 1
        counter.repeated += sample.repeated
    return counter.result()


def open_headers(stream: BinaryIO) -> tarfile.TarFile:
    """Open a seekable tar for its headers; unless it is compressed, no contents are read."""
    start = stream.read(tarfile.BLOCKSIZE)
    stream.seek(0)
    if is_compressed(start):
        return open_tar(stream)
    return tarfile.open(fileobj=stream, mode='r:', tarinfo=StrictTarInfo)


class _Counter:
    """Counts members while their samples are grouped."""

    def __init__(self) -> None:
        self.samples = self.files = self.hidden = 0
        self.repeated: list[str] = []
        self._ended = False

    def headers(self, path: Path) -> Iterator[Member]:
        """Yield the name of every file of a tar."""
        with path.open('rb') as stream, open_headers(stream) as tar:
            for header in tar:
                if header.isreg():
                    self.files += 1
                    self.hidden += is_hidden(header.name)
                    yield header.name, b''
                tar.members = []  # type: ignore[attr-defined]
            self._ended = getattr(tar, 'ended', False)

    def result(self) -> ShardCount:
        """Return the counts."""
        return ShardCount(self.samples, self.files, self.hidden, tuple(self.repeated), self._ended)


def is_hidden(name: str) -> bool:
    """Return whether a member is a hidden file, such as those that macOS adds to its tars."""
    return name.rpartition('/')[2].startswith('.')


def describe_members(members: Iterable[str]) -> str:
    """List the members of a sample for a message.

    Args:
        members (Iterable[str]): Extensions.
    """
    names = [f'.{name}' for name in members]
    more = f' and {len(names) - _MEMBERS_SHOWN} more' if len(names) > _MEMBERS_SHOWN else ''
    return ', '.join(names[:_MEMBERS_SHOWN]) + more if names else 'none'
