"""The architecture of a model, inferred from the shapes of its tensors.

Shapes do not determine the number of attention heads, which must be given, except for the towers of
the released models, whose heads are in the paper.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from groupvit_mmseg.checkpoints.architecture import (
    BackboneConfig,
    ProjectorConfig,
    StemConfig,
    Structure,
)
from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Hints

Shapes = Mapping[str, tuple[int, ...]]

# Towers of the released models (paper: section 4.1): widths and depths -> heads.
RELEASED_IMAGE_TOWER: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {
    ((384, 384, 384), (6, 3, 3)): [6, 6, 6]
}
RELEASED_TEXT_TOWER = {(256, 12): 4}


class MissingTensorsError(ValueError):
    """Tensors are missing.

    Args:
        keys (Sequence[str]): Their names in a pretrainer.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f'{len(keys)} tensors are missing: {", ".join(keys)}.')
        self.keys = tuple(keys)


class _ImageTower(NamedTuple):
    """Names, widths and depths of the stages."""

    stages: list[str]
    widths: list[int]
    depths: list[int]


def infer_structure(state_dict: Mapping[str, Tensor], hints: Hints) -> Structure:
    """Infer the structure of the model that a state dict belongs to.

    Args:
        state_dict (Mapping[str, Tensor]): Of a :class:`GroupViTPretrainer`.
        hints (Hints): Settings that the shapes do not determine.

    Raises:
        MissingTensorsError: If tensors that determine the structure are missing.
        ValueError: If a setting that the shapes do not determine must be given.
    """
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    _require(shapes)
    tower = _image_tower(shapes)
    text_width = shapes['text_encoder.pos_embed'][1]
    num_layers = _count(shapes, r'text_encoder\.blocks\.(\d+)\.')
    key = tuple(tower.widths), tuple(tower.depths)
    image_heads, text_heads = _require_heads(
        hints.num_heads or RELEASED_IMAGE_TOWER.get(key),
        hints.text_heads or RELEASED_TEXT_TOWER.get((text_width, num_layers)),
        tower.widths,
        text_width,
    )
    image_width = shapes['backbone.norm.weight'][0]
    return Structure(
        backbone=_backbone(shapes, tower, image_heads, hints),
        text_encoder=dict(
            type='GroupViTTextEncoder',
            context_length=shapes['text_encoder.pos_embed'][0],
            embed_dims=text_width,
            num_layers=num_layers,
            num_heads=text_heads,
            vocab_size=shapes['text_encoder.token_embedding.weight'][0],
        ),
        image_projector=_projector(shapes, 'image_projector', image_width),
        text_projector=_projector(shapes, 'text_projector', text_width),
        multi_label='loss_multi_label.logit_scale' in shapes,
        normalization=hints.normalization or IMAGENET,
    )


def _require_heads(
    image_heads: Sequence[int] | None,
    text_heads: int | None,
    widths: Sequence[int],
    text_width: int,
) -> tuple[list[int], int]:
    """Return the heads; raise ``ValueError`` if they are unknown or impossible."""
    missing = []
    if not image_heads:
        missing.append(f'--num-heads, one number for each stage (widths {list(widths)})')
    if not text_heads:
        missing.append(f'--text-heads (width {text_width})')
    if not image_heads or not text_heads:
        raise ValueError(
            'the tensors do not determine the number of attention heads, and neither the file nor '
            f'those beside it contain it: give {" and ".join(missing)}.'
        )
    if text_width % text_heads:
        raise ValueError(
            f'text_heads = {text_heads} does not divide the width {text_width} of the text tower.'
        )
    return list(image_heads), text_heads


PATCHES = 'backbone.patch_embed.proj.weight'
STEM = 'backbone.patch_embed.levels.'
# The structure cannot be inferred without these.
REQUIRED = (
    PATCHES,
    'backbone.pos_embed',
    'backbone.norm.weight',
    'text_encoder.pos_embed',
    'text_encoder.token_embedding.weight',
)


def _require(shapes: Shapes) -> None:
    """Raise ``ValueError`` that lists required tensors that are missing or of another rank."""
    missing = [key for key in REQUIRED if key not in shapes]
    stages = _count(shapes, r'backbone\.stages\.(\d+)\.')
    missing += [
        f'backbone.stages.{i}.blocks.0.norm1.weight'
        for i in range(max(stages, 1))
        if f'backbone.stages.{i}.blocks.0.norm1.weight' not in shapes
    ]
    if missing:
        raise MissingTensorsError(missing)
    ranks = dict(zip(REQUIRED, (4, 3, 1, 2, 2), strict=True))
    wrong = [f'{key} {list(shapes[key])}' for key in REQUIRED if len(shapes[key]) != ranks[key]]
    if wrong:
        raise ValueError(f'{len(wrong)} tensors have another shape: {", ".join(wrong)}.')


