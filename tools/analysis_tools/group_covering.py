"""Compares the groups of a model with segmentations that people drew, without class names.

python tools/analysis_tools/group_covering.py CHECKPOINT --data BSDS500/data --out covering.json

The folder has BSDS500's layout: images/SPLIT/NAME.jpg and groundTruth/SPLIT/NAME.mat with several
annotators. Printed and written: covering, probabilistic Rand index and variation of information,
means over all images, and those of two segmentations without a model: the image as one region, and
squares as many as groups.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np

from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.benchmark.tables import markdown_table
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.evaluation.covering import (
    CoveringScores,
    Regions,
    covering_scores,
    mean_scores,
    read_annotations,
)
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.output_paths import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--data', type=Path, required=True, metavar='DIR', help='folder of images and groundTruth'
    )
    parser.add_argument('--split', default='test', help='train, val or test (default: test)')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='file to write')
    parser.add_argument('--limit', type=int, metavar='N', help='the first N images only')
    add_model_config_argument(parser)
    add_device_argument(parser)
    return parser.parse_args(argv)


def image_files(data: Path, split: str) -> list[tuple[Path, Path]]:
    """Return the images and their annotations, by name.

    Raises:
        FileNotFoundError: If there are none, or an image has no annotation.
    """
    images = sorted((data / 'images' / split).glob('*.jpg'))
    if not images:
        raise FileNotFoundError(f'There is no image in {data}/images/{split}/*.jpg.')
    pairs = [(path, data / 'groundTruth' / split / f'{path.stem}.mat') for path in images]
    missing = [str(mat) for _, mat in pairs if not mat.is_file()]
    if missing:
        raise FileNotFoundError(f'There is no {missing[0]} ({len(missing)} are missing).')
    return pairs


def squares(shape: tuple[int, int], count: int) -> Regions:
    """Return a grid of about ``count`` regions ``(H, W)``."""
    side = max(1, round(count**0.5))
    rows, columns = (np.arange(length) * side // length for length in shape)
    return rows[:, None] * side + columns[None]


def measure(
    inferencer: GroupViTInferencer, pairs: Sequence[tuple[Path, Path]]
) -> Iterator[dict[str, CoveringScores]]:
    """Yield the scores of each image, by the name of the segmentation."""
    for image, annotation in pairs:
        groups = inferencer(str(image)).group_map
        annotations = read_annotations(annotation)
        segmentations = {
            'groups': groups,
            'one region': np.zeros_like(groups),
            'squares': squares(groups.shape, len(np.unique(groups))),
        }
        yield {name: covering_scores(each, annotations) for name, each in segmentations.items()}


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table and write it."""
    args = parse_args(argv)
    if args.limit is not None and args.limit < 1:
        raise ValueError(f'--limit {args.limit} must be at least 1.')
    check_output(args.out, reads=[args.checkpoint, args.config])
    pairs = image_files(args.data, args.split)[: args.limit]
    inferencer = GroupViTInferencer(
        args.config, args.checkpoint, class_names=['thing'], device=args.device
    )
    inferencer.set_options(precision='fp32')  # the same on every machine
    images = list(measure(inferencer, pairs))
    scores = {name: mean_scores([image[name] for image in images]) for name in images[0]}
    rows = [
        {'segmentation': name, **{key: f'{value:.2f}' for key, value in each._asdict().items()}}
        for name, each in scores.items()
    ]
    print(markdown_table(rows, [f'{len(images)} images of {args.data}, {args.split}.']))
    if args.out:
        content = dict(
            scores={name: each._asdict() for name, each in scores.items()},
            images=len(images),
            split=args.split,
            checkpoint=describe_checkpoint(args.checkpoint),
            versions=versions(),
        )
        write_json(content, args.out)


if __name__ == '__main__':
    sys.exit(main())
