"""Segments an image with words: draws its groups, and the class of each pixel.

python demo/image_demo.py IMAGE CHECKPOINT --classes "a cat, a dog" --out FILE.png
python demo/image_demo.py IMAGE CONFIG CHECKPOINT --classes "a cat, a dog" --out FILE.png

CHECKPOINT may be the name of released weights, groupvit-gcc-yfcc. CONFIG is needed for models whose
weights do not determine it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.inference import GroupViTInferencer, InferenceResult, load_image
from groupvit_mmseg.output_paths import check_figure, check_output
from groupvit_mmseg.text.vocabulary import parse_class_names
from groupvit_mmseg.visualization import (
    RGBArray,
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
    percent,
    save_figure,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('image', help='file of any image format')
    parser.add_argument('config', nargs='?', help='segmentation or pretraining config')
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
    parser.add_argument(
        '--thresholds', help='thresholds of single classes in [0, 1]: "cat=0.6, dog=0.4"'
    )
    parser.add_argument('--device', default='cpu', help='device that computes (default: cpu)')
    return parser.parse_intermixed_args(argv)  # an optional argument in the middle needs it


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
    if args.config is not None and not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config at {args.config}.')
    check_source(args.checkpoint)
    check_figure(args.out)
    check_output(args.out, reads=[args.image, args.config or '', args.checkpoint])
    inferencer = GroupViTInferencer.from_pretrained(
        args.checkpoint,
        config=args.config,
        class_names=None if args.classes is None else parse_class_names(args.classes),
        bg_thresh=args.bg_thresh,
        class_thresholds=args.thresholds,
        device=args.device,
    )
    return image, inferencer


def print_shares(result: InferenceResult) -> None:
    """Print the share of every class that occurs, largest first."""
    for name, share in result.shares.items():
        print(f'{name}: {percent(share, 1)}')


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
