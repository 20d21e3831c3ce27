"""Measures how fast the page answers: encoding a picture, new words, a threshold, a pixel.

python tools/benchmarks/measure_page.py [--model NAME|FILE] [--image FILE]

Without a model it takes the paper's with random weights, which needs the same time. "threshold" is
the time from a new threshold to the encoded overlay, confidence and table of shares; nothing is
encoded or embedded again. Torch uses as many threads as it is given (OMP_NUM_THREADS).
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import cv2
import numpy as np
import torch

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_web.deadline import Deadline
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.pixels import explain_pixel
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture, read_picture

WORDS = ('person', 'dog', 'cat', 'car', 'grass', 'sky', 'tree', 'building', 'road', 'water')
PATIENT = Limits(seconds=3600.0)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--model', help='name or file; default: random weights')
    parser.add_argument('--config', help='of the model')
    parser.add_argument('--image', type=Path, help='default: a generated one')
    parser.add_argument('--side', type=int, default=448, help='of the generated image')
    parser.add_argument('--mode', choices=('whole', 'slide'), default='whole')
    parser.add_argument('--pamr-steps', type=int, default=0)
    parser.add_argument('--runs', type=int, default=50, help='answers to count')
    parser.add_argument('--encodes', type=int, default=5, help='encodings to count')
    args = parser.parse_args(argv)
    if min(args.runs, args.encodes, args.side) < 1:
        parser.error('--runs, --encodes and --side must be 1 or more')
    return args


def generated_picture(side: int) -> Picture:
    """Return a square picture of smooth colours and rectangles."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (side, side))
    for _ in range(12):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 8, side // 2, 2)
        image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return read_picture(cv2.imencode('.png', image)[1].tobytes(), name='a generated image')


def milliseconds(action: Callable[[int], object], count: int) -> list[float]:
    """Return the time of an action, called with 0, 1, ...; a first call is not counted."""
    action(-1)
    times = []
    for index in range(count):
        start = time.perf_counter()
        action(index)
        times.append(1000 * (time.perf_counter() - start))
    return times


def measure(segmenter: PageSegmenter, picture: Picture, args: argparse.Namespace) -> None:
    """Print a line for each kind of answer."""
    request = SegmentationRequest(WORDS, mode=args.mode, pamr_steps=args.pamr_steps, bg_thresh=0.5)
    test_cfg = segmenter.model.test_cfg(args.mode)

    def encode(index: int) -> None:
        with segmenter.model.turn(Deadline(PATIENT.seconds)) as inferencer:
            inferencer.encode(picture.pixels(), test_cfg=test_cfg)

    actions: dict[str, tuple[Callable[[int], object], int]] = {
        'encode': (encode, args.encodes),
        'a new word': (
            lambda i: segmenter.segment(picture, request._replace(words=(*WORDS[:9], f'cat {i}'))),
            args.encodes,
        ),
        'threshold': (
            lambda i: segmenter.segment(picture, request._replace(bg_thresh=i % 100 / 100 + 0.001)),
            args.runs,
        ),
        'opacity': (
            lambda i: segmenter.segment(picture, request._replace(opacity=i % 100 / 100 + 0.001)),
            args.runs,
        ),
        'pixel': (lambda i: explain_pixel(segmenter, picture, request, i % 9, i % 7), args.runs),
    }
    print(f'{"milliseconds":14} {"median":>8} {"95 %":>8} {"maximum":>8}')
    for name, (action, count) in actions.items():
        times = milliseconds(action, count)
        middle, high = np.percentile(times, [50, 95])
        print(f'{name:14} {middle:8.1f} {high:8.1f} {max(times):8.1f}')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    args = parse_args(argv)
    if args.model is None:
        words = ', '.join(WORDS)
        model = PageModel(GroupViTInferencer.untrained(class_names=words), 'random weights')
    else:
        model = PageModel.open(args.model, config=args.config)
    picture = read_picture(args.image) if args.image else generated_picture(args.side)
    height, width = picture.size
    print(
        f'{model.name}, {picture.name} of {width} x {height}, {len(WORDS)} words, {args.mode}, '
        f'{args.pamr_steps} steps of PAMR, {torch.get_num_threads()} threads'
    )
    measure(PageSegmenter(model, PATIENT), picture, args)


if __name__ == '__main__':
    sys.exit(main())
