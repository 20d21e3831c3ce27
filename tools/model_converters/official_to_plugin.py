"""Converts official weights to the plugin's, with their config beside them.

python tools/model_converters/official_to_plugin.py group_vit_gcc_yfcc_30e-879422e0.pth groupvit.pth

Nothing in SRC is executed; entries that are not weights are listed and left out. Attention heads of
models other than the released ones are read from SRC or the files beside it, or must be given. DST
ends in .pth or .safetensors.
"""

import sys
from collections.abc import Sequence

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.checkpoints.key_formats import OFFICIAL, PLUGIN
from groupvit_mmseg.conversion.command_line import run


def main(argv: Sequence[str] | None = None) -> int:
    return run(OFFICIAL, PLUGIN, __doc__, argv)


if __name__ == '__main__':
    sys.exit(main())
