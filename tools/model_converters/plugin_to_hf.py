"""Converts the plugin's weights for transformers.GroupViTModel.from_pretrained.

python tools/model_converters/plugin_to_hf.py CHECKPOINT FOLDER

CHECKPOINT is of pretraining or of a segmentor. FOLDER gets model.safetensors, config.json and the
files of AutoProcessor: the preprocessing and, for CLIP's vocabulary, CLIP's tokenizer.
A DST that ends in .bin or .safetensors names the file of the weights itself.
"""

import sys
from collections.abc import Sequence

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, PLUGIN
from groupvit_mmseg.conversion.command_line import run


def main(argv: Sequence[str] | None = None) -> int:
    return run(PLUGIN, HUGGING_FACE, __doc__, argv)


if __name__ == '__main__':
    sys.exit(main())
