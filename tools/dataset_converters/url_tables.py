"""Converts published tables of image addresses into a table for img2dataset.

python tools/dataset_converters/url_tables.py SET TABLE [TABLE ...] --out cc3m.tsv [--dry-run]

SET      TABLE, as published
cc3m     Train_GCC-training.tsv: caption, address
cc12m    cc12m.tsv: address, caption
yfcc14m  a .csv or .tsv with a header that has url, title and description (the subset's ids joined
         with YFCC100M's metadata); title and description make the caption
redcaps  annotations/*.json: one file per subreddit and year

Writes a table with the columns url and caption, and prints the img2dataset command that makes
shards of it. --dry-run counts and shows the first rows without writing. Addresses that are there
twice with one caption and rows that cannot be used are left out; the account lists the first of
each kind by file and line. An existing file is replaced with --overwrite, but never a table.
Memory: about 90 bytes a row, 1 GB for CC12M.
"""

import argparse
import csv
import hashlib
import html
import io
import re
import shlex
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import find_column, read_captions
from groupvit_mmseg.datasets.delimited import DelimitedTable
from groupvit_mmseg.datasets.text_files import read_json, read_lines

SHOWN = 3
TAGS, SPACES = re.compile(r'<[^>]+>'), re.compile(r'\s+')
SCHEMES = ('http://', 'https://')


class Row(NamedTuple):
    """A row of a table; its values are not checked yet."""

    url: object
    caption: object
    location: str


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('set', choices=READERS)
    parser.add_argument('tables', type=Path, nargs='+')
    parser.add_argument('--out', type=Path, required=True, help='the table to write, .tsv')
    parser.add_argument('--shards', help='folder for the shards; data/SET_shards by default')
    parser.add_argument('--image-size', type=int, default=384, help='longer images are shrunk')
    parser.add_argument('--per-shard', type=int, default=10_000)
    parser.add_argument('--processes', type=int, default=16)
    parser.add_argument('--threads', type=int, default=64)
    parser.add_argument('--dry-run', action='store_true', help='count and show, write nothing')
    parser.add_argument('--overwrite', action='store_true', help='replace --out')
    args = parser.parse_args(argv)
    check_paths(parser, args)
    return args


