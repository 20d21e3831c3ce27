"""Tables of comma- or tab-separated values, with quotes used properly or not at all.

A record is usually a line. Quotes of the CSV kind (a field in quotes, quotes in it doubled) are
taken off, and may hold line breaks. A quote that is not closed in that way is part of the text:
it never joins a line with a next one that is a row itself.
"""

import csv
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.text_files import LONGEST_LINE, Line, read_lines

LONGEST_RECORD = 1000  # lines
IsRow = Callable[[list[str], list[str]], bool]


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        fields (list[str]): As many as the header has.
        location (str): File and line.
    """

    fields: list[str]
    location: str


class DelimitedTable:
    """A table with a header, read a record at a time.

    Args:
        path (Path): The file.
        delimiter (str): A comma or a tab.
        account (Account): Counts the rows.

    Attributes:
        header (list[str]): The first line's fields.

    Raises:
        ValueError: If the file is empty or no text.
    """

    def __init__(self, path: Path, delimiter: str, account: Account) -> None:
        self.path, self.delimiter, self.account = path, delimiter, account
        self._lines = _Lines(read_lines(path, account))
        self._first = next(self._lines, None)
        if self._first is None:
            raise ValueError(f'{path} has no line of text in it.')
        # A field may be as long as a line; the csv module keeps one limit for the process.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
        self.header = parse(self._first.text, delimiter) or self._split(self._first)

    def records(self, is_row: IsRow, *, has_header: bool = True) -> Iterator[Record]:
        """Read the rows; those of another number of columns are dropped and counted.

        Args:
            is_row (IsRow): Takes the fields of a line and those of a line before it whose quote is
                open, and returns whether the line is a new row, which does not continue that field.
            has_header (bool): Whether the first line is no row. Defaults to True.

        Yields:
            Record: The rows of as many columns as the header.
        """
        if not has_header and self._first is not None:
            self._lines.put_back([self._first])
        for line in self._lines:
            self.account.num_read += 1
            location = f'{self.path.name}, line {line.number}'
            fields = parse(line.text, self.delimiter) or self._continue(line, is_row)
            fields = self._without_extra(fields or self._split(line))
            if len(fields) == len(self.header):
                yield Record(fields, location)
            else:
                word = 'few' if len(fields) < len(self.header) else 'many'
                self.account.drop(f'too {word} columns', location)

    def _split(self, line: Line) -> list[str]:
        """Split a line whose quotes mean nothing."""
        return line.text.split(self.delimiter)

    def _without_extra(self, fields: list[str]) -> list[str]:
        """Remove empty fields beyond the header's."""
        while len(fields) > len(self.header) and not fields[-1].strip():
            fields.pop()
        return fields

    def _continue(self, line: Line, is_row: IsRow) -> list[str] | None:
        """Read a record whose quoted field continues in the next lines; None if it does not."""
        opening = self._split(line)
        alone = len(opening) >= len(self.header)
        parts, lines_read = [line.text], []
        for following in islice(self._lines, LONGEST_RECORD):
            lines_read.append(following)
            row = is_row(self._split(following), opening)
            if row and alone:
                break
            parts.append(following.text)
            # Only a quote can close the field.
            fields = parse('\n'.join(parts), self.delimiter) if '"' in following.text else None
            if fields is not None:
                return fields
            if row:
                break
        self._lines.put_back(lines_read)
        return None


class _Lines(Iterator[Line]):
    """Lines that can be put back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._ahead: deque[Line] = deque()

    def __next__(self) -> Line:
        return self._ahead.popleft() if self._ahead else next(self._lines)

    def put_back(self, lines: list[Line]) -> None:
        """Return lines to the front, in this order."""
        self._ahead.extendleft(reversed(lines))


def parse(text: str, delimiter: str) -> list[str] | None:
    """Split a record as CSV.

    Args:
        text (str): One line or several.
        delimiter (str): A comma or a tab.

    Returns:
        list[str] | None: The fields; None where quotes are not closed or are followed by more text.
    """
    if '"' not in text:
        return text.split(delimiter)
    try:
        (fields,) = csv.reader([text], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return None
    return fields
