"""Compares two evaluations of the same images: is the second better, and where.

python tools/analysis_tools/compare_results.py FIRST SECOND --out comparison.md

FIRST and SECOND are folders that tools/evaluate.py wrote. Every set that both have is compared:
mIoU with 95 % confidence intervals by bootstrap over the images, their difference with its interval
and the p-value of a paired permutation test, the classes and the images that changed most.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.compare import SetComparison, compare_results, read_stored
from groupvit_mmseg.benchmark.tables import markdown_table
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.output_paths import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('first', type=Path, help='folder of the evaluation to compare with')
    parser.add_argument('second', type=Path, help='folder of the other evaluation')
    parser.add_argument('--out', type=Path, metavar='FILE.md', help='file to write the page to')
    parser.add_argument(
        '--images', type=int, default=10, metavar='N', help='images to list each way (default: 10)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the resampling (default: 0)')
    return parser.parse_args(argv)


def sets_of_both(first: Path, second: Path) -> list[str]:
    """Return the names of the sets that both folders have a segmentation of.

    Raises:
        FileNotFoundError: If there is none.
    """
    for folder in (first, second):
        if not folder.is_dir():
            raise FileNotFoundError(f'There is no folder {folder} of an evaluation.')
    names = [{path.stem for path in folder.glob('*.json')} for folder in (first, second)]
    both = sorted(names[0] & names[1] - {'imagenet_7', 'imagenet_80'})
    if not both:
        raise FileNotFoundError(
            f'{first} and {second} have no set in common: evaluate the same sets into both.'
        )
    return both


def page(comparisons: Sequence[SetComparison], args: argparse.Namespace) -> str:
    """Return the page in Markdown."""
    rows = [
        {
            'set': each.name,
            str(args.first): score_text(each, 0),
            str(args.second): score_text(each, 1),
            'difference': f'{each.comparison.difference:+.2f} '
            f'({each.comparison.interval.low:+.2f} to {each.comparison.interval.high:+.2f})',
            'p': f'{each.comparison.p_value:.4f}',
        }
        for each in comparisons
    ]
    note = (
        'mIoU in percent with 95 % intervals by bootstrap over the images. p: share of random '
        'exchanges of the two results, image by image, that differ by as much.'
    )
    parts = [markdown_table(rows, [note])]
    for each in comparisons:
        parts += [f'## {each.name}\n', markdown_table(list(class_rows(each)))]
        if each.changed:
            parts.append(markdown_table(list(image_rows(each))))
    return '\n'.join(parts)


def score_text(each: SetComparison, index: int) -> str:
    """Return a score with its interval."""
    low, high = each.intervals[index]
    return f'{each.scores[index]:.2f} ({low:.2f} to {high:.2f})'


def class_rows(each: SetComparison) -> Iterator[dict[str, str]]:
    """Yield a row per class, those that lost most first."""
    both = {k: (a, b) for k, (a, b) in each.class_iou.items() if a is not None and b is not None}
    for name, (first, second) in sorted(both.items(), key=lambda item: item[1][1] - item[1][0]):
        yield {
            'class': name,
            'first': f'{first:.2f}',
            'second': f'{second:.2f}',
            'change': f'{second - first:+.2f}',
        }


def image_rows(each: SetComparison) -> Iterator[dict[str, str]]:
    """Yield a row per image that changed most."""
    for image in each.changed:
        yield {
            'image': image.image,
            'first': f'{image.first:.2f}',
            'second': f'{image.second:.2f}',
            'change': f'{image.second - image.first:+.2f}',
        }


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print the page and write it."""
    args = parse_args(argv)
    if args.images < 0:
        raise ValueError(f'--images {args.images} must be at least 0.')
    check_output(args.out)
    comparisons = [
        compare_results(
            read_stored(args.first, name),
            read_stored(args.second, name),
            num_images=args.images,
            seed=args.seed,
        )
        for name in sets_of_both(args.first, args.second)
    ]
    text = page(comparisons, args)
    print(text)
    if args.out:
        write_text(args.out, text)


if __name__ == '__main__':
    sys.exit(main())
