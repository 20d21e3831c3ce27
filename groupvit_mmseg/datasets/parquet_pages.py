"""What the columns and pages of a Parquet file claim, read before pyarrow acts upon it.

pyarrow allocates what a page's header says, and ends the process where a column's metadata is wrong
(``RowGroupMetaData.column`` of pyarrow 26). Both are structs of Thrift's compact protocol
(parquet.thrift of apache/parquet-format): only sizes and counts are read here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MAX_RATIO, FREE_BYTES = 256, 2**20
"""int: A page may unpack to so many times its bytes, and so many bytes in any case."""
HEADER_BYTES = (2**16, 2**24)
"""tuple[int, int]: Bytes read of a page's header, and where these do not reach: some writers
put whole images there as minimum and maximum. The second is pyarrow's own limit."""
_MAX_NESTED = 16
# Types of the compact protocol.
_BOOLEANS, _INTEGERS, _LISTS = (1, 2), (4, 5, 6), (9, 10)
_BYTE, _I32, _I64, _DOUBLE, _BINARY, _STRUCT = 3, 5, 6, 7, 8, 12
MARK = b'PAR1'
DAMAGED = 'the metadata of its columns is damaged'
DAMAGED_PAGE = "a page's header is damaged"
# Fields of FileMetaData, RowGroup, ColumnChunk, ColumnMetaData and Statistics.
_ROW_GROUPS, _COLUMNS, _METADATA, _NULLS = 4, 1, 3, 3
_PATH, _VALUES, _FIRST_DATA, _FIRST_DICTIONARY, _STATISTICS = 3, 5, 9, 11, 12
# Fields of PageHeader: type, sizes with and without compression, headers by kind of page.
_TYPE, _UNPACKED, _PACKED = 1, 2, 3
_DATA, _DICTIONARY, _DATA_V2 = 5, 7, 8
_HEADERS = {0: _DATA, 2: _DICTIONARY, 3: _DATA_V2}  # by type; other pages are passed over


class Column(NamedTuple):
    """A column of a row group.

    Attributes:
        path (str): Its name, with those of its parts after dots.
        start (int): Offset of its first page.
        values (int): Number of its values.
        nulls (int, optional): How many are null; None if the file does not say.
    """

    path: str
    start: int
    values: int
    nulls: int | None


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


def read_columns(path: Path, group: int) -> list[Column]:
    """Read the columns of a row group from the end of a file.

    Args:
        path (Path): A file that pyarrow opens.
        group (int): Number of the row group, from 0.

    Raises:
        ValueError: If the metadata is damaged.
    """
    groups = _row_groups(_read_footer(path))
    chunks = groups[group].get(_COLUMNS) if group < len(groups) else None
    if not isinstance(chunks, list):
        raise ValueError(DAMAGED)
    return [_column(chunk) for chunk in chunks]


def _read_footer(path: Path) -> bytes:
    """Read the metadata at the end of a file."""
    with path.open('rb') as stream:
        end = stream.seek(0, 2) - len(MARK) - 4
        stream.seek(max(end, 0))
        length = int.from_bytes(stream.read(4), 'little')
        stream.seek(max(end - length, 0))
        return stream.read(length)


@functools.lru_cache(maxsize=4)
def _row_groups(footer: bytes) -> list[dict]:
    """Return the row groups of a file's metadata."""
    groups = _Compact(footer, DAMAGED, _I64).struct().get(_ROW_GROUPS)
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError(DAMAGED)
    return groups


