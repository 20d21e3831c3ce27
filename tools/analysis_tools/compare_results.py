"""Compares two evaluations of the same images: is the second better, and where.

python tools/analysis_tools/compare_results.py FIRST SECOND --out comparison.md
python tools/analysis_tools/compare_results.py FIRST SECOND --page comparison.html --data-root data

FIRST and SECOND are folders that tools/evaluate.py wrote. Every set that both have is compared:
mIoU with 95 % confidence intervals by bootstrap over the images, their difference with its interval
and the p-value of a paired permutation test, the classes and the images that changed most.
--page writes one HTML file with pictures of these: image, truth, both predictions. It needs the
images, and evaluations with --measures predictions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.compare import (
    SetComparison,
    StoredResult,
    compare_results,
    read_stored,
)
from groupvit_mmseg.benchmark.comparison_page import (
    ChangedPicture,
    comparison_page,
    draw_change,
)
from groupvit_mmseg.benchmark.evaluation_protocol import Protocol
from groupvit_mmseg.benchmark.result_types import SetResult
from groupvit_mmseg.benchmark.run_set import build_dataset
from groupvit_mmseg.benchmark.sets import KNOWN_SETS, select_sets
from groupvit_mmseg.benchmark.tables import markdown_table
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('first', type=Path, help='folder of the evaluation to compare with')
    parser.add_argument('second', type=Path, help='folder of the other evaluation')
    parser.add_argument('--out', type=Path, metavar='FILE.md', help='file to write the page to')
    parser.add_argument(
        '--page', type=Path, metavar='FILE.html', help='page with pictures to write'
    )
    parser.add_argument(
        '--data-root', type=Path, default=Path('data'), help='folder of all sets (default: data)'
    )
    parser.add_argument(
        '--root',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='SET=FOLDER',
        help='folders of single sets elsewhere',
    )
    parser.add_argument(
        '--set-config',
        nargs='+',
        default=[],
        metavar='FILE.py',
        help='configs of sets of your own (default: own.py of FIRST, where it is)',
    )
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


def open_set(name: str, result: SetResult, args: argparse.Namespace) -> BaseDataset:
    """Return the data set of a result, to read images and masks.

    Raises:
        ValueError: If it is not known, or has other images.
    """
    own = args.first / 'own.py'
    files = [*args.set_config, *([str(own)] if own.is_file() else [])]
    by_name = {Path(file).stem: file for file in files}
    if name not in KNOWN_SETS and name not in by_name:
        raise ValueError(f'--page needs the config of {name}: name it with --set-config.')
    (benchmark,) = select_sets([by_name.get(name, name)])
    folder = args.root.get(name, benchmark.folder(args.data_root))
    fields = result['protocol']['fields']
    setting = Protocol('', '', short_side=fields['short_side'])  # the others read no file
    dataset = build_dataset(benchmark, folder, setting, configs=CONFIGS)
    if len(dataset) != result['images']['files']:
        raise ValueError(
            f'{folder} has {len(dataset)} images, the results are of {result["images"]["files"]}.'
        )
    return dataset


def draw_pictures(
    first: StoredResult, second: StoredResult, each: SetComparison, args: argparse.Namespace
) -> list[ChangedPicture]:
    """Draw the images that changed most."""
    dataset, pictures = open_set(each.name, first.result, args), []
    for change in each.changed:
        sample = dataset[change.number]['data_samples']
        image = load_image(sample.metainfo['img_path'])
        truth = sample.gt_sem_seg.data[0].numpy()
        pictures.append(draw_change(first, second, change, image, truth))
    return pictures


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print the page and write it."""
    args = parse_args(argv)
    if args.images < 0:
        raise ValueError(f'--images {args.images} must be at least 0.')
    for path in (args.out, args.page):
        check_output(path)
    init_default_scope('mmseg')
    pairs = [
        (read_stored(args.first, name), read_stored(args.second, name))
        for name in sets_of_both(args.first, args.second)
    ]
    options = dict(num_images=args.images, seed=args.seed)
    comparisons = [compare_results(*pair, **options) for pair in pairs]
    if args.page:
        both = zip(pairs, comparisons, strict=True)
        pictures = [draw_pictures(*pair, each, args) for pair, each in both]
        labels = (str(args.first), str(args.second))
        title = f'{labels[0]} and {labels[1]}'
        write_text(args.page, comparison_page(title, comparisons, pictures, labels))
    text = page(comparisons, args)
    print(text)
    if args.out:
        write_text(args.out, text)


if __name__ == '__main__':
    sys.exit(main())
