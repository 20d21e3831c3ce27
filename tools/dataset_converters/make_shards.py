"""Packs images and captions into tar shards, with sizes.json.

python tools/dataset_converters/make_shards.py FORMAT SOURCE --out FOLDER [--images FOLDER]

FORMAT   SOURCE
folder   a folder; beside each image a .txt (captions, one a line) or a .json of the same name
csv tsv  a table with a header; --image-column and --caption-column name its columns, or number
         them from 1 if there is no header
jsonl    an object a line with the same two
parquet  a file or a folder of *.parquet with the same two: Hugging Face's image and text (takes
         pip install 'groupvit-mmseg[parquet]')
coco     COCO's captions_*.json
flickr   Flickr8k's or Flickr30k's captions: "x.jpg#0 <tab> text", "x.jpg,text" or "x.jpg| 0| text"
imagenet a folder of class folders; samples get a class number (.cls), classes.json lists them

Images of tables are paths in --images (the source's folder by default). All captions of an image
are in one sample, equal ones once. The last lines are the account: everything that was read is in
the shards, or counted with its reason and the first locations. Images are stored by their true
format; those that training cannot read (by their header; --check decodes them) are dropped and
counted. The jobs of an array each take a --part K/N of the images. The shards appear when all are
complete. A folder with shards of the same name is refused;
--overwrite replaces those that its sizes.json lists.
"""

import argparse
import json
import os
import re
import sqlite3
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from webdataset.filters import shuffle

from groupvit_mmseg.command_line import INPUT_ERRORS, tool_main, tool_parser
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_annotations import read_coco, read_flickr
from groupvit_mmseg.datasets.caption_folders import class_names, read_classes, read_folder
from groupvit_mmseg.datasets.caption_tables import Columns, Row, read_delimited, read_json_lines
from groupvit_mmseg.datasets.image_files import read_image
from groupvit_mmseg.datasets.image_headers import check_image, image_member
from groupvit_mmseg.datasets.pair_store import PairStore, plain_name
from groupvit_mmseg.datasets.parquet_tables import ParquetRow, ParquetTable
from groupvit_mmseg.datasets.shard_passes import part_argument
from groupvit_mmseg.datasets.shard_sizes import SIZES_FILE, read_sizes
from groupvit_mmseg.datasets.shard_stream import BadSample
from groupvit_mmseg.datasets.shard_writing import ShardSet

CLASSES_FILE = 'classes.json'
BUFFER = 1000  # images that are held to be shuffled where they come with their table
READERS: dict[str, Callable[[argparse.Namespace, Account], Iterator[Row]]] = {
    'folder': lambda args, account: read_folder(args.source, account),
    'csv': lambda args, account: read_delimited(args.source, ',', args.columns, account),
    'tsv': lambda args, account: read_delimited(args.source, '\t', args.columns, account),
    'jsonl': lambda args, account: read_json_lines(args.source, args.columns, account),
    'coco': lambda args, account: read_coco(args.source, account),
    'flickr': lambda args, account: read_flickr(args.source, account),
}


AnyRow = TypeVar('AnyRow', Row, ParquetRow)


