"""Text and JSON files of users: files that are not UTF-8 text are refused, such lines counted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.captions import text_problem

LONGEST_LINE = 2**24  # characters; a file without line ends is no table
# First bytes of files that are no text, and the advice for each.
_FOREIGN = {
    b'\xff\xfe': 'is UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)',
    b'\xfe\xff': 'is UTF-16: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)',
    b'\x1f\x8b': 'is compressed: unpack it first (gunzip)',
    b'PK\x03\x04': 'is a zip archive or a spreadsheet: unpack it, or save it as UTF-8 text',
    b'PAR1': 'is a Parquet file: give it with the format parquet',
}


class Line(NamedTuple):
    """A line of a text file.

    Attributes:
        number (int): From 1, as editors count.
        text (str): Without its end.
    """

    number: int
    text: str


def check_text(path: Path) -> None:
    """Refuse files that are no UTF-8 text by their first bytes.

    Args:
        path (Path): The file.

    Raises:
        ValueError: If it is UTF-16, compressed, an archive or Parquet.
    """
    with path.open('rb') as stream:
        start = stream.read(4)
    advice = next((text for mark, text in _FOREIGN.items() if start.startswith(mark)), None)
    if advice is not None:
        raise ValueError(f'{path} {advice}.')


def read_lines(path: Path, account: Account) -> Iterator[Line]:
    r"""Read lines; those that are not UTF-8 text are dropped and counted, empty ones left out.

    Args:
        path (Path): A file with or without a byte-order mark; lines end in ``\n``, ``\r\n`` or
            ``\r``.
        account (Account): Counts the lines that are no text.

    Yields:
        Line: The others.

    Raises:
        ValueError: If the file is no text at all, or has a line of more than 16 million characters.
    """
    check_text(path)
    # Bytes that are not UTF-8 become lone surrogates, which mark their line.
    with path.open(encoding='utf-8-sig', errors='surrogateescape') as stream:
        number = 0
        while text := stream.readline(LONGEST_LINE):
            number += 1
            if len(text) == LONGEST_LINE:
                raise ValueError(f'{path}, line {number} has no end: this is no table of lines.')
            text = text.rstrip('\n').lstrip('\ufeff')
            problem = text_problem(text)
            if problem is not None:
                account.num_read += 1
                account.drop(f'the line {problem}', f'{path.name}, line {number}')
            elif text.strip(' '):  # a line of tabs is a row of empty cells
                yield Line(number, text)


def read_json(path: Path) -> object:
    """Read a JSON file.

    Args:
        path (Path): UTF-8 with or without a byte-order mark.

    Returns:
        object: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8, or not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    check_text(path)
    try:
        return json.loads(path.read_bytes().decode('utf-8-sig'))
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 text: save it as UTF-8.') from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path} is not JSON ({error}).') from error
