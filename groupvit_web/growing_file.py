"""Lines of a text file that another process appends to, each read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

CHUNK = 1 << 20
LONGEST_LINE = 1 << 20
"""int: Bytes after which a line without an end is dropped: it is no line of a log."""


class GrowingFile:
    r"""Reads the lines that were appended since the last call.

    A last line without its end is kept until the rest is written. A file that was replaced or
    truncated is read again from its beginning.

    Args:
        path (Path): The file; it need not exist yet.

    Example:
        >>> path = Path('growing.txt')
        >>> file = GrowingFile(path)
        >>> _ = path.write_text('one\ntw')
        >>> list(file.new_lines())
        ['one']
        >>> _ = path.write_text('one\ntwo\n')
        >>> list(file.new_lines())
        ['two']
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self._inode = 0
        self._rest = b''

    def was_replaced(self) -> bool:
        """Return whether the file is another or shorter than what was read of it.

        Raises:
            OSError: If the file cannot be read.
        """
        status = self.path.stat()
        return self.offset > 0 and (status.st_ino != self._inode or status.st_size < self.offset)

    @property
    def unread(self) -> int:
        """Bytes that were not read yet; 0 without a file."""
        try:
            return max(0, self.path.stat().st_size - self.offset)
        except OSError:
            return 0

    def new_lines(self, limit: int | None = None) -> Iterator[str]:
        """Yield the complete lines that were not read yet, without their ends.

        Args:
            limit (int, optional): Bytes after which to stop, rounded up to a MiB; the next call
                continues. None for no limit. Defaults to None.

        Raises:
            OSError: If the file cannot be read.
        """
        if self.was_replaced():
            self.offset, self._rest = 0, b''
        with self.path.open('rb') as stream:
            self._inode = self.path.stat().st_ino
            stream.seek(self.offset)
            stop = None if limit is None else self.offset + limit
            while (stop is None or self.offset < stop) and (chunk := stream.read(CHUNK)):
                self.offset += len(chunk)
                *lines, rest = (self._rest + chunk).split(b'\n')
                self._rest = rest if len(rest) <= LONGEST_LINE else b''
                for line in lines:
                    yield line.decode('utf-8', 'replace').rstrip('\r')
