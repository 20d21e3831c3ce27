"""``groupvit convert``: weights in any format to the one that is asked for."""

from collections.abc import Sequence

from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, OFFICIAL, PLUGIN, key_format_of
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.weight_files import read_weights
from groupvit_mmseg.conversion import command_line

TARGETS = {'plugin': PLUGIN, 'official': OFFICIAL, 'hf': HUGGING_FACE}


def run(source: str, target: str, *, to: str, options: Sequence[str] = ()) -> int:
    """Convert weights; their present format is read off their names.

    Args:
        source (str): A file, a folder, an address, or the name of released weights.
        target (str): The file or folder to write.
        to (str): A key of :data:`TARGETS`.
        options (Sequence[str]): Options of the converters. Defaults to none.

    Returns:
        int: Exit status.

    Raises:
        ValueError: If there is no such format, or the source is no GroupViT or has it already.
    """
    if to not in TARGETS:
        raise ValueError(f'--to {to}: choose {", ".join(TARGETS)}.')
    path = locate(source)
    weights = read_weights(path)
    key_format = key_format_of(weights.tensors)
    if key_format is None:
        raise ValueError(f'{source} has no names of a GroupViT: give other weights.')
    if key_format is TARGETS[to]:
        raise ValueError(f'{source} has the {key_format.title} format already.')
    argv = [str(path), target, *options]
    return command_line.run(key_format, TARGETS[to], __doc__ or '', argv, weights=weights)
