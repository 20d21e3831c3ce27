"""Draws images, their groups and their words in one figure, a column for each image.

python tools/analysis_tools/draw_panel.py CHECKPOINT --config CONFIG --images *.jpg --out panel.png

The words are those of the config; --cfg-options changes it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import cv2
import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_config_options_argument,
    add_device_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.config_files import merge_options, read_config
from groupvit_mmseg.inference import GroupViTInferencer, load_image, segmentation_config
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.visualization import draw_groups, draw_labels, panel, save_figure


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--images', nargs='+', required=True, type=Path, help='image files')
    parser.add_argument(
        '--side', type=int, default=220, help='shorter side of a drawn image (default: 220)'
    )
    parser.add_argument('--config', required=True, type=Path, help='config of the model')
    add_config_options_argument(parser)
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.png', help='the figure')
    args = parser.parse_args(argv)
    if args.side < 32:
        parser.error(f'--side {args.side} must be at least 32')
    return args


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return an image whose shorter side has ``side`` pixels."""
    ratio = side / min(image.shape[:2])
    size = [round(length * ratio) for length in image.shape[1::-1]]
    kind = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


def nearest(index_map: NDArray[np.integer], image: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return a map of indices in the size of an image."""
    size = image.shape[1::-1]
    small = cv2.resize(index_map.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(small, np.int32)


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Segment the images and draw the figure."""
    args = parse_args(argv)
    check_output(args.out, reads=[args.checkpoint, args.config, *args.images])
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options or {})
    cfg = segmentation_config(cfg)
    inferencer = GroupViTInferencer(cfg, args.checkpoint, device=args.device)
    columns = []
    for path in args.images:
        image = np.asarray(load_image(path))
        result = inferencer(image)
        small = resized(image, args.side)
        groups, labels = (nearest(each, small) for each in (result.group_map, result.label_map))
        figure = draw_labels(small, labels, result.class_names)
        columns.append([small, draw_groups(small, groups), figure])
    titles = [str(number) for number in range(1, len(columns) + 1)]
    save_figure(panel(list(zip(*columns, strict=True)), titles), args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
