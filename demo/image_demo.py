"""Segments an image with words: draws its groups, and the class of each pixel.

python demo/image_demo.py IMAGE CONFIG CHECKPOINT --classes "a cat, a dog" --out FILE.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.inference import GroupViTInferencer, InferenceResult, load_image
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.vocabulary import parse_class_names
from groupvit_mmseg.visualization import (
    RGBArray,
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
    save_figure,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('image', help='file of any image format')
    parser.add_argument('config', help='segmentation or pretraining config')
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--classes', help='words such as "a cat, a dog" (default: the classes of the config)'
    )
    parser.add_argument('--out', required=True, metavar='FILE.png', help='file to draw')
    parser.add_argument(
        '--bg-thresh',
        type=float,
        help='background threshold in [0, 1] (default: that of the config)',
    )
    parser.add_argument('--device', default='cpu', help='device that computes (default: cpu)')
    return parser.parse_args(argv)


def draw(image: RGBArray, result: InferenceResult) -> RGBArray:
    """Draw the panel: image, groups, labels."""
    image, groups, labels = (
        enlarge(array, 240) for array in (image, result.group_map, result.label_map)
    )
    label_figure = draw_labels(image, labels, result.class_names)
    strip = legend(labels, result.class_names, width=image.shape[1])
    columns = [image, draw_groups(image, groups), np.concatenate([label_figure, strip])]
    titles = ('image', f'{len(np.unique(groups))} groups', 'labels')
    return panel([columns], titles)


def prepare(args: argparse.Namespace) -> tuple[RGBArray, GroupViTInferencer]:
    """Read the image and load the model."""
    image = load_image(args.image)
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config at {args.config}.')
    check_output(args.out, reads=[args.image, args.config, args.checkpoint])
    inferencer = GroupViTInferencer(
        args.config,
        args.checkpoint,
        class_names=None if args.classes is None else parse_class_names(args.classes),
        bg_thresh=args.bg_thresh,
        device=args.device,
    )
    return image, inferencer


def print_shares(result: InferenceResult) -> None:
    """Print the share of every class that occurs, largest first."""
    shares = np.bincount(result.label_map.ravel(), minlength=len(result.class_names))
    for index in np.argsort(-shares, kind='stable'):
        if shares[index]:
            print(f'{result.class_names[index]}: {shares[index] / result.label_map.size:.1%}')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment, draw and print the shares."""
    args = parse_args(argv)
    image, inferencer = prepare(args)
    result = inferencer(args.image)
    save_figure(draw(image, result), args.out)
    print_shares(result)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
