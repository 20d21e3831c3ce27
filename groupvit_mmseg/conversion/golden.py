"""Files of golden values: inputs and outputs of the official implementation.

A golden file holds no weights: a rule draws them from a seed and the tensors' names. The file's
``meta/config`` holds the official settings of the model.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

# The official name of a setting -> ours; empty for settings that do not change the values.
IMAGE_KEYS = dict(
    type='',
    drop_rate='',
    drop_path_rate='drop_path_rate',
    img_size='img_size',
    patch_size='patch_size',
    in_chans='in_channels',
    embed_dim='embed_dims',
    embed_factors='embed_factors',
    num_heads='num_heads',
    depths='depths',
    num_group_tokens='num_group_tokens',
    num_output_groups='num_output_groups',
    mlp_ratio='mlp_ratio',
)
TEXT_KEYS = dict(
    type='',
    context_length='context_length',
    width='embed_dims',
    layers='num_layers',
    vocab_size='vocab_size',
)


class OfficialImageSettings(TypedDict, total=False):
    """The settings of the image tower that other parts of a config depend on."""

    embed_dim: int
    embed_factors: list[float] | None


class OfficialTextSettings(TypedDict, total=False):
    """The settings of the text tower that other parts of a config depend on."""

    width: int


class OfficialSettings(TypedDict, total=False):
    """The official settings of a model, as ``meta/config`` holds them."""

    img_encoder: OfficialImageSettings
    text_encoder: OfficialTextSettings
    output_dim: int
    proj_num_layers: int
    contrast_temperature: float


class TowerConfigs(TypedDict):
    """Configs of the four parts that a pretrainer and a segmentor have in common."""

    backbone: dict[str, object]
    text_encoder: dict[str, object]
    image_projector: dict[str, object]
    text_projector: dict[str, object]


class GoldenFile:
    """The arrays of a golden file, the weights of its model and their settings.

    Args:
        path (Path): The ``.npz`` file.

    Raises:
        ValueError: If the file is not a golden file.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                self.arrays = {name: file[name] for name in file.files}
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f'{path} is not a readable .npz file ({error}).') from error
        missing = [n for n in ('meta/config', 'meta/seed', 'meta/keys') if n not in self.arrays]
        if missing:
            raise ValueError(f'{path} is not a golden file: it lacks {", ".join(missing)}.')
        self.config: OfficialSettings = json.loads(self.text('meta/config'))
        self.shapes: dict[str, list[int]] = json.loads(self.text('meta/keys'))
        self.seed = int(self.arrays['meta/seed'])

    def text(self, name: str) -> str:
        """Return an array that holds a text, such as JSON."""
        return str(self.arrays[name])

    def tensor(self, name: str) -> Tensor:
        """Return a copy of an array as a tensor."""
        return torch.from_numpy(self.arrays[name].copy())

    def has(self, prefix: str) -> bool:
        """Return whether the name of any array begins with ``prefix``."""
        return any(name.startswith(prefix) for name in self.arrays)

    def weights(self) -> dict[str, Tensor]:
        """Return the official state dict, drawn by the rule."""
        return {key: draw_weight(key, shape, self.seed) for key, shape in self.shapes.items()}


def draw_weight(key: str, shape: Sequence[int], seed: int) -> Tensor:
    """Draw the values of a tensor, which follow from its name, its shape and the file's seed.

    Args:
        key (str): Official name of the tensor.
        shape (Sequence[int]): Its shape.
        seed (int): Seed of the file.

    Returns:
        Tensor: Float32; zeros of int64 for the batch counters of BatchNorm.
    """
    generator = np.random.RandomState((seed * 1000003 + zlib.crc32(key.encode())) % 2**32)
    noise = generator.standard_normal(shape)
    normal = np.asarray(noise, dtype=np.float32)
    if key.endswith('num_batches_tracked'):
        return torch.zeros(tuple(shape), dtype=torch.int64)
    if 'logit_scale' in key:
        values = np.full(shape, np.log(1 / 0.07))
    elif key.endswith('running_var'):
        values = 1 + 0.1 * np.abs(normal)
    elif key.endswith('running_mean'):
        values = 0.1 * normal
    elif key.endswith(('embed', 'embedding')) or 'group_token' in key or 'token_embedding' in key:
        values = 0.2 * normal
    elif len(shape) >= 2:
        values = normal / np.sqrt(np.prod(shape[1:]))
    elif key.endswith('weight'):
        values = 1 + 0.1 * normal
    else:
        values = 0.1 * normal
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def tower_configs(golden: GoldenFile) -> TowerConfigs:
    """Return the plugin's configs of the towers and projectors of a golden file.

    Args:
        golden (GoldenFile): The file.

    Raises:
        ValueError: If the file has settings that are unknown here.
    """
    image, text = golden.config.get('img_encoder', {}), golden.config.get('text_encoder', {})
    width = image.get('embed_dim', 384) * (image.get('embed_factors') or [1])[-1]
    hidden = golden.shapes.get('img_projector.linear_hidden.0.weight', [4096])[0]
    projector = dict(
        type='GroupViTProjector',
        hidden_channels=hidden,
        out_channels=golden.config.get('output_dim', 256),
        num_layers=golden.config.get('proj_num_layers', 2),
    )
    return TowerConfigs(
        backbone=dict(_translated(image, IMAGE_KEYS, 'img_encoder'), type='GroupViT'),
        text_encoder=dict(_translated(text, TEXT_KEYS, 'text_encoder'), type='GroupViTTextEncoder'),
        image_projector=dict(projector, in_channels=int(width)),
        text_projector=dict(projector, in_channels=text.get('width', 256)),
    )


def _translated(
    settings: Mapping[str, object], names: Mapping[str, str], where: str
) -> dict[str, object]:
    """Return settings under our names; raise ``ValueError`` for one that would be ignored."""
    unknown = sorted(set(settings) - set(names))
    if unknown:
        raise ValueError(f'{where} in meta/config holds settings unknown here: {unknown}.')
    return {names[name]: value for name, value in settings.items() if names[name]}
