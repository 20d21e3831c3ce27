"""Any weights of a GroupViT, opened without a config: its structure is read off the tensors."""

from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.architecture_hints import stored_decoding
from groupvit_mmseg.checkpoints.key_formats import Tensors, key_format_of
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.stored_settings import stored_settings
from groupvit_mmseg.checkpoints.weight_files import read_weights
from groupvit_mmseg.conversion.convert import decode
from groupvit_mmseg.conversion.model_configs import zero_shot_voc_config


class OpenedModel(NamedTuple):
    """A model whose weights have been read.

    Attributes:
        config (Config): Segments Pascal VOC 2012 with it; the classes can be changed. Affinity,
            scale and mode are those of the config in the file, where it contains one.
        tensors (dict[str, Tensor]): Under the pretrainer's names.
        structure (Structure): The sizes that they belong to.
        path (Path): The file that was read.
    """

    config: Config
    tensors: Tensors
    structure: Structure
    path: Path


def open_model(source: str | Path) -> OpenedModel:
    """Read weights of a whole GroupViT and derive the config that they need.

    Nothing that the file contains is executed.

    Args:
        source (str | Path): The name of released weights, a file or a folder of the plugin's, the
            official or Hugging Face's format, ``hf://OWNER/NAME``, or an http(s) address.

    Returns:
        OpenedModel: Weights and config.

    Raises:
        FileNotFoundError: If there is no such file or name, or it cannot be downloaded.
        UnpicklingError: If the file is damaged, or not one of weights.
        ValueError: If it holds something else than a whole GroupViT, a backbone alone say.
    """
    path = locate(source)
    weights = read_weights(path)
    key_format = key_format_of(weights.tensors)
    has_text = any('text_encoder.' in name or 'text_model.' in name for name in weights.tensors)
    if key_format is None or not has_text:
        names = ', '.join(list(weights.tensors)[:3])
        raise ValueError(
            f'{source} holds no GroupViT with a text encoder (it begins with {names}): give its '
            'config as well, or other weights.'
        )
    settings = stored_settings(path, weights, key_format)
    model = decode(weights.tensors, key_format, settings, where=path)
    config = zero_shot_voc_config(model.structure, stored_decoding(settings))
    return OpenedModel(config, model.tensors, model.structure, path)
