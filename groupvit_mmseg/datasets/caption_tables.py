"""Rows of images and captions from CSV, TSV and JSON lines.

Every reader yields the rows that can be used and counts the others in an ``Account``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.captions import (
    CAPTION_KEYS,
    captions_of_value,
    sift_captions,
    text_problem,
)
from groupvit_mmseg.datasets.delimited import DelimitedTable
from groupvit_mmseg.datasets.shard_stream import BadSample
from groupvit_mmseg.datasets.text_files import read_lines

# A name that ends like this is one of an image, whether training reads the format or not.
IMAGE_NAME = re.compile(
    r'\.(jpe?g?|jfif|png|webp|gif|bmp|p[bgp]m|tiff?|avif|hei[cf]|jp2)$', re.IGNORECASE
)
# Columns and keys of an image's file name, in img2dataset's, Hugging Face's and open_clip's tables.
IMAGE_KEYS = ('image', 'file_name', 'filepath', 'jpg')
ADDRESS = re.compile(r'^[a-z][a-z0-9+]+://', re.IGNORECASE)


class Row(NamedTuple):
    """Captions of an image.

    Attributes:
        image (str): Name of the image's file, as it is written.
        captions (list[str]): At least one, stripped, none empty.
        location (str): File and line.
    """

    image: str
    captions: list[str]
    location: str


class Columns(NamedTuple):
    """Names of the columns, or their numbers from 1 in a table without a header.

    Attributes:
        image (str | None): Column or key of the image's file name; None takes the first of
            ``image``, ``file_name``, ``filepath`` and ``jpg`` that the table has.
        caption (str | None): Column or key of the caption; None takes the first of ``captions``,
            ``caption``, ``texts`` and ``text`` that the table has.
    """

    image: str | None = None
    caption: str | None = None


def make_row(image: object, captions: object, location: str, account: Account) -> Row | None:
    """Check one row.

    Args:
        image (object): Value in the column of the image's name.
        captions (object): Value in the column of the captions; see ``captions_of_value``.
        location (str): File and line.
        account (Account): Counts the row as kept or dropped.

    Returns:
        Row | None: The row, None if it cannot be used.
    """
    name = image.strip() if isinstance(image, str) else ''
    problem = _image_problem(name)
    texts = read_captions(captions, location, account) if problem is None else []
    if problem is not None:
        account.drop(problem, location)
    if not texts:
        return None
    account.num_kept += 1
    return Row(name, texts, location)


def read_captions(value: object, location: str, account: Account) -> list[str]:
    """Return the usable captions of a value; if there are none, count the thing as dropped."""
    try:
        usable, problems = sift_captions(captions_of_value('' if value is None else value))
    except BadSample:
        account.drop('the caption is neither a string nor a list of strings', location)
        return []
    if not usable:
        account.drop(f'the caption {problems[0] if problems else "is empty"}', location)
        return []
    for problem in problems:
        account.note(f'captions are left out of several: one {problem}', location)
    return usable


def _image_problem(name: str) -> str | None:
    """Reason why a text cannot be the name of an image's file; None if it can."""
    if not name:
        return 'the name of the image is missing'
    if ADDRESS.match(name):
        return 'an address instead of an image: download it first (img2dataset)'
    problem = text_problem(name)
    return problem and f'the name of the image {problem}'


def find_column(names: Iterable[str], options: Sequence[str]) -> str | None:
    """Find a column, by its exact name before one that differs in case and spaces only.

    Args:
        names (Iterable[str]): The columns of the table.
        options (Sequence[str]): Names to look for; the first that is there counts.

    Returns:
        str | None: The column; None if there is none.

    Raises:
        ValueError: If two columns have the name.
    """
    names = [name for name in names if isinstance(name, str)]
    for name in options:
        for same in (str, lambda text: text.strip().casefold()):
            matches = [column for column in names if same(column) == same(name)]
            if len(matches) > 1:
                raise ValueError(f'two columns are called {name!r}')
            if matches:
                return matches[0]
    return None


