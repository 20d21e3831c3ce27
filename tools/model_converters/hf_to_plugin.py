"""Converts weights of transformers.GroupViTModel to the plugin's, with their config beside them.

python tools/model_converters/hf_to_plugin.py FOLDER groupvit.pth
python tools/model_converters/hf_to_plugin.py --from nvidia/groupvit-gcc-yfcc groupvit.pth

SRC is a .safetensors or .bin file, the .index.json of a sharded one, or a folder with either; a
config.json beside it holds the heads, a preprocessor_config.json the normalisation.
"""

import sys
from collections.abc import Sequence

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, PLUGIN
from groupvit_mmseg.conversion.command_line import run


def main(argv: Sequence[str] | None = None) -> int:
    return run(HUGGING_FACE, PLUGIN, __doc__, argv)


if __name__ == '__main__':
    sys.exit(main())
