"""Sizes that the pages of a Parquet file claim, read before pyarrow allocates them.

pyarrow allocates what a page's header says. Headers are structs of Thrift's compact protocol
(parquet.thrift of apache/parquet-format): only sizes and counts are read here, all else is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAX_RATIO, FREE_BYTES = 256, 2**20
"""int: A page may unpack to so many times its bytes, and so many bytes in any case."""
MAX_HEADER = 2**16
"""int: Bytes of a page's header, of which minima and maxima take the most."""
_MAX_NESTED = 16
# Types of the compact protocol.
_BOOLEANS, _INTEGERS, _LISTS = (1, 2), (4, 5, 6), (9, 10)
_BYTE, _DOUBLE, _BINARY, _STRUCT = 3, 7, 8, 12
# Fields of PageHeader: type, sizes with and without compression, headers by kind of page.
_UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8


class Page(NamedTuple):
    """What a page's header claims.

    Attributes:
        end (int): Offset behind the page.
        packed (int): Bytes in the file.
        unpacked (int): Bytes without compression.
        values (int): Values of a data page; 0 of other kinds.
        entries (int): Values of a dictionary; 0 of other kinds.
    """

    end: int
    packed: int
    unpacked: int
    values: int
    entries: int


def check_pages(stream: BinaryIO, start: int, num_values: int) -> None:
    """Refuse a column of a row group whose pages claim more than they can hold.

    Args:
        stream (BinaryIO): The file.
        start (int): Offset of the first page.
        num_values (int): Values of the column in the row group.

    Raises:
        ValueError: If a header is damaged, or a page claims too much.
    """
    size, left = stream.seek(0, 2), num_values
    for page in read_pages(stream, start, size):
        if page.unpacked > MAX_RATIO * page.packed + FREE_BYTES:
            raise ValueError(
                f'a page of {page.packed:,} bytes claims to unpack to {page.unpacked:,}: it may be '
                f'{MAX_RATIO} times as many'
            )
        if page.values > left or page.entries > page.unpacked:
            raise ValueError(f'a page claims {max(page.values, page.entries):,} values')
        left -= page.values
        if not left:
            return


def read_pages(stream: BinaryIO, start: int, size: int) -> Iterator[Page]:
    """Read the headers of the pages from an offset on.

    Raises:
        ValueError: If a header is damaged, or a page is longer than the file.
    """
    while start < size:
        stream.seek(start)
        header = _Compact(stream.read(MAX_HEADER))
        fields = header.struct()
        packed, unpacked = _count(fields, _PACKED), _count(fields, _UNPACKED)
        start += header.offset + packed
        if start > size:
            raise ValueError('a page is longer than the file')
        kinds = [_count(fields.get(kind), 1) for kind in (_DATA, _DATA_V2, _DICTIONARY)]
        yield Page(start, packed, unpacked, kinds[0] or kinds[1], kinds[2])


def _count(fields: object, number: int) -> int:
    """Return a field that counts something; 0 without such a struct."""
    if fields is None:
        return 0
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError("a page's header is damaged")
    return value


class _Compact:
    """Values of Thrift's compact protocol in some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Read a struct: integers and structs by field."""
        if depth > _MAX_NESTED:
            raise ValueError("a page's header is damaged")
        fields: dict[int, object] = {}
        number = 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            number = number + delta if delta else self._integer()
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        """Read a value; None for one that is skipped."""
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_BYTE, _DOUBLE):
            self._skip(1 if kind == _BYTE else 8)
        elif kind == _BINARY:
            self._skip(self._varint())
        elif kind in _LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            self._elements(head & 15, count, depth)
        elif kind not in _BOOLEANS:  # maps: no page's header has one
            raise ValueError("a page's header is damaged")
        return None

    def _elements(self, kind: int, count: int, depth: int) -> None:
        """Skip the elements of a list, of which each takes a byte at least."""
        if count > len(self.data):
            raise ValueError("a page's header is damaged")
        for _ in range(count):
            if kind in _BOOLEANS:
                self._skip(1)
            else:
                self._value(kind, depth + 1)

    def _byte(self) -> int:
        """Read a byte."""
        self._skip(1)
        return self.data[self.offset - 1]

    def _skip(self, count: int) -> None:
        """Pass over some bytes."""
        self.offset += count
        if self.offset > len(self.data):
            raise ValueError("a page's header is damaged or cut off")

    def _varint(self) -> int:
        """Read a number of seven bits a byte, the lowest first."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError("a page's header is damaged")

    def _integer(self) -> int:
        """Read a number with a sign, which is its lowest bit."""
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
