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
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from webdataset.tariterators import base_plus_ext

from groupvit_mmseg.datasets.plain_tar import read_plain_members

if TYPE_CHECKING:
    from typing_extensions import Self
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
_MEMBERS_SHOWN = 4
_METADATA = re.compile(r'__[^/]*__($|/)')


@dataclass
class Sample:
    """Members of one sample.

    Attributes:
        key (str): Folder and name up to the first dot.
        members (dict[str, bytes]): Contents by extension, the part after that dot in lower case.
        repeated (list[str]): Names of members whose extension the sample has already.
    """

    key: str
    members: dict[str, bytes] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)


class StrictTarInfo(tarfile.TarInfo):
    """Headers that raise an error if broken; ``tarfile`` takes a broken one for the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """Read the next header."""
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            tar.ended = True  # type: ignore[attr-defined]
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore
            raise tarfile.ReadError(f'broken header: {error}') from error


def read_members(stream: BinaryIO | Pipe) -> Iterator[tuple[str, bytes]]:
    """Read the files of a tar, compressed or not, from the beginning to the end.

    Args:
        stream (BinaryIO | Pipe): The tar.

    Yields:
        tuple[str, bytes]: Name and content.

    Raises:
        tarfile.TarError: If the tar is damaged; decompression raises other errors.
    """
    start = 0
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        yield from read_plain_members(stream)
        start = stream.tell()
        if start and not stream.peek(1):  # the end, without an end mark
            return
    # A Pipe has read(), which is all that these modes need.
    with tarfile.open(  # type: ignore[call-overload]
        fileobj=stream, mode='r|' if start else 'r|*', tarinfo=StrictTarInfo
    ) as tar:
        for header in tar:
            file = tar.extractfile(header) if header.isreg() else None
            if file is not None:
                yield header.name, file.read()
            tar.members = []  # type: ignore[attr-defined]  # else they pile up


def group_members(members: Iterable[tuple[str, bytes]]) -> Iterator[Sample]:
    """Group the members of a tar to samples.

    Args:
        members (Iterable[tuple[str, bytes]]): Names and contents, in the order of the tar.

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
        if extension.lower() in sample.members:
            sample.repeated.append(name)
        else:
            sample.members[extension.lower()] = content
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
        OSError: If there is no such file, or its compression is damaged.
        tarfile.TarError: If it is no tar, or a damaged one.
    """
    with tarfile.open(path, 'r:*', tarinfo=StrictTarInfo) as tar:
        names = [header.name for header in tar if header.isreg()]
        ended = getattr(tar, 'ended', False)
    samples = list(group_members((name, b'') for name in names))
    repeated = tuple(name for sample in samples for name in sample.repeated)
    return ShardCount(len(samples), len(names), sum(map(is_hidden, names)), repeated, ended)


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