class Sample(NamedTuple):
    """An image, by content or by file name, and the other members of its sample."""

    image: bytes | str
    members: dict[str, str | dict[str, list[str]]]
    location: str


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('format', choices=[*READERS, 'parquet', 'imagenet'])
    parser.add_argument('source', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='folder of the shards')
    parser.add_argument('--images', type=Path, help="folder of a table's images")
    parser.add_argument('--name', help="begins the shards' names; the source's name by default")
    parser.add_argument('--per-shard', type=int, default=10_000, help='samples per shard')
    parser.add_argument(
        '--image-column', help='the first of image, file_name, filepath and jpg by default'
    )
    parser.add_argument(
        '--caption-column', help='the first of captions, caption, texts and text by default'
    )
    parser.add_argument('--seed', type=int, default=0, help='samples are shuffled; -1 keeps order')
    parser.add_argument('--check', action='store_true', help='decode every image as training does')
    parser.add_argument(
        '--part',
        type=part_argument,
        metavar='K/N',
        help='pack one of N parts of the images, into a folder part-K-of-N',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace shards of this name')
    args = parser.parse_args(argv)
    check_source(parser, args)
    args.columns = Columns(args.image_column, args.caption_column)
    args.images = args.images or (args.source if args.source.is_dir() else args.source.parent)
    source = args.source.resolve()
    stem = source.name if source.is_dir() else source.stem
    if args.part:
        args.out /= f'part-{args.part.number}-of-{args.part.total}'
    args.name = args.name or re.sub(r'[^\w.+-]', '-', stem).lstrip('.+-') or 'shards'
    return args


def check_source(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where the paths cannot be right."""
    if not args.source.exists():
        parser.error(f'there is no {args.source}')
    if args.format in ('folder', 'imagenet') and not args.source.is_dir():
        parser.error(f'{args.source} is a file: {args.format} needs a folder')
    if args.format not in ('folder', 'imagenet', 'parquet') and args.source.is_dir():
        parser.error(f'{args.source} is a folder: {args.format} needs a file')
    if args.images and not args.images.is_dir():
        parser.error(f'there is no folder {args.images}')


def caption_members(captions: list[str]) -> dict[str, str | dict[str, list[str]]]:
    """Return the member that holds the captions: a text for one, JSON for several."""
    return {'txt': captions[0]} if len(captions) == 1 else {'json': {'captions': captions}}


def pair_samples(
    args: argparse.Namespace, store: PairStore, rows: Account, images: Account
) -> Iterator[Sample]:
    """Read the images of a table or folder, each with its captions."""
    store.add(own_rows(READERS[args.format](args, rows), args, rows))
    yield from stored_samples(store, images)


def own_rows(
    rows: Iterator[AnyRow], args: argparse.Namespace, account: Account
) -> Iterator[AnyRow]:
    """Yield the rows of the part that is made: all rows of an image are in one part."""
    index, count = args.part or (1, 1)
    for row in rows:
        name = plain_name(row.image) if isinstance(row.image, str) else row.location
        if zlib.crc32(os.fsencode(name)) % count == index - 1:
            yield row
        else:
            account.num_read, account.num_kept = account.num_read - 1, account.num_kept - 1


def stored_samples(store: PairStore, images: Account) -> Iterator[Sample]:
    """Read images with captions from the store."""
    for row in store.samples(images):
        yield Sample(row.image, caption_members(row.captions), row.location)


def parquet_samples(
    args: argparse.Namespace, store: PairStore, rows: Account, images: Account
) -> Iterator[Sample]:
    """Read rows that hold their image, shuffled in a buffer; then the images that rows name."""

    def with_content() -> Iterator[Sample]:
        table = ParquetTable(args.source, args.columns).rows(rows, args.seed)
        for row in own_rows(table, args, rows):
            if isinstance(row.image, bytes):
                images.num_read += 1
                yield Sample(row.image, caption_members(row.captions), row.location)
            else:
                store.add([Row(row.image, row.captions, row.location)])

    samples = with_content()
    if args.seed >= 0:
        samples = shuffle(BUFFER, initial=BUFFER, seed=args.seed)(samples)
    yield from samples
    yield from stored_samples(store, images)


def class_samples(
    args: argparse.Namespace, store: PairStore, files: Account, images: Account
) -> Iterator[Sample]:
    """Read images with their class number."""
    numbers = {name: str(number) for number, name in enumerate(class_names(args.source))}
    classes_with_images = set()

    def rows() -> Iterator[Row]:
        for image, name in read_classes(args.source, files):
            classes_with_images.add(name)
            yield Row(image, [numbers[name]], image)

    store.add(own_rows(rows(), args, files))
    for name in numbers.keys() - classes_with_images:
        files.note('classes have no image', name)
    for row in store.samples(images):
        yield Sample(row.image, {'cls': row.captions[0]}, row.location)


def open_samples(
    args: argparse.Namespace, staging: Path, rows: Account, images: Account
) -> Iterator[Sample]:
    """Read the samples of any format; their rows are sorted in a file."""
    store = PairStore(staging / 'pairs.sqlite', args.seed)
    makers = {'imagenet': class_samples, 'parquet': parquet_samples}
    try:
        yield from makers.get(args.format, pair_samples)(args, store, rows, images)
    finally:
        store.close()


def write_samples(
    shards: ShardSet, samples: Iterator[Sample], images: Account, args: argparse.Namespace
) -> int:
    """Write the samples whose image training can read; return the number of captions."""
    num_captions = 0
    prefix = f'{args.part.number}-' if args.part else ''
    for number, sample in enumerate(samples):
        image, location = sample.image, sample.location
        name = image if isinstance(image, str) else ''
        if name and name != location:
            location = f'{name}, {location}'
        try:
            data = read_image(image, args.images) if isinstance(image, str) else image
            member = image_member(data)
            if args.check:
                check_image(data, member)
        except BadSample as error:
            images.drop(str(error), location)
            continue
        suffix = Path(name).suffix.lower()[1:] if name else member
        if suffix.replace('jpeg', 'jpg') != member:
            images.note(f'are {member}, whatever their name says', location)
        # A dot ends the key, a folder in it would be part of the key: number the samples.
        shards.write(f'{prefix}{number:09d}', {member: data, **sample.members})
        images.num_kept += 1
        record = sample.members.get('json')
        num_captions += len(record['captions']) if isinstance(record, dict) else 1
    return num_captions


def class_names_file(args: argparse.Namespace) -> dict[str, str]:
    """Return ``classes.json``; refuse it if other shards in the folder have another one."""
    if args.format != 'imagenet':
        return {}
    text = json.dumps(class_names(args.source), indent=1) + '\n'
    file = args.out / CLASSES_FILE
    others = [shard for shard in read_sizes(args.out) if not shard.startswith(f'{args.name}-')]
    differs = file.is_file() and file.read_text(encoding='utf-8') != text
    if differs and (others or not args.overwrite):
        raise FileExistsError(f'{file} lists other classes: choose another folder for the shards.')
    return {CLASSES_FILE: text}


def convert(args: argparse.Namespace) -> None:
    """Read, write and print the account."""
    rows = Account('files' if args.format in ('folder', 'imagenet') else 'rows')
    images, extra = Account('images'), class_names_file(args)
    options = dict(per_shard=args.per_shard, overwrite=args.overwrite)
    with ShardSet(args.out, args.name, **options) as shards:
        samples = open_samples(args, shards.staging, rows, images)
        num_captions = write_samples(shards, samples, images, args)
        print('\n'.join([*rows.lines(), *images.lines()]))
        if not shards.sizes:
            raise ValueError(f'{args.source} gave no sample: check --images and the columns.')
        shards.finish(extra)
    contents = f'{num_captions:,} captions'
    if args.format == 'imagenet':
        contents = f'{len(class_names(args.source)):,} classes'
    print(
        f'{args.out / SIZES_FILE}: {images.num_kept:,} samples in {len(shards.sizes)} shards, '
        f'{contents}'
    )


@tool_main(errors=(*INPUT_ERRORS, sqlite3.Error))
def main(argv: Sequence[str] | None = None) -> None:
    """Pack the images and captions."""
    convert(parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
