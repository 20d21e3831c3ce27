"""The architecture of a GroupViT as configs of its parts."""

from collections.abc import Mapping
from typing import NamedTuple, TypedDict

from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Normalization, Settings, plain


class _BackboneConfig(TypedDict):
    type: str
    img_size: int | list[int]
    patch_size: int
    in_channels: int
    embed_dims: int
    embed_factors: list[float]
    depths: list[int]
    num_heads: list[int]
    num_group_tokens: list[int]
    num_output_groups: list[int]
    mlp_ratio: float


class StemConfig(TypedDict):
    """Config of a :class:`.ConvStem`."""

    channels: list[int]
    num_blocks: list[int]


class BackboneConfig(_BackboneConfig, total=False):
    """Config of a :class:`GroupViT`."""

    assign_scale: float
    conv_stem: StemConfig
    assignment: dict[str, object]


class TextEncoderConfig(TypedDict):
    """Config of a :class:`GroupViTTextEncoder`."""

    type: str
    context_length: int
    embed_dims: int
    num_layers: int
    num_heads: int
    vocab_size: int


class _ProjectorConfig(TypedDict):
    type: str
    in_channels: int
    num_layers: int


class ProjectorConfig(_ProjectorConfig, total=False):
    """Config of a :class:`GroupViTProjector`."""

    out_channels: int
    hidden_channels: int
    pool_projected: bool


class Structure(NamedTuple):
    """Configs of the parts of a GroupViT.

    Attributes:
        backbone (BackboneConfig): Of the image tower.
        text_encoder (TextEncoderConfig): Of the text tower.
        image_projector (ProjectorConfig): Of the image tower's projector.
        text_projector (ProjectorConfig): Of the text tower's projector.
        multi_label (bool): Whether there is a second logit scale.
        normalization (Normalization): Of the input images. Defaults to ImageNet's, the paper's.
    """

    backbone: BackboneConfig
    text_encoder: TextEncoderConfig
    image_projector: ProjectorConfig
    text_projector: ProjectorConfig
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
        return (size, size) if isinstance(size, int) else (size[0], size[1])

    @property
    def assign_scale(self) -> float:
        """Factor on the assignment logits."""
        return self.backbone.get('assign_scale', 1.0)


# Settings that shapes determine: a place with other values belongs to another model.
SHAPED = {
    'backbone': (
        'patch_size',
        'in_channels',
        'embed_dims',
        'depths',
        'num_group_tokens',
        'num_output_groups',
    ),
    'text_encoder': ('context_length', 'embed_dims', 'num_layers', 'vocab_size'),
}


def check_belongs(settings: Settings, structure: Structure) -> None:
    """Compare the settings from one place with the structure that the shapes determine.

    Args:
        settings (Settings): From the place.
        structure (Structure): Of the tensors.

    Raises:
        ValueError: If the place belongs to another model; names one difference.
    """
    for part, names in SHAPED.items():
        stated: Mapping[str, object] = getattr(settings, part)
        actual: Mapping[str, object] = getattr(structure, part)
        for name in names:
            value = actual[name]
            value = tuple(value) if isinstance(value, list) else value
            if name in stated and stated[name] != value:
                raise ValueError(
                    f'{settings.where} is of another model: its {part} has {name} = '
                    f'{plain(stated[name])}, the weights have {plain(value)}; give the file that '
                    'belongs to them.'
                )
