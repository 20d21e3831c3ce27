"""Draws the segmentation of an image: its groups, and the class of each group.

python demo/image_demo.py IMAGE CONFIG CHECKPOINT --classes "a cat, a dog" --out FILE.png
"""

import argparse
import pickle
import sys
from pathlib import Path

import numpy as np

from groupvit_mmseg.inference import GroupViTInferencer, load_image
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.vocabulary import parse_class_names
from groupvit_mmseg.visualization import (
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
    save_figure,
)

# Raised by a wrong image, config, checkpoint, class name or output path.
ERRORS = (ImportError, KeyError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image', help='image file')
    parser.add_argument('config', help='segmentation or pretraining config')
    parser.add_argument('checkpoint', help='checkpoint of a pretrainer or a segmentor')
    parser.add_argument('--classes', help='"a cat, a dog"; the classes of the config otherwise')
    parser.add_argument('--out', required=True, metavar='FILE.png')
    parser.add_argument(
        '--bg-thresh',
        type=float,
        help='in [0, 1]: below it a pixel is background; that of the config otherwise',
    )
    parser.add_argument('--device', default='cpu')
    return parser.parse_args(argv)


def draw(image, result):
    """Draw a panel of image, groups, and labels with their shares."""
    image, groups, labels = (
        enlarge(array, 240) for array in (image, result.group_map, result.label_map)
    )
    labels_figure = draw_labels(image, labels, result.class_names)
    strip = legend(labels, result.class_names, width=image.shape[1])
    titles = ('image', f'{len(np.unique(groups))} groups', 'labels')
    return panel(
        [[image, draw_groups(image, groups), np.concatenate([labels_figure, strip])]], titles
    )


def prepare(args):
    """Read the image, build the inferencer."""
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


def print_shares(result):
    """Print the share of every class that occurs, the largest first."""
    shares = np.bincount(result.label_map.ravel(), minlength=len(result.class_names))
    for index in np.argsort(-shares, kind='stable'):
        if shares[index]:
            print(f'{result.class_names[index]}: {shares[index] / result.label_map.size:.1%}')


def main(argv=None):
    args = parse_args(argv)
    try:
        image, inferencer = prepare(args)
        result = inferencer(args.image)
        save_figure(draw(image, result), args.out)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print_shares(result)
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