def _column(chunk: object) -> Column:
    """Return what is read of a column's metadata."""
    content = chunk.get(_METADATA) if isinstance(chunk, dict) else None
    parts = content.get(_PATH) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(parts, list):
        raise ValueError(DAMAGED)
    names = [part.decode(errors='replace') for part in parts if isinstance(part, bytes)]
    statistics = content.get(_STATISTICS)
    nulls = statistics.get(_NULLS) if isinstance(statistics, dict) else None
    values, data = (_count(content, number, DAMAGED) for number in (_VALUES, _FIRST_DATA))
    start = content.get(_FIRST_DICTIONARY)
    if not isinstance(start, int) or not 0 < start < data:
        start = data  # as pyarrow: a dictionary counts only in front of the data
    return Column('.'.join(names), start, values, nulls if isinstance(nulls, int) else None)


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
        fields, length = _read_header(stream, start, size)
        packed, unpacked = _count(fields, _PACKED), _count(fields, _UNPACKED)
        start += length + packed
        if start > size:
            raise ValueError('a page is longer than the file')
        kind = _HEADERS.get(_count(fields, _TYPE))
        values = _count(fields.get(kind), 1) if kind else 0
        is_dictionary = kind == _DICTIONARY
        yield Page(
            start, packed, unpacked, 0 if is_dictionary else values, values if is_dictionary else 0
        )


def _read_header(stream: BinaryIO, start: int, size: int) -> tuple[dict[int, object], int]:
    """Read a page's header; return its fields and its length."""
    for count in HEADER_BYTES:
        stream.seek(start)
        header = _Compact(stream.read(count), DAMAGED_PAGE, _I32)
        try:
            return header.struct(), header.offset
        except ValueError:
            if count == HEADER_BYTES[-1] or start + count >= size:
                raise
    raise ValueError(DAMAGED_PAGE)


def _count(fields: object, number: int, complaint: str = DAMAGED_PAGE) -> int:
    """Return a field that counts something; 0 without such a struct."""
    if fields is None:
        return 0
    value = fields.get(number) if isinstance(fields, dict) else None
    if not isinstance(value, int) or value < 0:
        raise ValueError(complaint)
    return value


class _Compact:
    """Values of Thrift's compact protocol in some bytes; a complaint about those that are none.

    All integers that are asked for have one type; readers pass over those of another one.
    """

    def __init__(self, data: bytes, complaint: str, integers: int) -> None:
        self.data = data
        self.complaint = complaint
        self.integers = integers
        self.offset = 0

    def struct(self, depth: int = 0) -> dict[int, object]:
        """Read a struct: values by field."""
        if depth > _MAX_NESTED:
            raise ValueError(self.complaint)
        fields: dict[int, object] = {}
        number = 0
        while head := self._byte():
            kind, delta = head & 15, head >> 4
            number = number + delta if delta else self._integer()
            if number in fields:  # readers differ in which one they take
                raise ValueError(self.complaint)
            fields[number] = None if kind in _BOOLEANS else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> object:
        """Read an integer, bytes, a list or a struct; None for other kinds."""
        if kind in _INTEGERS:
            number = self._integer()
            return number if kind == self.integers else None
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._varint()
            return self._list(head & 15, count, depth + 1)
        if kind not in (_BYTE, _DOUBLE, *_BOOLEANS):  # maps: no part of a Parquet file has one
            raise ValueError(self.complaint)
        self._take(8 if kind == _DOUBLE else 1)
        return None

    def _list(self, kind: int, count: int, depth: int) -> list[object]:
        """Read the values of a list, of which each takes a byte at least."""
        if count > len(self.data) or depth > _MAX_NESTED:
            raise ValueError(self.complaint)
        return [self._value(kind, depth) for _ in range(count)]

    def _byte(self) -> int:
        """Read a byte."""
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        """Read some bytes."""
        start, self.offset = self.offset, self.offset + count
        if self.offset > len(self.data):
            raise ValueError(f'{self.complaint} or cut off')
        return self.data[start : self.offset]

    def _varint(self) -> int:
        """Read a number of seven bits a byte, the lowest first."""
        number = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            number |= (byte & 127) << shift
            if byte < 128:
                return number
        raise ValueError(self.complaint)

    def _integer(self) -> int:
        """Read a number with a sign, which is its lowest bit."""
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
