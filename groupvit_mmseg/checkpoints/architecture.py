"""The structure of a model, read off the shapes of its tensors.

Attention heads leave no trace in the shapes: they must be told, except those of the towers of the
released models, which the paper gives.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Hints, Normalization

# Towers of the released models (paper: section 4.1): widths and depths -> heads.
RELEASED_IMAGE_TOWER: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {
    ((384, 384, 384), (6, 3, 3)): [6, 6, 6]
}
RELEASED_TEXT_TOWER = {(256, 12): 4}


class MissingTensorsError(ValueError):
    """Tensors that are not there, under the pretrainer's names.

    Args:
        keys (Sequence[str]): The names.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f'{len(keys)} tensors are missing: {", ".join(keys)}.')
        self.keys = tuple(keys)


class Structure(NamedTuple):
    """Configs of the parts of a GroupViT.

    Attributes:
        backbone (dict): Of the image tower.
        text_encoder (dict): Of the text tower.
        image_projector (dict): Of the image tower's projector.
        text_projector (dict): Of the text tower's projector.
        multi_label (bool): Whether there is a second logit scale.
        normalization (Normalization): Of the pictures. Defaults to ImageNet's, the paper's.
    """

    backbone: dict[str, Any]
    text_encoder: dict[str, Any]
    image_projector: dict[str, Any]
    text_projector: dict[str, Any]
    multi_label: bool
    normalization: Normalization = IMAGENET

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage."""
        first = self.backbone['embed_dims']
        return tuple(int(first * factor) for factor in self.backbone['embed_factors'])

    @property
    def image_shape(self) -> tuple[int, int]:
        """``H, W`` in pixels of the position embedding."""
        size = self.backbone['img_size']
        return (size, size) if isinstance(size, int) else tuple(size)


def infer_structure(state_dict: Mapping[str, Tensor], hints: Hints) -> Structure:
    """The structure of the model that a state dict belongs to.

    Args:
        state_dict (Mapping[str, Tensor]): Of a :class:`GroupViTPretrainer`.
        hints (Hints): What the shapes do not tell.

    Raises:
        MissingTensorsError: If tensors that tell the structure are missing.
        ValueError: If something that the shapes do not tell must be given.
    """
    shapes = {key: tuple(value.shape) for key, value in state_dict.items()}
    _require(shapes)
    text_width = shapes['text_encoder.pos_embed'][1]
    num_layers = _count(shapes, r'text_encoder\.blocks\.(\d+)\.')
    backbone = _backbone(shapes, hints)
    text_heads = hints.text_heads or RELEASED_TEXT_TOWER.get((text_width, num_layers))
    _require_heads(backbone, text_width, text_heads)
    image_width = shapes['backbone.norm.weight'][0]
    return Structure(
        backbone=backbone,
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


def _require_heads(backbone: dict[str, Any], text_width: int, text_heads: int | None) -> None:
    """Raise ``ValueError`` that asks for heads that nothing tells, or that cannot be."""
    embed_dims = backbone['embed_dims']
    widths = [int(embed_dims * factor) for factor in backbone['embed_factors']]
    wanted = []
    if backbone['num_heads'] is None:
        wanted.append(f'--num-heads, one number for each stage (widths {widths})')
    if text_heads is None:
        wanted.append(f'--text-heads (width {text_width})')
    if wanted:
        raise ValueError(
            'the tensors do not tell the attention heads, and nothing that lies with them does: '
            f'give {" and ".join(wanted)}.'
        )
    if text_width % (text_heads or 1):
        raise ValueError(
            f'text_heads = {text_heads} does not divide the width {text_width} of the text tower.'
        )


# Without these nothing can be said about the rest.
TELLING = (
    'backbone.patch_embed.proj.weight',
    'backbone.pos_embed',
    'backbone.norm.weight',
    'text_encoder.pos_embed',
    'text_encoder.token_embedding.weight',
)


def _require(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ``ValueError`` that lists what is missing, or not shaped as it must be."""
    missing = [key for key in TELLING if key not in shapes]
    stages = _count(shapes, r'backbone\.stages\.(\d+)\.')
    missing += [
        f'backbone.stages.{i}.blocks.0.norm1.weight'
        for i in range(max(stages, 1))
        if f'backbone.stages.{i}.blocks.0.norm1.weight' not in shapes
    ]
    if missing:
        raise MissingTensorsError(missing)
    ranks = dict(zip(TELLING, (4, 3, 1, 2, 2), strict=True))
    wrong = [f'{key} {list(shapes[key])}' for key in TELLING if len(shapes[key]) != ranks[key]]
    if wrong:
        raise ValueError(f'{len(wrong)} tensors have another shape: {", ".join(wrong)}.')