def _count(keys: Iterable[str], pattern: str) -> int:
    """Return one more than the highest index that a pattern matches in the names."""
    matches = (re.match(pattern, key) for key in keys)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _image_tower(shapes: Shapes) -> _ImageTower:
    """Return the stages of the image tower."""
    stages = [f'backbone.stages.{i}.' for i in range(_count(shapes, r'backbone\.stages\.(\d+)\.'))]
    widths = [shapes[stage + 'blocks.0.norm1.weight'][0] for stage in stages]
    depths = [_count(shapes, re.escape(stage) + r'blocks\.(\d+)\.') for stage in stages]
    return _ImageTower(stages, widths, depths)


def _backbone(
    shapes: Shapes, tower: _ImageTower, num_heads: list[int], hints: Hints
) -> BackboneConfig:
    """Return the config of the image tower."""
    width, in_channels, patch_size, _ = shapes[PATCHES]
    stem = infer_stem(shapes)
    if stem is not None:
        in_channels, patch_size = shapes[f'{STEM}0.conv.weight'][1], 2 ** len(stem['channels'])
    config = BackboneConfig(
        type='GroupViT',
        img_size=_img_size(shapes['backbone.pos_embed'][1], patch_size, hints),
        patch_size=patch_size,
        in_channels=in_channels,
        embed_dims=width,
        embed_factors=[_factor(width, other) for other in tower.widths],
        depths=tower.depths,
        num_heads=num_heads,
        num_group_tokens=[shapes.get(s + 'group_tokens', (1, 0))[1] for s in tower.stages],
        num_output_groups=list(_output_groups(shapes, tower.stages)),
        mlp_ratio=_mlp_ratio(shapes, tower.stages, tower.widths),
    )
    if hints.assign_scale is not None and hints.assign_scale != 1.0:
        config['assign_scale'] = hints.assign_scale
    if stem is not None:
        config['conv_stem'] = stem
    if hints.assignment:
        config['assignment'] = dict(hints.assignment)
    return config


def infer_stem(shapes: Shapes) -> StemConfig | None:
    """Return the config of the stem; None where there is a patch embedding."""
    levels = range(_count(shapes, re.escape(STEM) + r'(\d+)\.'))
    if not levels:
        return None
    missing = [key for i in levels if (key := f'{STEM}{i}.conv.weight') not in shapes]
    if missing:
        raise MissingTensorsError(missing)
    return StemConfig(
        channels=[shapes[f'{STEM}{i}.conv.weight'][0] for i in levels],
        num_blocks=[_count(shapes, re.escape(f'{STEM}{i}.blocks.') + r'(\d+)\.') for i in levels],
    )


def _output_groups(shapes: Shapes, stages: Sequence[str]) -> Iterator[int]:
    """Yield the number of segments of each stage that groups."""
    for stage in stages:
        key = stage + 'grouping.group_mlp.fc2.weight'
        if key in shapes:
            yield shapes[key][0]


def _img_size(num_patches: int, patch_size: int, hints: Hints) -> int | list[int]:
    """Return the side of the image, or ``[H, W]`` if it is not a square."""
    if hints.img_size is not None:
        height, width = hints.img_size
        if (height // patch_size) * (width // patch_size) != num_patches:
            raise ValueError(
                f'An image of {height} x {width} px does not have the {num_patches} patches of '
                f'{patch_size} px of the position embedding: give another --img-size.'
            )
        return height if height == width else [height, width]
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(
            f'The position embedding of {num_patches} patches is not that of a square image: give '
            'its size with --img-size HEIGHT WIDTH.'
        )
    return side * patch_size


def _mlp_ratio(shapes: Shapes, stages: Sequence[str], widths: Sequence[int]) -> float:
    """Return the ratio that gives every stage its hidden width, which was rounded down."""
    keys = [stage + 'blocks.0.mlp.fc1.weight' for stage in stages]
    hidden = [shapes.get(key, (4 * width,))[0] for key, width in zip(keys, widths)]
    return max(_factor(width, size) for width, size in zip(widths, hidden))


def _factor(base: int, value: int) -> float:
    """Return the factor for which ``int(base * factor)`` is ``value``."""
    factor = value / base
    if int(base * factor) != value:
        factor = math.nextafter(factor, math.inf)
    return int(factor) if factor.is_integer() else factor


def _projector(shapes: Shapes, name: str, in_channels: int) -> ProjectorConfig:
    """Return the config of a projector; one without layers is an identity."""
    config = ProjectorConfig(type='GroupViTProjector', in_channels=in_channels, num_layers=0)
    if f'{name}.out.weight' not in shapes:
        return config
    config['out_channels'] = shapes[f'{name}.out.weight'][0]
    hidden = _count(shapes, rf'{name}\.hidden\.(\d+)\.')
    if hidden:
        config['hidden_channels'] = shapes.get(f'{name}.hidden.0.weight', (0,))[0]
    # A hidden layer is linear, BatchNorm and ReLU, of which the last has no tensors.
    config['num_layers'] = (hidden + 1) // 3 + 1
    if f'{name}.pools' in shapes:
        config['pool_projected'] = True
    return config
