"""Turns published tables of image addresses into what img2dataset downloads.

python tools/dataset_converters/url_tables.py SET TABLE [TABLE ...] --out cc3m.tsv [--dry-run]

SET      TABLE, as published
cc3m     Train_GCC-training.tsv: caption, address
cc12m    cc12m.tsv: address, caption
yfcc14m  a .csv or .tsv with a header that has url, title and description (the subset's ids joined
         with YFCC100M's metadata); title and description make the caption
redcaps  annotations/*.json: one file per subreddit and year

Writes a table with the columns url and caption, and prints the img2dataset command that makes
shards of it. --dry-run counts and shows the first rows without writing. Addresses that come twice
with one caption and rows without an address or a caption are left out and counted.
"""

import argparse
import csv
import html
import json
import re
import shlex
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str]
SHOWN = 3
TAGS, SPACES = re.compile(r'<[^>]+>'), re.compile(r'\s+')

csv.field_size_limit(2**24)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('set', choices=READERS)
    parser.add_argument('tables', type=Path, nargs='+')
    parser.add_argument('--out', type=Path, required=True, help='the table to write, .tsv')
    parser.add_argument('--shards', help='folder for the shards; data/SET_shards by default')
    parser.add_argument('--image-size', type=int, default=384, help='longer images are shrunk')
    parser.add_argument('--per-shard', type=int, default=10_000)
    parser.add_argument('--processes', type=int, default=16)
    parser.add_argument('--threads', type=int, default=64)
    parser.add_argument('--dry-run', action='store_true', help='count and show, write nothing')
    args = parser.parse_args(argv)
    for table in args.tables:
        if not table.is_file():
            parser.error(f'there is no table {table}')
        if args.out.exists() and args.out.samefile(table):
            parser.error(f'--out {args.out} would replace the table {table}: name another file')
    return args


def columns(table: Path, order: tuple[int, int]) -> Iterator[Row]:
    """Two columns without a header."""
    with table.open(encoding='utf-8', newline='') as stream:
        for row in csv.reader(stream, delimiter='\t', quoting=csv.QUOTE_NONE):
            if len(row) >= 2:
                yield row[order[0]], row[order[1]]
            else:
                yield '', ''


def read_cc3m(table: Path) -> Iterator[Row]:
    return columns(table, (1, 0))


def read_cc12m(table: Path) -> Iterator[Row]:
    return columns(table, (0, 1))


def read_yfcc14m(table: Path) -> Iterator[Row]:
    """Title and description, decoded: YFCC100M keeps them percent-encoded, with HTML in them."""
    with table.open(encoding='utf-8', newline='') as stream:
        delimiter = ',' if table.suffix == '.csv' else '\t'
        reader = csv.DictReader(stream, delimiter=delimiter)
        missing = {'url', 'title', 'description'} - set(reader.fieldnames or ())
        if missing:
            raise SystemExit(f'{table} has no column {", ".join(sorted(missing))} in its header.')
        for row in reader:
            parts = (
                urllib.parse.unquote_plus(row[name] or '') for name in ('title', 'description')
            )
            yield row['url'], '. '.join(part for part in parts if part.strip())


def read_redcaps(table: Path) -> Iterator[Row]:
    for annotation in json.loads(table.read_text(encoding='utf-8'))['annotations']:
        yield annotation.get('url', ''), annotation.get('caption', '')


READERS = {
    'cc3m': read_cc3m,
    'cc12m': read_cc12m,
    'yfcc14m': read_yfcc14m,
    'redcaps': read_redcaps,
}


def clean(text: str) -> str:
    """One line of plain text."""
    return SPACES.sub(' ', TAGS.sub(' ', html.unescape(text))).strip()


def rows_of(args, counts: dict[str, int]) -> Iterator[Row]:
    """Usable rows, each once; counts the others."""
    seen: set[int] = set()
    for table in args.tables:
        for url, caption in READERS[args.set](table):
            row = url.strip(), clean(caption)
            if not row[0].startswith(('http://', 'https://')):
                counts['without an address'] += 1
            elif not row[1]:
                counts['without a caption'] += 1
            elif hash(row) in seen:
                counts['twice'] += 1
            else:
                seen.add(hash(row))
                counts['usable'] += 1
                yield row


def command(args) -> str:
    """What downloads the images of the table and packs them into shards."""
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


def write(args, rows: Iterator[Row]) -> None:
    """The table for img2dataset, replaced whole."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_suffix('.tmp')
    with temporary.open('w', encoding='utf-8', newline='') as stream:
        writer = csv.writer(stream, delimiter='\t', lineterminator='\n')
        writer.writerow(('url', 'caption'))
        writer.writerows(rows)
    temporary.replace(args.out)


def main(argv=None) -> None:
    args = parse_args(argv)
    counts = dict.fromkeys(('usable', 'twice', 'without an address', 'without a caption'), 0)
    rows = rows_of(args, counts)
    if args.dry_run:
        for number, (url, caption) in enumerate(rows):
            if number < SHOWN:
                print(f'{url}\n    {caption}')
    else:
        write(args, rows)
    print(', '.join(f'{count:,} {name}' for name, count in counts.items()), file=sys.stderr)
    if counts['usable'] == 0:
        raise SystemExit(f'No row could be used: are these the tables of {args.set}?')
    print(f'\n{command(args)}\n')
    print(
        'Then: python tools/dataset_converters/check_shards.py '
        f"'{args.shards or f'data/{args.set}_shards'}/*.tar'"
    )


if __name__ == '__main__':
    main()