def _count(shapes: Mapping[str, Any], pattern: str) -> int:
    """One more than the highest index that a pattern finds in the names."""
    matches = (re.match(pattern, key) for key in shapes)
    return max((int(match[1]) + 1 for match in matches if match), default=0)


def _backbone(shapes: Mapping[str, tuple[int, ...]], hints: Hints) -> dict[str, Any]:
    """Config of the image tower."""
    width, in_channels, patch_size, _ = shapes['backbone.patch_embed.proj.weight']
    stages = [f'backbone.stages.{i}.' for i in range(_count(shapes, r'backbone\.stages\.(\d+)\.'))]
    widths = [shapes[stage + 'blocks.0.norm1.weight'][0] for stage in stages]
    depths = [_count(shapes, re.escape(stage) + r'blocks\.(\d+)\.') for stage in stages]
    heads = hints.num_heads or RELEASED_IMAGE_TOWER.get((tuple(widths), tuple(depths)))
    config = dict(
        type='GroupViT',
        img_size=_img_size(shapes['backbone.pos_embed'][1], patch_size, hints),
        patch_size=patch_size,
        in_channels=in_channels,
        embed_dims=width,
        embed_factors=[_factor(width, other) for other in widths],
        depths=depths,
        num_heads=list(heads) if heads else None,
        num_group_tokens=[shapes.get(s + 'group_tokens', (1, 0))[1] for s in stages],
        num_output_groups=list(_output_groups(shapes, stages)),
        mlp_ratio=_mlp_ratio(shapes, stages, widths),
    )
    if hints.assign_scale not in (None, 1.0):
        config['assign_scale'] = hints.assign_scale
    return config


def _output_groups(shapes: Mapping[str, tuple[int, ...]], stages: Sequence[str]) -> Iterator[int]:
    """Segments of each stage that groups."""
    for stage in stages:
        key = stage + 'grouping.group_mlp.fc2.weight'
        if key in shapes:
            yield shapes[key][0]


def _img_size(num_patches: int, patch_size: int, hints: Hints) -> int | list[int]:
    """Side of the image, or ``[H, W]`` where it is known not to be a square."""
    if hints.img_size is not None:
        height, width = hints.img_size
        if (height // patch_size) * (width // patch_size) != num_patches:
            raise ValueError(
                f'An image of {height} x {width} px has not the {num_patches} patches of '
                f'{patch_size} px of the position embedding: give another --img-size.'
            )
        return height if height == width else [height, width]
    side = math.isqrt(num_patches)
    if side * side != num_patches:
        raise ValueError(
            f'The position embedding of {num_patches} patches is not one of a square image: give '
            'its size with --img-size HEIGHT WIDTH.'
        )
    return side * patch_size


def _mlp_ratio(
    shapes: Mapping[str, tuple[int, ...]], stages: Sequence[str], widths: Sequence[int]
) -> float:
    """The ratio that gives every stage its hidden width, which was rounded down."""
    keys = [stage + 'blocks.0.mlp.fc1.weight' for stage in stages]
    hidden = [shapes.get(key, (4 * width,))[0] for key, width in zip(keys, widths)]
    return max(_factor(width, size) for width, size in zip(widths, hidden))


def _factor(base: int, value: int) -> float:
    """The factor that makes ``int(base * factor)`` give ``value``."""
    factor = value / base
    if int(base * factor) != value:
        factor = math.nextafter(factor, math.inf)
    return int(factor) if factor.is_integer() else factor


def _projector(
    shapes: Mapping[str, tuple[int, ...]], name: str, in_channels: int
) -> dict[str, Any]:
    """Config of a projector: none of its layers there makes an identity."""
    config = dict(type='GroupViTProjector', in_channels=in_channels)
    if f'{name}.out.weight' not in shapes:
        return dict(config, num_layers=0)
    config['out_channels'] = shapes[f'{name}.out.weight'][0]
    hidden = _count(shapes, rf'{name}\.hidden\.(\d+)\.')
    if hidden:
        config['hidden_channels'] = shapes.get(f'{name}.hidden.0.weight', (0,))[0]
    # A hidden layer is linear, BatchNorm and ReLU, of which the last has no tensors.
    return dict(config, num_layers=(hidden + 1) // 3 + 1)
