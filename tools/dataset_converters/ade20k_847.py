r"""Writes the masks of ADE-847 from the published ADE20K of 2021.

python tools/dataset_converters/ade20k_847.py data/ADE20K_2021_17_01

The folder holds index_ade20k.pkl and images/ADE/{training,validation} with ADE_*_seg.png beside
each photograph, as published. The names of the objects are those of the index. The classes are the
objects (no parts) that occur in both splits, in the order of the index: 847. Every other pixel is
ignored. Written are FOLDER/ade847/{masks/,classes.json,val.txt}; photographs stay where they are.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.checkpoints.plain_pickle import read_pickle
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.label_set import LabelMap, renumbered, write_label_set

INDEX, IMAGES = 'index_ade20k.pkl', 'images/ADE'
NUM_CLASSES = 847
UNNAMED = '-'  # of the index: an object without a name


class Index(NamedTuple):
    """The published index.

    Attributes:
        names (list[str]): Of the objects, several words separated by commas; number 1 is the first.
        files (list[str]): Photographs below ``images/ADE``.
        present (Tensor): Whether an object, not as a part, is in a photograph, ``(C, N)``.
    """

    names: list[str]
    files: list[str]
    present: Tensor


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('root', type=Path, help='the folder ADE20K_2021_17_01')
    parser.add_argument('--out', type=Path, help='folder of the masks; default: ROOT/ade847')
    parser.add_argument(
        '--classes',
        type=Path,
        help='text file of 847 names as the index has them, one per line, in the order of the '
        'labels; default: the objects of both splits',
    )
    parser.add_argument('--workers', type=int, default=1, help='processes; default: 1')
    parser.add_argument('--overwrite', action='store_true', help='write again')
    return parser.parse_args(argv)


def read_index(path: Path) -> Index:
    """Read the index.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}: ADE20K of 2021 has this index.')
    content = read_pickle(path)
    fields = ('filename', 'folder', 'objectnames', 'objectPresence', 'objectIsPart')
    missing = [key for key in fields if not isinstance(content, dict) or key not in content]
    if missing:
        raise ValueError(f'{path} lacks {", ".join(missing)}: it is not the index of 2021.')
    assert isinstance(content, dict)
    filenames, folders, names, counts, parts = (content[key] for key in fields)
    size = (len(names), len(filenames))
    for key, table in zip(fields[3:], (counts, parts), strict=True):
        if not isinstance(table, Tensor) or tuple(table.shape) != size:
            raise ValueError(f'{key} of {path} is no table of {size[0]} objects x {size[1]} files.')
    if len(folders) != len(filenames):
        raise ValueError(f'{path} has {len(folders)} folders for {len(filenames)} files.')
    files = [_below_images(f'{folder}/{name}', path) for folder, name in zip(folders, filenames)]
    return Index([str(name) for name in names], files, counts > parts)


def _below_images(path: str, index: Path) -> str:
    """Return the path of a photograph below ``images/ADE``; refuse one that leads elsewhere."""
    _, marker, rest = path.replace('\\', '/').partition(f'{IMAGES}/')
    if not marker or '..' in rest.split('/') or not rest.endswith('.jpg'):
        raise ValueError(f'{index} lists {path}, which is no .jpg below {IMAGES}.')
    return rest


def select_classes(index: Index) -> list[int]:
    """Return the numbers of the objects that occur in both splits.

    Raises:
        ValueError: If they are not 847.
    """
    both = None
    for split in ('training/', 'validation/'):
        of_split = [file.startswith(split) for file in index.files]
        present = index.present[:, of_split].any(dim=1)
        both = present if both is None else both & present
    assert both is not None
    numbers = [n for n, is_there in enumerate(both.tolist(), start=1) if is_there]
    numbers = [number for number in numbers if index.names[number - 1] != UNNAMED]
    if len(numbers) != NUM_CLASSES:
        raise ValueError(
            f'{len(numbers)} objects occur in both splits, not {NUM_CLASSES}: name the classes of '
            'the set with --classes.'
        )
    return numbers


def named_classes(path: Path, index: Index) -> list[int]:
    """Return the numbers of the objects that a text file names.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a name is not in the index or named twice, or they are not 847.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no list of classes {path}.')
    lines = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    lines = [line for line in lines if line]
    numbers = {name: number for number, name in enumerate(index.names, start=1)}
    unknown = [line for line in lines if line not in numbers]
    if unknown:
        raise ValueError(
            f'{path} names {unknown[0]!r}, which is no object of the index ({len(unknown)} are '
            'not): copy the names with all their words.'
        )
    if len(set(lines)) != len(lines) or len(lines) != NUM_CLASSES:
        raise ValueError(
            f'{path} has {len(lines)} names, {len(set(lines))} different ones, not {NUM_CLASSES}.'
        )
    return [numbers[line] for line in lines]


def read_objects(path: Path) -> NDArray[np.uint16]:
    """Read the number of each pixel's object, ``(H, W)``: red // 10 x 256 + green.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no image with colours.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}: unpack the whole set.')
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f'{path} is no image of red, green and blue: take the published file.')
    red, green = (pixels[..., channel].astype(np.uint16) for channel in (2, 1))
    return (red // 10 * 256 + green).astype(np.uint16)


def make_mask(path: Path, classes: Sequence[int], count: int) -> LabelMap:
    """Return the labels of one photograph."""
    numbers = read_objects(path)
    try:
        return renumbered(numbers, classes, count)
    except ValueError as error:
        raise ValueError(f'{path} {error}: its index is another.') from error


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Write masks, class file and list."""
    args = parse_args(argv)
    index = read_index(args.root / INDEX)
    classes = named_classes(args.classes, index) if args.classes else select_classes(index)
    masks = {}
    for file in sorted(file for file in index.files if file.startswith('validation/')):
        path = args.root / IMAGES / file.replace('.jpg', '_seg.png')
        name = file.removeprefix('validation/').removesuffix('.jpg')
        masks[name] = partial(make_mask, path, classes, len(index.names))
    words = [[word.strip() for word in index.names[n - 1].split(',')] for n in classes]
    synonyms = [[word for word in of_class if word] for of_class in words]
    out = args.out or args.root / 'ade847'
    written = write_label_set(out, synonyms, masks, workers=args.workers, overwrite=args.overwrite)
    print(
        f'{out}: {written.num_masks} masks, {len(classes)} classes, {written.num_classes} of them '
        f'in the masks, {written.num_ignored} masks without any'
    )


if __name__ == '__main__':
    sys.exit(main())
