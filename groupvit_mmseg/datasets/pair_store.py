"""Rows grouped by image and shuffled on disk, so that memory does not grow with the table."""

import contextlib
import hashlib
import json
import os
import random
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import count, groupby
from pathlib import Path

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Row

CACHE_KIB = 2**16  # SQLite's share of the memory


class PairStore:
    """A temporary SQLite file of rows.

    Args:
        file (Path): The file, which is created; the caller removes its folder.
        seed (int): Decides the order of the images; below 0 it is that of their first rows.
    """

    def __init__(self, file: Path, seed: int = 0) -> None:
        self._file, self._numbers = file, count()
        self._order = random.Random(seed) if seed >= 0 else None
        self._digest = hashlib.sha256()
        with _clear_errors(file):
            self._database = sqlite3.connect(file)
            self._sort_in(str(file.parent))
            self._database.executescript(
                'PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;'
                f'PRAGMA cache_size = -{CACHE_KIB};'
                'CREATE TABLE pairs (number INTEGER PRIMARY KEY, rank INTEGER, image BLOB, '
                'captions TEXT, location TEXT)'
            )

    def add(self, rows: Iterable[Row]) -> None:
        """Store rows."""
        with _clear_errors(self._file), self._database:
            self._database.executemany(
                'INSERT INTO pairs VALUES (?, ?, ?, ?, ?)',
                map(self._entry, self._numbers, rows),
            )

    def arrange(self) -> int:
        """Put the images in their order, after the last row; return their number."""
        with _clear_errors(self._file):
            self._database.executescript(
                'CREATE TABLE arranged AS SELECT dense_rank() OVER (ORDER BY first, image) AS '
                'place, image, captions, location FROM (SELECT *, min(rank) OVER (PARTITION BY '
                'image) AS first FROM pairs) ORDER BY first, image, number; DROP TABLE pairs;'
                'CREATE INDEX places ON arranged (place)'
            )
            (last,) = self._database.execute('SELECT max(place) FROM arranged').fetchone()
        return last or 0

    @property
    def digest(self) -> str:
        """Hash of all rows."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        with _clear_errors(self._file):
            self._sort_in('')
            self._database.close()

    def _sort_in(self, folder: str) -> None:
        """Set where SQLite sorts: it takes as much space again, which /tmp may not have."""
        quoted = folder.replace("'", "''")
        self._database.execute(f"PRAGMA temp_store_directory = '{quoted}'")

    def _entry(self, number: int, row: Row) -> tuple[int, int, bytes, str, str]:
        """Return a row as it is stored; names of files need not be valid text."""
        rank = number if self._order is None else self._order.getrandbits(62)
        image, captions = os.fsencode(plain_name(row.image)), json.dumps(row.captions)
        self._digest.update(image + b'\0' + captions.encode() + b'\n')
        return number, rank, image, captions, row.location


def read_images(
    file: Path, account: Account, first: int = 0, stop: int | None = None
) -> Iterator[Row]:
    """Read images of a closed, arranged store, each with the captions of all its rows.

    Args:
        file (Path): The store, which any number of processes may read.
        account (Account): Counts the images as read, and captions that an image has twice.
        first (int): The first image, from 0. Defaults to 0.
        stop (int, optional): The image after the last. Defaults to the end.

    Yields:
        Row: An image; its location is that of its first row.
    """
    query = (
        'SELECT image, captions, location FROM arranged WHERE place > ? AND place <= ? '
        'ORDER BY place, rowid'
    )
    with _clear_errors(file):
        database = sqlite3.connect(f'{file.resolve().as_uri()}?mode=ro', uri=True)
        with contextlib.closing(database):
            entries = database.execute(query, (first, 2**62 if stop is None else stop))
            for image, rows in groupby(entries, key=lambda entry: entry[0]):
                yield _joined(os.fsdecode(image), [entry[1:] for entry in rows], account)


@contextlib.contextmanager
def _clear_errors(file: Path) -> Iterator[None]:
    """Turn an error of the disk below SQLite into a sentence about the temporary file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(
            f'The temporary file of the rows cannot be written or read ({error}): {file}'
        ) from error


def _joined(name: str, rows: list[tuple[str, str]], account: Account) -> Row:
    """Join the captions of an image's rows."""
    account.num_read += 1
    captions = [caption for texts, _ in rows for caption in json.loads(texts)]
    distinct = list(dict.fromkeys(captions))
    if len(rows) > 1:
        account.note('images are in several rows, whose captions are joined', name)
    if len(distinct) < len(captions):
        num_repeated = len(captions) - len(distinct)
        account.note('captions are dropped: their image has the same one', name, num_repeated)
    return Row(name, distinct, rows[0][1])


def plain_name(name: str) -> str:
    """Return one spelling of a file's name, which may be written './a.jpg' or 'd//a.jpg'."""
    return str(Path(name)) if './' in name or '//' in name else name
