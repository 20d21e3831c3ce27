"""Converts the plugin's weights to the keys of the official release.

python tools/model_converters/plugin_to_official.py CHECKPOINT group_vit.pth

CHECKPOINT is of pretraining or of a segmentor. The settings of the structure, under their official
names, go into DST and into a .json beside it.
"""

import sys
from collections.abc import Sequence

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.checkpoints.key_formats import OFFICIAL, PLUGIN
from groupvit_mmseg.conversion.command_line import run


def main(argv: Sequence[str] | None = None) -> int:
    return run(PLUGIN, OFFICIAL, __doc__, argv)


if __name__ == '__main__':
    sys.exit(main())
