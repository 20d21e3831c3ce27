"""Writes configs of the sets of the MESS benchmark, from the package that registers them.

python tools/dataset_converters/mess_sets.py --data FOLDER --out DIR

Needs `pip install mess-benchmark iopath`, and the sets as its preparation scripts write them. Each
set whose files are below --data gets a config for tools/evaluate.py --sets (mess_NAME.py) and a
list of its images; the others are printed as missing. Class names and ignored labels are those of
the package. A first class called background has a threshold here, where MESS prompts the word.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from pprint import pformat
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.output_paths import check_folder

SPLIT = '_sem_seg_'


class RegisteredSet(NamedTuple):
    """A set of the package.

    Attributes:
        name (str): As it is registered, with its split.
        classes (tuple[str, ...]): Names by label.
        ignored (int): Label that does not count.
        pairs (list[tuple[Path, Path]]): Images and masks; empty if the files are missing.
    """

    name: str
    classes: tuple[str, ...]
    ignored: int
    pairs: list[tuple[Path, Path]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='folder of all prepared sets'
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    return parser.parse_args(argv)


def registered_sets(data: Path) -> Iterator[RegisteredSet]:
    """Yield all sets that the package registers.

    Raises:
        ImportError: If the package is not installed.
    """
    os.environ['DETECTRON2_DATASETS'] = str(data.resolve())  # read when it is imported
    try:
        import mess.datasets  # noqa: F401
        from mess.utils.catalog import DatasetCatalog, MetadataCatalog
    except ImportError as error:
        raise ImportError(
            f'The MESS benchmark cannot be imported ({error}): pip install mess-benchmark iopath.'
        ) from error
    for name in DatasetCatalog.list():
        meta = MetadataCatalog.get(name)
        try:
            files = DatasetCatalog.get(name)
        except (OSError, AssertionError):  # how its loader says that a folder is missing or empty
            files = []
        pairs = [(Path(one['file_name']), Path(one['sem_seg_file_name'])) for one in files]
        yield RegisteredSet(name, tuple(meta.stuff_classes), int(meta.ignore_label), pairs)


def write_config(one: RegisteredSet, out: Path) -> Path:
    """Write the config and the list of a set; return the config.

    Raises:
        ValueError: If images and masks do not have the same names.
    """
    (image, mask), (image_suffix, mask_suffix) = one.pairs[0], suffixes(*one.pairs[0])
    names = [path.name.removesuffix(image_suffix) for path, _ in one.pairs]
    if [f'{name}{mask_suffix}' for name in names] != [path.name for _, path in one.pairs]:
        raise ValueError(f'{one.name}: images and masks have different names.')
    listing = out / f'mess_{short_name(one.name)}.txt'
    write_text(listing, ''.join(f'{name}\n' for name in names))
    dataset = dict(
        type='BaseSegDataset',
        metainfo=dict(classes=list(one.classes)),
        data_root=str(image.parent),
        data_prefix=dict(img_path='', seg_map_path=str(mask.parent)),
        ann_file=str(listing.resolve()),
        img_suffix=image_suffix,
        seg_map_suffix=mask_suffix,
        ignore_index=one.ignored,
    )
    path = listing.with_suffix('.py')
    text = pformat(dataset, sort_dicts=False)
    write_text(path, f'# {one.name} of MESS.\ntest_dataloader = dict(dataset={text})\n')
    return path


def suffixes(image: Path, mask: Path) -> tuple[str, str]:
    """Return what the names of an image and of its mask have after the part that is the same."""
    if image.stem == mask.stem:
        return image.suffix, mask.suffix
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(image.name, mask.name))
    count = len(list(same))
    return image.name[count:], mask.name[count:]


def short_name(name: str) -> str:
    """Return the name of a set with its split.

    Example: ``chase_db1_sem_seg_test`` becomes ``chase_db1_test``.
    """
    return name.replace(SPLIT, '_')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Write the configs of the sets that are there."""
    args = parse_args(argv)
    check_folder(args.out)
    sets = list(registered_sets(args.data))
    for one in sets:
        if one.pairs:
            path = write_config(one, args.out)
            print(f'{path}: {len(one.pairs)} images, {len(one.classes)} classes')
    missing = [one.name for one in sets if not one.pairs]
    if missing:
        print(f'Not below {args.data}: {", ".join(missing)}.')
    if len(missing) == len(sets):
        raise FileNotFoundError(f'{args.data} holds none of the {len(sets)} sets of MESS.')


if __name__ == '__main__':
    sys.exit(main())
