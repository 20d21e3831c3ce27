"""Rows of images and captions from Parquet, as Hugging Face's data sets have them; needs pyarrow.

A row's image is its bytes, a struct of bytes and path, or a path. Row groups are read one at a
time, and of each some rows, so that a file takes as much memory as some of its pages.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Columns, find_columns, read_captions
from groupvit_mmseg.datasets.parquet_pages import check_pages, read_columns

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BATCH = 64  # rows decoded at a time
BUFFER = 2**20  # bytes read at a time
# pyarrow.ArrowException is a ValueError, OSError or RuntimeError by kind.
READING_ERRORS = (OSError, ValueError, RuntimeError, NotImplementedError)
# Of the metadata, for which a damaged file can claim any size.
MAX_METADATA_STRING, MAX_METADATA_ENTRIES = 2**24, 100_000


class ParquetRow(NamedTuple):
    """An image with its captions.

    Attributes:
        image (bytes | str): Content of the image's file, or its name.
        captions (list[str]): At least one, stripped, none empty.
        location (str): File and row.
    """

    image: bytes | str
    captions: list[str]
    location: str


class RowGroup(NamedTuple):
    """A row group of a file.

    Attributes:
        file (str): The file.
        number (int): Of the group, from 0.
        rows (int): Its rows.
    """

    file: str
    number: int
    rows: int


class ParquetTable:
    """Parquet files of one table.

    Args:
        source (Path): A file, or a folder with ``*.parquet`` in it.
        columns (Columns): Those of the images and captions.

    Attributes:
        files (list[Path]): The files, sorted.

    Raises:
        ModuleNotFoundError: If pyarrow is missing.
        FileNotFoundError: If there is no file.
        ValueError: If a file is damaged, or lacks a column.
    """

    def __init__(self, source: Path, columns: Columns) -> None:
        self.files = list_parquet(source)
        self._columns = {file: self._find_columns(file, columns) for file in self.files}

    def groups(self, seed: int = 0) -> list[RowGroup]:
        """List the row groups in the order of the seed; below 0 they keep theirs."""
        metadata = {file: open_parquet(file).metadata for file in self.files}
        groups = [
            RowGroup(str(file), number, content.row_group(number).num_rows)
            for file, content in metadata.items()
            for number in range(content.num_row_groups)
        ]
        if seed >= 0:
            random.Random(seed).shuffle(groups)
        return groups

    def rows(self, account: Account, seed: int = 0) -> Iterator[ParquetRow]:
        """Read the rows that can be used.

        Args:
            account (Account): Counts all rows.
            seed (int): Decides the order of the row groups; below 0 they keep theirs.

        Yields:
            ParquetRow: The rows, in their order within a row group.
        """
        for group in self.groups(seed):
            yield from self.group_rows(group, account)

    def group_rows(self, group: RowGroup, account: Account) -> Iterator[ParquetRow]:
        """Read the rows of one row group; count those that cannot be read."""
        path, num_done = Path(group.file), 0
        metadata = open_parquet(path).metadata
        first = sum(metadata.row_group(earlier).num_rows for earlier in range(group.number)) + 1
        account.num_read += group.rows
        try:
            for image, captions in read_row_group(path, group.number, self._columns[path]):
                num_done += 1
                location = f'{path.name}, row {first + num_done - 1:,}'
                row = _make_row(image, captions, location, account)
                if row is not None:
                    yield row
        except READING_ERRORS as error:
            location = f'{path.name}, row {first + num_done:,} on: {error}'
            account.drop('the row group is damaged', location, group.rows - num_done)

    def names_images(self, group: RowGroup) -> bool:
        """Return whether a row group has names of images only, and no content."""
        parquet_file, (name, _) = open_parquet(Path(group.file)), self._columns[Path(group.file)]
        if str(parquet_file.schema_arrow.field(name).type) in ('string', 'large_string'):
            return True
        columns = read_columns(Path(group.file), group.number)
        return [column.nulls for column in columns if column.path == f'{name}.bytes'] == [
            group.rows
        ]

    def _find_columns(self, path: Path, columns: Columns) -> tuple[str, str]:
        """Find the columns of one file."""
        return find_columns(open_parquet(path).schema_arrow.names, columns, str(path))


def list_parquet(source: Path) -> list[Path]:
    """List a file, or the ``*.parquet`` below a folder, sorted, without hidden ones.

    Raises:
        FileNotFoundError: If there is none.
    """
    files = sorted(source.rglob('*.parquet')) if source.is_dir() else [source]
    files = [path for path in files if not path.name.startswith('.')]
    if not files:
        raise FileNotFoundError(f'There is no *.parquet in {source}.')
    return files


def open_parquet(path: Path) -> ParquetFile:
    """Open a file so that its row groups are read a page at a time.

    Raises:
        ModuleNotFoundError: If pyarrow is missing.
        ValueError: If it is no Parquet file.
    """
    parquet = _import_parquet()
    try:
        # Without a buffer of fixed size pyarrow loads whole row groups.
        return parquet.ParquetFile(
            path,
            pre_buffer=False,
            buffer_size=BUFFER,
            thrift_string_size_limit=MAX_METADATA_STRING,
            thrift_container_size_limit=MAX_METADATA_ENTRIES,
        )
    except (OSError, ValueError) as error:
        raise ValueError(f'{path} is no readable Parquet file ({error}).') from error


def read_row_group(path: Path, group: int, names: Sequence[str]) -> Iterator[tuple[object, ...]]:
    """Read the rows of a row group, some at a time.

    Args:
        path (Path): The file.
        group (int): Number of the row group, from 0.
        names (Sequence[str]): Columns.

    Yields:
        tuple[object, ...]: Values in the order of ``names``.

    Raises:
        ValueError: If a page claims more than it can hold.
    """
    check_claims(path, group)
    # Loader workers are forked, after which threads of pyarrow's may be missing.
    batches = open_parquet(path).iter_batches(
        BATCH, row_groups=[group], columns=list(names), use_threads=False
    )
    for batch in batches:
        yield from zip(*(batch[name].to_pylist() for name in names), strict=True)


def check_claims(path: Path, group: int) -> None:
    """Refuse a row group whose pages claim more than they can hold.

    Raises:
        ValueError: Naming the column.
    """
    with path.open('rb') as stream:
        for column in read_columns(path, group):  # all: names may not be those of the schema
            try:
                check_pages(stream, column.start, column.values)
            except ValueError as error:
                raise ValueError(f'column {column.path}: {error}') from error


def image_of_value(value: object) -> bytes | str | None:
    """Return the content or the file name of an image in a cell; None where there is none."""
    if isinstance(value, dict):  # Hugging Face's Image: the bytes, or the path where there are none
        value = value.get('bytes') or value.get('path')
    return value if isinstance(value, bytes | str) and value else None


def _make_row(
    image: object, captions: object, location: str, account: Account
) -> ParquetRow | None:
    """Make a row; if it cannot be used, count it and return None."""
    content = image_of_value(image)
    if content is None:
        account.drop('the image is missing', location)
        return None
    usable = read_captions(captions, location, account)
    if not usable:
        return None
    account.num_kept += 1
    return ParquetRow(content, usable, location)


def _import_parquet() -> ModuleType:
    """Import ``pyarrow.parquet``."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ModuleNotFoundError(
            "Parquet needs pyarrow: pip install 'groupvit-mmseg[parquet]'"
        ) from error
    return pyarrow.parquet
