"""Reads the plain members of an uncompressed tar, in a part of the time that ``tarfile`` takes.

Plain is a regular file with an ASCII name of at most 100 characters, as ``tarfile`` and GNU tar
write it, and with the extra header of its time that webdataset and img2dataset add. Reading stops
before any other header, and before a damaged one, which ``tarfile`` then reads and reports.
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
# The header before a member's own, and its content if that is a time alone.
_PAX = ord('x')
_TIME = re.compile(rb'(\d+) mtime=\d+(?:\.\d+)?\n')


class _Header(NamedTuple):
    """Type, name and length of a member."""

    kind: int
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
        start = file.tell()
        header = _read_header(file)
        if header is None:
            file.seek(start)
            return
        content = file.read(header.size)
        if len(content) < header.size:
            raise tarfile.ReadError('unexpected end of data')
        yield header.name, content
        padding = -header.size % _BLOCK
        if len(file.read(padding)) < padding:
            raise tarfile.ReadError('unexpected end of data')


def _read_header(file: io.BufferedReader) -> _Header | None:
    """Read the header of a plain member; None at any other."""
    header = _parse(file.read(_BLOCK))
    if header is not None and header.kind == _PAX:
        record = _TIME.fullmatch(file.read(_BLOCK), 0, header.size)
        if record is None or int(record[1]) != header.size:
            return None
        header = _parse(file.read(_BLOCK))
    return None if header is None or header.kind == _PAX else header


def _parse(block: bytes) -> _Header | None:
    """Read a header; None if it is not plain, or damaged."""
    if len(block) < _BLOCK or block[156] not in b'0\0x' or block[345]:
        return None
    name = block[:100].partition(b'\0')[0]
    numbers = _NUMBERS.fullmatch(block, 100, 156)
    if numbers is None or not name.isascii() or name.endswith(b'/'):
        return None
    size, checksum = int(numbers[1], 8), int(numbers[3], 8)
    if size >= _MAX_SIZE or checksum != sum(block) - sum(block[148:156]) + 8 * ord(' '):
        return None
    return _Header(block[156], name.decode('ascii'), size)
