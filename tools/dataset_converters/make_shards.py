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
counted. The shards appear when all are complete. A folder with shards of the same name is refused;
--overwrite replaces those that its sizes.json lists.

Any number of processes and parts gives the same shards, byte by byte. For the jobs of an array:
--part K/N --parts FOLDER in each, then --parts FOLDER; every job reads the table, and packs the
images of its part into FOLDER.
"""

import argparse
import functools
import hashlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.command_line import INPUT_ERRORS, tool_main, tool_parser
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_annotations import read_coco, read_flickr
from groupvit_mmseg.datasets.caption_folders import class_names, read_classes, read_folder
from groupvit_mmseg.datasets.caption_tables import Columns, Row, read_delimited, read_json_lines
from groupvit_mmseg.datasets.pair_packing import (
    PackedUnit,
    Packing,
    image_units,
    pack_unit,
    row_group_units,
)
from groupvit_mmseg.datasets.pair_store import PairStore
from groupvit_mmseg.datasets.parquet_tables import ParquetTable, RowGroup
from groupvit_mmseg.datasets.shard_passes import (
    ShardPass,
    add_pass_arguments,
    check_parts,
    positive,
    processes_of,
)
from groupvit_mmseg.datasets.shard_sizes import SIZES_FILE, read_sizes
from groupvit_mmseg.datasets.shard_writing import ShardSet
from groupvit_mmseg.datasets.staging import staging_folder

CLASSES_FILE = 'classes.json'
READERS: dict[str, Callable[[argparse.Namespace, Account], Iterator[Row]]] = {
    'folder': lambda args, account: read_folder(args.source, account),
    'csv': lambda args, account: read_delimited(args.source, ',', args.columns, account),
    'tsv': lambda args, account: read_delimited(args.source, '\t', args.columns, account),
    'jsonl': lambda args, account: read_json_lines(args.source, args.columns, account),
    'coco': lambda args, account: read_coco(args.source, account),
    'flickr': lambda args, account: read_flickr(args.source, account),
}


class Plan(NamedTuple):
    """Units of the conversion, how they are packed, and a hash of the rows."""

    units: list[str]
    packing: Packing
    digest: str


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('format', choices=[*READERS, 'parquet', 'imagenet'])
    parser.add_argument('source', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='folder of the shards')
    parser.add_argument('--images', type=Path, help="folder of a table's images")
    parser.add_argument('--name', help="begins the shards' names; the source's name by default")
    parser.add_argument(
        '--per-shard',
        type=positive,
        default=10_000,
        help='images per shard; it has fewer samples where some are dropped',
    )
    parser.add_argument(
        '--image-column', help='the first of image, file_name, filepath and jpg by default'
    )
    parser.add_argument(
        '--caption-column', help='the first of captions, caption, texts and text by default'
    )
    parser.add_argument('--seed', type=int, default=0, help='samples are shuffled; -1 keeps order')
    parser.add_argument('--check', action='store_true', help='decode every image as training does')
    add_pass_arguments(parser)
    parser.add_argument('--overwrite', action='store_true', help='replace shards of this name')
    args = parser.parse_args(argv)
    check_source(parser, args)
    args.columns = Columns(args.image_column, args.caption_column)
    args.images = args.images or (args.source if args.source.is_dir() else args.source.parent)
    source = args.source.resolve()
    stem = source.name if source.is_dir() else source.stem
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


def class_rows(source: Path, files: Account) -> Iterator[Row]:
    """Read images with their class number as the caption."""
    numbers = {name: str(number) for number, name in enumerate(class_names(source))}
    classes_with_images = set()
    for image, name in read_classes(source, files):
        classes_with_images.add(name)
        yield Row(image, [numbers[name]], image)
    for name in sorted(numbers.keys() - classes_with_images):
        files.note('classes have no image', name)


def named_rows(table: ParquetTable, groups: Sequence[RowGroup], rows: Account) -> Iterator[Row]:
    """Read the rows of Parquet that name their image."""
    for group in groups:
        for row in table.group_rows(group, rows):
            if isinstance(row.image, str):
                yield Row(row.image, row.captions, row.location)


def read_units(args: argparse.Namespace, store: PairStore, rows: Account) -> list[str]:
    """Read the table into the store; return the units of its images."""
    groups: list[RowGroup] = []
    if args.format == 'parquet':
        table = ParquetTable(args.source, args.columns)
        groups = table.groups(args.seed)
        named = [group for group in groups if table.names_images(group)]
        store.add(named_rows(table, named, rows))
        groups = [group for group in groups if group not in named]
    elif args.format == 'imagenet':
        store.add(class_rows(args.source, rows))
    else:
        store.add(READERS[args.format](args, rows))
    number = sum(group.rows for group in groups)
    return [
        *row_group_units(groups, args.per_shard),
        *image_units(store.arrange(), args.per_shard, number),
    ]


def make_plan(args: argparse.Namespace, folder: Path, staging: Path, rows: Account) -> Plan:
    """Read the table, which is sorted in a file, and divide the images into units.

    Args:
        args (argparse.Namespace): The command line.
        folder (Path): Where the units are packed.
        staging (Path): Folder of the file, which the caller removes.
        rows (Account): Counts the rows that hold no image themselves.

    Returns:
        Plan: The plan.
    """
    file = staging / 'pairs.sqlite'
    with closing(PairStore(file, args.seed)) as store:
        units, digest = read_units(args, store, rows), store.digest
    packing = Packing(
        folder='',
        store=str(file),
        images=str(args.images.resolve()),
        per_shard=args.per_shard,
        seed=args.seed,
        check=args.check,
        columns=args.columns,
        classes=args.format == 'imagenet',
    )
    if args.parts:  # other tables, and other options, have a folder of their own
        folder /= hashlib.sha256(f'{digest} {packing._replace(store="")}'.encode()).hexdigest()[:12]
        folder.mkdir(exist_ok=True)
    return Plan(units, packing._replace(folder=str(folder)), digest)


def packing_pass(args: argparse.Namespace, plan: Plan) -> ShardPass[PackedUnit]:
    """Return the pass that packs the units."""
    packing = plan.packing._replace(folder='', store='')  # the job's own
    options = {'digest': plan.digest, **packing._asdict()}
    work = functools.partial(pack_unit, packing=plan.packing)
    return ShardPass('make', plan.units, work, options, processes_of(args))


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


def pack_part(args: argparse.Namespace) -> None:
    """Pack the images of one part into the folder of the parts."""
    args.parts.mkdir(parents=True, exist_ok=True)
    with staging_folder(args.parts, '.plan-') as staging:
        plan = make_plan(args, args.parts, staging, Account('rows'))
        list(packing_pass(args, plan).run(args.part, args.parts))


def convert(args: argparse.Namespace) -> None:
    """Pack all images, or merge the parts, and print the account."""
    rows = Account('files' if args.format in ('folder', 'imagenet') else 'rows')
    images, extra, num_captions = Account('images'), class_names_file(args), 0
    with ShardSet(args.out, args.name, overwrite=args.overwrite) as shards:
        plan = make_plan(args, args.parts or shards.staging, shards.staging, rows)
        for _, unit in packing_pass(args, plan).run(None, args.parts):
            rows.add(unit['rows'])
            images.add(unit['images'])
            num_captions += unit['captions']
            for tar, samples in unit['tars'].items():
                shards.add(Path(plan.packing.folder, tar), samples)
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
    args = parse_args(argv)
    check_parts(args)
    if args.part:
        pack_part(args)
    else:
        convert(args)


if __name__ == '__main__':
    sys.exit(main())