def check_paths(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where a table is missing, or would be overwritten."""
    for table in args.tables:
        if not table.is_file():
            parser.error(f'there is no table {table}')
        if args.out.exists() and args.out.samefile(table):
            parser.error(f'--out {args.out} would replace the table {table}: name another file')
    if args.out.is_dir():
        parser.error(f'--out {args.out} is a folder: name a file in it')
    if args.out.exists() and not (args.overwrite or args.dry_run):
        parser.error(f'{args.out} is there already: name another file, or give --overwrite')


def read_columns(table: Path, account: Account, order: tuple[int, int]) -> Iterator[Row]:
    """Read address and caption from two columns without a header, in which quotes mean nothing."""
    for line in read_lines(table, account):
        account.num_read += 1
        fields, location = line.text.split('\t'), f'{table.name}, line {line.number}'
        if len(fields) == 2:
            yield Row(fields[order[0]], fields[order[1]], location)
        else:
            account.drop(f'too {"few" if len(fields) < 2 else "many"} columns', location)


def read_cc3m(table: Path, account: Account) -> Iterator[Row]:
    """Read captions and addresses."""
    return read_columns(table, account, (1, 0))


def read_cc12m(table: Path, account: Account) -> Iterator[Row]:
    """Read addresses and captions."""
    return read_columns(table, account, (0, 1))


def read_yfcc14m(table: Path, account: Account) -> Iterator[Row]:
    """Read titles and descriptions; YFCC100M keeps them percent-encoded, with HTML in them."""
    reader = DelimitedTable(table, ',' if table.suffix.lower() == '.csv' else '\t', account)
    url, *parts = (column_index(reader, name) for name in ('url', 'title', 'description'))

    def is_row(fields: list[str], _: list[str]) -> bool:
        return len(fields) >= len(reader.header) and fields[url].strip('" ').startswith(SCHEMES)

    for fields, location in reader.records(is_row):
        texts = (urllib.parse.unquote_plus(fields[part]) for part in parts)
        yield Row(fields[url], '. '.join(text for text in texts if text.strip()), location)


def column_index(reader: DelimitedTable, name: str) -> int:
    """Return the index of a column."""
    column = find_column(reader.header, [name])
    if column is None:
        raise ValueError(f'{reader.path} has no column {name} in its header {reader.header}.')
    return reader.header.index(column)


def read_redcaps(table: Path, account: Account) -> Iterator[Row]:
    """Read the annotations of a subreddit and a year."""
    content = read_json(table)
    annotations = content.get('annotations') if isinstance(content, dict) else None
    if not isinstance(annotations, list):
        raise ValueError(f'{table} has no list "annotations": give the files of RedCaps.')
    for number, annotation in enumerate(annotations, 1):
        account.num_read += 1
        location = f'{table.name}, annotation {number}'
        if isinstance(annotation, dict):
            yield Row(annotation.get('url'), annotation.get('caption'), location)
        else:
            account.drop('not an object', location)


READERS = {
    'cc3m': read_cc3m,
    'cc12m': read_cc12m,
    'yfcc14m': read_yfcc14m,
    'redcaps': read_redcaps,
}


def clean(text: str) -> str:
    """Return one line of plain text."""
    return SPACES.sub(' ', TAGS.sub(' ', html.unescape(text))).strip()


def clean_captions(value: object) -> object:
    """Clean a caption or a list of them; other values stay as they are."""
    if isinstance(value, list):
        return [clean_captions(text) for text in value]
    return clean(value) if isinstance(value, str) else value


def usable_rows(args: argparse.Namespace, account: Account) -> Iterator[tuple[str, str]]:
    """Yield address and caption of usable rows, each once; count the others."""
    digests: set[int] = set()
    for table in args.tables:
        for row in READERS[args.set](table, account):
            url = row.url.strip() if isinstance(row.url, str) else ''
            if not url.lower().startswith(SCHEMES):
                account.drop('no address', row.location)
                continue
            captions = read_captions(clean_captions(row.caption), row.location, account)
            if len(captions) > 1:
                account.note('addresses have several captions: the first is taken', row.location)
            if captions and is_new(url, captions[0], digests):
                account.num_kept += 1
                yield url, captions[0]
            elif captions:
                account.drop('a row that comes twice', row.location)


def is_new(url: str, caption: str, digests: set[int]) -> bool:
    """Add a row's digest of 64 bits to the set; return whether it was not there."""
    digest = hashlib.blake2b(f'{url}\t{caption}'.encode(), digest_size=8).digest()
    size = len(digests)
    digests.add(int.from_bytes(digest, 'big'))
    return len(digests) > size


def command(args: argparse.Namespace) -> str:
    """Return the command that downloads the images of the table and packs them into shards."""
    options = {
        'url_list': args.out,
        'input_format': 'tsv',
        'url_col': 'url',
        'caption_col': 'caption',
        'output_format': 'webdataset',
        'output_folder': args.shards or f'data/{args.set}_shards',
        'number_sample_per_shard': args.per_shard,
        'image_size': args.image_size,
        'resize_mode': 'keep_ratio',
        'resize_only_if_bigger': True,
        'processes_count': args.processes,
        'thread_count': args.threads,
        'retries': 2,
        'enable_wandb': False,
    }
    words = (f'--{name}={shlex.quote(str(value))}' for name, value in options.items())
    return ' \\\n    '.join(['img2dataset', *words])


def write(args: argparse.Namespace, rows: Iterator[tuple[str, str]], account: Account) -> None:
    """Write the table for img2dataset, whole or not at all."""

    def write_rows(stream: IO[bytes]) -> None:
        text = io.TextIOWrapper(stream, encoding='utf-8', newline='')
        writer = csv.writer(text, delimiter='\t', lineterminator='\n')
        writer.writerow(('url', 'caption'))
        writer.writerows(rows)
        text.detach()
        if account.num_kept == 0:
            raise ValueError(no_row(args))

    write_atomically(args.out, write_rows)


def no_row(args: argparse.Namespace) -> str:
    """Return the error message if no row can be used."""
    return f'No row could be used: are these the tables of {args.set}?'


def show(rows: Iterator[tuple[str, str]]) -> None:
    """Print the first rows, and read the others."""
    for number, (url, caption) in enumerate(rows):
        if number < SHOWN:
            print(f'{url}\n    {caption}')


def convert(args: argparse.Namespace) -> None:
    """Read the tables, write the new one and print the account."""
    account = Account('rows')
    rows = usable_rows(args, account)
    try:
        if args.dry_run:
            show(rows)
        else:
            write(args, rows, account)
    finally:
        print('\n'.join(account.lines()), file=sys.stderr)
    if account.num_kept == 0:
        raise ValueError(no_row(args))
    print(f'\n{command(args)}\n')
    print(
        'Then: python tools/dataset_converters/check_shards.py '
        f"'{args.shards or f'data/{args.set}_shards'}/*.tar'"
    )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Convert the tables."""
    convert(parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
