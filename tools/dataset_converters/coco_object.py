r"""Turns COCO's annotations into the masks that COCOObjectDataset reads.

python tools/dataset_converters/coco_object.py \
    instances_val2017.json data/coco_object/annotations/val2017
python tools/dataset_converters/coco_object.py \
    stuffthingmaps/val2017 data/coco_object/annotations/val2017

From instances, or from the pixel maps of COCO-Stuff 164k (as published, or as MMSegmentation
converts them, *_labelTrainIds.png). Masks are 8-bit PNG files: 0 the background, 1 to 80 the
things in the order of their category ids. Where instances overlap the smaller one is in front;
regions marked as crowds lie behind all of them. After an interruption the same command continues:
existing masks are not drawn again, unless with --overwrite. The file .coco_object.json in the
folder records their origin; masks of another origin are refused. --check verifies a folder instead
of writing it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.coco_masks import NUM_THINGS, MaskMaker, mask_makers
from groupvit_mmseg.datasets.text_files import read_json

RECORD = '.coco_object.json'  # in the folder of the masks: their origin
Result = TypeVar('Result')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('annotations', type=Path, help='instances_*.json or pixel maps')
    parser.add_argument('out', type=Path, help='folder of the masks')
    parser.add_argument('--workers', type=int, default=1, help='processes; default: 1')
    parser.add_argument('--overwrite', action='store_true', help='draw masks that are there again')
    action = parser.add_mutually_exclusive_group()
    action.add_argument('--dry-run', action='store_true', help='count; write nothing')
    action.add_argument('--check', action='store_true', help='verify counts, sizes and labels')
    return parser.parse_args(argv)


def convert(
    name: str, make_mask: MaskMaker, out: Path, overwrite: bool, dry_run: bool
) -> np.ndarray:
    """Draw one mask, unless it is there; return the labels in it."""
    path = out / name
    if path.is_file() and not overwrite and not dry_run:
        mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if mask is not None and mask.ndim == 2:
            return np.unique(mask)
        raise ValueError(f'{path} is there and is no mask of labels: --overwrite draws it again.')
    mask = make_mask()
    if not dry_run:
        encoded = cv2.imencode('.png', mask)[1].tobytes()
        write_atomically(path, lambda stream: stream.write(encoded))
    return np.unique(mask)


def check(name: str, make_mask: MaskMaker, out: Path) -> str | None:
    """Describe what is wrong with one mask; None if nothing is."""
    mask = cv2.imread(str(out / name), cv2.IMREAD_UNCHANGED)
    if mask is None:
        return f'{name} is missing or cannot be read'
    if mask.ndim != 2 or mask.max() > NUM_THINGS:
        return f'{name} has other labels than 0 to {NUM_THINGS}'
    expected = make_mask()
    if mask.shape != expected.shape:
        return f'{name} is {mask.shape}, not {expected.shape} as its annotations'
    return None if (mask == expected).all() else f'{name} differs from its annotations'


def run_all(
    function: Callable[[str, MaskMaker], Result], makers: Mapping[str, MaskMaker], workers: int
) -> list[Result]:
    """Call a function for every mask, in this process or in several."""
    if workers <= 1:
        return collect(map(function, makers, makers.values()), len(makers))
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(function, makers, makers.values(), chunksize=16)
        return collect(results, len(makers))


def collect(results: Iterable[Result], total: int) -> list[Result]:
    """Make a list of results, and print the progress."""
    finished: list[Result] = []
    for result in results:
        finished.append(result)
        if len(finished) % 500 == 0:
            print(f'{len(finished)} of {total} masks', file=sys.stderr, flush=True)
    return finished


def run_check(makers: Mapping[str, MaskMaker], args: argparse.Namespace) -> int:
    """Print what is wrong with a folder of masks; return the exit status."""
    results = run_all(partial(check, out=args.out), makers, args.workers)
    problems = [problem for problem in results if problem]
    unknown = sorted({path.name for path in args.out.glob('*.png')} - set(makers))
    problems += [f'{name} belongs to no image' for name in unknown]
    for problem in problems[:10]:
        print(problem)
    print(f'{len(makers)} masks checked in {args.out}: {len(problems)} wrong')
    return int(bool(problems))


def check_folder(args: argparse.Namespace) -> None:
    """Refuse to draw masks into the folder of the pixel maps that they are made of."""
    if args.annotations.is_dir() and args.out.is_dir() and args.out.samefile(args.annotations):
        raise ValueError(
            f'The masks would replace what they are made of: {args.out}; name another folder.'
        )


def claim_folder(makers: Mapping[str, MaskMaker], args: argparse.Namespace) -> None:
    """Refuse a folder that holds masks of another origin; record the origin of its masks in it."""
    record = args.out / RECORD
    origin = dict(annotations=args.annotations.name, masks=len(makers))
    recorded = read_json(record) if record.is_file() else None
    mask = next((name for name in makers if (args.out / name).exists()), None)
    if mask is not None and recorded != origin and not args.overwrite:
        of = f'of {recorded["annotations"]}' if isinstance(recorded, dict) else 'of another origin'
        raise FileExistsError(
            f'{args.out} holds {mask} {of}: choose another folder, look at it with --check, or '
            'draw the masks again with --overwrite.'
        )
    if not args.dry_run:
        text = json.dumps(origin) + '\n'
        write_atomically(record, lambda stream: stream.write(text.encode()))


@tool_main()
def main(argv: Sequence[str] | None = None) -> int:
    """Write the masks, or check them; the exit status is 1 if a mask is wrong."""
    args = parse_args(argv)
    check_folder(args)
    makers = mask_makers(args.annotations)
    if args.check:
        return run_check(makers, args)
    claim_folder(makers, args)
    convert_one = partial(convert, out=args.out, overwrite=args.overwrite, dry_run=args.dry_run)
    labels = run_all(convert_one, makers, args.workers)
    empty = sum(of_mask.max() == 0 for of_mask in labels)
    classes = len(set(np.concatenate(labels).tolist()) - {0}) if labels else 0
    verb = 'would write' if args.dry_run else 'wrote'
    print(f'{verb} {len(labels)} masks to {args.out}: {classes} classes, {empty} without any thing')
    return 0


if __name__ == '__main__':
    sys.exit(main())