def find_columns(names: Sequence[str], columns: Columns, location: str) -> tuple[str, str]:
    """Find the columns of images and captions.

    Args:
        names (Sequence[str]): The columns of the table.
        columns (Columns): Those to look for.
        location (str): File and line, for errors.

    Returns:
        tuple[str, str]: Column of the images, column of the captions.

    Raises:
        ValueError: If one is missing or there twice.
    """
    matches = []
    for options in (
        (columns.image,) if columns.image else IMAGE_KEYS,
        (columns.caption,) if columns.caption else CAPTION_KEYS,
    ):
        try:
            column = find_column(names, options)
        except ValueError as error:
            raise ValueError(f'{location}: {error}; each needs a name of its own.') from error
        if column is None:
            raise ValueError(
                f'{location}: there is no column {" or ".join(map(repr, options))} among '
                f'{list(names)}; name it with --image-column or --caption-column (in a config '
                '`image_column` or `caption_column`; a number in a table without a header).'
            )
        matches.append(column)
    return matches[0], matches[1]


def read_delimited(path: Path, delimiter: str, columns: Columns, account: Account) -> Iterator[Row]:
    """Read a CSV or TSV table.

    Args:
        path (Path): UTF-8 text.
        delimiter (str): A comma or a tab.
        columns (Columns): Those of the images and captions.
        account (Account): Counts the rows.

    Yields:
        Row: The usable rows.

    Raises:
        ValueError: If the file is no text, or a column is missing.
    """
    table = DelimitedTable(path, delimiter, account)
    indices = _numbered(columns, len(table.header))
    has_header = indices is None
    if indices is None:
        names = find_columns(table.header, columns, f'{path}, line 1')
        indices = table.header.index(names[0]), table.header.index(names[1])
    image, caption = indices

    def is_row(fields: list[str], opening: list[str]) -> bool:
        """Return whether a line is a row: all columns, and a name like that of the line before."""
        if delimiter == '\t' or len(fields) < len(table.header):
            return len(fields) >= len(table.header)
        name = fields[image].strip(' "')
        if len(opening) > image and not IMAGE_NAME.search(opening[image].strip(' "')):
            return len(name.split()) == 1  # names without an ending
        return bool(IMAGE_NAME.search(name))

    for record in table.records(is_row, has_header=has_header):
        row = make_row(record.fields[image], record.fields[caption], record.location, account)
        if row is not None:
            yield row


def _numbered(columns: Columns, count: int) -> tuple[int, int] | None:
    """Return both columns' indices if they are numbered, which a table without a header needs."""
    names = columns.image or '', columns.caption or ''
    if not all(name.isdecimal() for name in names):
        return None
    image, caption = (int(name) - 1 for name in names)
    if not (0 <= image < count and 0 <= caption < count):
        raise ValueError(f'The table has {count} columns: number them from 1.')
    return image, caption


def read_json_lines(path: Path, columns: Columns, account: Account) -> Iterator[Row]:
    """Read a file of one JSON object a line; see ``read_delimited``."""
    first = True
    for line in read_lines(path, account):
        account.num_read += 1
        location = f'{path.name}, line {line.number}'
        content = _json_object(line.text, location, account)
        if content is None:
            continue
        row = read_object(content, columns, location, account, required=first)
        first = False
        if row is not None:
            yield row


def read_object(
    content: dict[str, object],
    columns: Columns,
    location: str,
    account: Account,
    *,
    required: bool = False,
) -> Row | None:
    """Read the image and the captions of a JSON object.

    Args:
        content (dict[str, object]): The object.
        columns (Columns): Keys of the image and the captions.
        location (str): File and line.
        account (Account): Counts the object as kept or dropped.
        required (bool): Refuse an object without the keys. Defaults to False.

    Returns:
        Row | None: The row, None if it cannot be used.

    Raises:
        ValueError: If a key is missing and ``required``.
    """
    try:
        image, caption = find_columns(list(content), columns, location)
    except ValueError:
        if required:
            raise
        account.drop('no key for the image or the caption', location)
        return None
    captions = content[caption] if columns.caption else _with_plain_keys(content)
    return make_row(content[image], captions, location, account)


def _with_plain_keys(content: dict[str, object]) -> dict[str, object]:
    """Return an object with its keys in lower case, without spaces around them."""
    return {key.strip().casefold(): value for key, value in content.items()}


def _json_object(text: str, location: str, account: Account) -> dict[str, object] | None:
    """Parse the object in a line; None, counted, where there is none."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        account.drop('not JSON', location)
        return None
    if not isinstance(content, dict):
        account.drop('JSON, but no object', location)
        return None
    return content
