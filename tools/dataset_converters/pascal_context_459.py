r"""Writes the masks of Pascal Context-459 from the published label maps.

python tools/dataset_converters/pascal_context_459.py \
    trainval labels.txt data/VOCdevkit/VOC2010/context459 \
    --list data/VOCdevkit/VOC2010/ImageSets/SegmentationContext/val.txt

trainval holds a .mat file with LabelMap per image, 1 to 459 and 0 for pixels without a label;
labels.txt names them, "1: accordion" on the first line. In the masks labels count from 0, and
pixels without a label are ignored. Written are masks/, classes.json and val.txt. It needs SciPy.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.label_maps import as_labels
from groupvit_mmseg.datasets.label_set import LabelMap, renumbered, write_label_set
from groupvit_mmseg.datasets.listing import check_list_file

NUM_CLASSES = 459
VARIABLE = 'LabelMap'
_LINE = re.compile(r'(\d+)\s*:\s*(\S.*)')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('maps', type=Path, help='folder of the .mat files')
    parser.add_argument('labels', type=Path, help='labels.txt, as published')
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument(
        '--list', type=Path, required=True, help='names of the images to evaluate, one per line'
    )
    parser.add_argument('--workers', type=int, default=1, help='processes; default: 1')
    parser.add_argument('--overwrite', action='store_true', help='write again')
    return parser.parse_args(argv)


def read_names(path: Path) -> list[str]:
    """Read the names of the labels 1 to 459.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is no number and name in order, or they are not 459.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}: it is published beside the label maps.')
    names: list[str] = []
    lines = path.read_text(encoding='utf-8-sig').splitlines()
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None or int(match[1]) != len(names) + 1:
            raise ValueError(
                f'Line {line_number} of {path} is {line!r}, not "{len(names) + 1}: NAME".'
            )
        names.append(match[2].strip())
    if len(names) != NUM_CLASSES:
        raise ValueError(
            f'{path} names {len(names)} labels, not {NUM_CLASSES}: the files of 33 and 59 labels '
            'are other sets.'
        )
    return names


def make_mask(path: Path) -> LabelMap:
    """Read one label map; labels count from 0.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no map of the labels 0 to 459.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise FileNotFoundError(f'There is no label map {path}: unpack the whole set.')
    try:
        content = loadmat(str(path), variable_names=[VARIABLE])
    # SciPy raises many types on damaged or newer files.
    except Exception as error:
        raise ValueError(f'{path} is no label map of Matlab ({error}).') from error
    label_map = content.get(VARIABLE)
    if (
        not isinstance(label_map, np.ndarray)
        or label_map.ndim != 2
        or label_map.dtype.kind not in (*'uif',)
    ):
        raise ValueError(f'{path} holds no {VARIABLE} of rows and columns.')
    numbers = as_labels(label_map, str(path), np.uint16)
    try:
        return renumbered(numbers, range(1, NUM_CLASSES + 1), NUM_CLASSES)
    except ValueError as error:
        raise ValueError(f'{path} {error}.') from error


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Write masks, class file and list."""
    args = parse_args(argv)
    if find_spec('scipy') is None:
        raise ImportError('Label maps of Matlab need SciPy: pip install scipy.')
    names = read_names(args.labels)
    check_list_file(args.list, '.jpg')
    images = args.list.read_text(encoding='utf-8').splitlines()
    masks = {name.strip(): partial(make_mask, args.maps / f'{name.strip()}.mat') for name in images}
    written = write_label_set(
        args.out,
        [[name] for name in names],
        masks,
        workers=args.workers,
        overwrite=args.overwrite,
    )
    print(
        f'{args.out}: {written.num_masks} masks, {len(names)} classes, {written.num_classes} of '
        f'them in the masks, {written.num_ignored} masks without any'
    )


if __name__ == '__main__':
    sys.exit(main())
