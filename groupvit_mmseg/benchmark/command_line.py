"""Arguments of the tools that evaluate under a protocol."""

from __future__ import annotations

import argparse

from groupvit_mmseg.benchmark.protocols import PRESETS
from groupvit_mmseg.key_values import KeyValueAction


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
