"""Arguments of the tools that evaluate under a protocol."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from groupvit_mmseg.benchmark.measures import MEASURES, OTHER
from groupvit_mmseg.benchmark.own_set import NAME
from groupvit_mmseg.benchmark.protocols import PRESETS
from groupvit_mmseg.benchmark.sets import KNOWN_SETS
from groupvit_mmseg.benchmark.watch_report import LOGGERS
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    add_workers_argument,
)
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models.inference_options import PRECISIONS


def add_protocol_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--protocol`` and ``--change``."""
    parser.add_argument(
        '--protocol', default='official', choices=PRESETS, help='protocol (default: official)'
    )
    parser.add_argument(
        '--change',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='FIELD=VALUE',
        help='fields of the protocol to change, such as bg_thresh=0.5',
    )


def is_watching(argv: Sequence[str]) -> bool:
    """Return whether a command line has ``--watch``."""
    return any(word == '--watch' or word.startswith('--watch=') for word in argv)


def add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a companion to a running training."""
    parser.add_argument(
        '--watch',
        type=Path,
        metavar='WORK_DIR',
        help='in place of CHECKPOINT: evaluate each checkpoint that a training writes there',
    )
    parser.add_argument(
        '--interval',
        type=float,
        default=30.0,
        metavar='SECONDS',
        help='with --watch: time between two looks at WORK_DIR (default: 30)',
    )
    parser.add_argument(
        '--idle',
        type=float,
        metavar='SECONDS',
        help='with --watch: end after so long without a new checkpoint (default: never; it ends '
        'with the last epoch of the config in WORK_DIR)',
    )
    parser.add_argument(
        '--log',
        nargs='+',
        default=[],
        choices=list(LOGGERS),
        help='with --watch: write scores and predictions there too',
    )


def add_evaluation_arguments(parser: argparse.ArgumentParser, *, watching: bool = False) -> None:
    """Add the arguments of tools/evaluate.py; without ``checkpoint`` if it is ``watching``."""
    if not watching:
        add_checkpoint_argument(parser)
    add_watch_arguments(parser)
    add_measure_arguments(parser)
    _add_set_arguments(parser)
    add_model_config_argument(parser)
    add_protocol_arguments(parser)
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='SET=FILE',
        help='class files of single sets; FILE alone is that of --images',
    )
    parser.add_argument(
        '--precision',
        default='fp32',
        choices=[each for each in PRECISIONS if each != 'auto'],  # the same on every machine
        help='precision of the model; that of the config is ignored (default: fp32)',
    )
    add_device_argument(parser)
    parser.add_argument(
        '--processes', type=int, default=1, metavar='N', help='processes (default: 1)'
    )
    parser.add_argument(
        '--rank',
        type=int,
        help='evaluate only the images of this one of --processes, from 0, on any machine',
    )
    add_workers_argument(parser)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='images that share batches of windows (default: 1)',
    )
    parser.add_argument(
        '--limit', type=int, metavar='N', help='evaluate the first N images of a set only'
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=3,
        metavar='N',
        help='draw the N best, the N worst and N random images of a set (default: 3)',
    )


def _add_set_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sets, their folders and the folder of the results."""
    parser.add_argument(
        '--sets',
        nargs='+',
        metavar='SET',
        help=f'all, {", ".join(KNOWN_SETS)}, or the config file of a set of your own '
        '(default: all, or none with --images)',
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='images of a set of your own')
    parser.add_argument('--masks', type=Path, metavar='DIR', help='its masks, by the same names')
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
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')


def add_measure_arguments(parser: argparse.ArgumentParser) -> None:
    """Add measures beside mIoU."""
    parser.add_argument(
        '--measures',
        nargs='+',
        default=[],
        choices=MEASURES,
        help='boundary: IoU near boundaries; calibration: is a class right as often as its score '
        'says; single-query: each class alone against --query-other; predictions: keep the label '
        'maps, for the page of compare_results.py',
    )
    parser.add_argument(
        '--query-other',
        default=', '.join(OTHER),
        metavar='WORDS',
        help='words that a single query competes with, separated by commas (default: other)',
    )


def read_own_set(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """Let ``--classes`` be a dict, with the file of a set of two folders under its name."""
    files, args.classes = args.classes, {}
    texts = [text if '=' in text else f'{NAME}={text}' for text in files]
    KeyValueAction(['--classes'], 'classes')(parser, args, texts, '--classes')
    has_own = args.images or args.masks or any('=' not in text for text in files)
    if has_own and not (args.images and args.masks and NAME in args.classes):
        parser.error('a set of your own takes --images DIR --masks DIR --classes FILE.')
    args.sets = args.sets or ([] if args.images else ['all'])
    return args
