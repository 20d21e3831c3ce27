"""Any backbone as the image tower: GroupViT without grouping, the paper's baseline.

A tower that does not group returns a segment per patch. It can be used wherever a
:class:`GroupViT` can: with both losses, the zero-shot head, sliding windows, evaluation. Shapes:
``B`` images, ``C`` channels, ``h, w`` patch grid, ``N = h * w`` patches.
"""

from collections.abc import Sequence
from typing import Literal

from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.patch_embed import check_image_shape


@MODELS.register_module()
class ImageTower(PretrainedInit, BaseModule):
    """A backbone of MMPretrain or MMSegmentation instead of a :class:`GroupViT`.

    The backbone returns one feature map, each of whose pixels is a token: the patches of a vision
    transformer, or the last map of a convolutional network. Its type begins with its package
    (``mmpretrain.VisionTransformer``, ``mmseg.VisionTransformer``, ``mmpretrain.ResNet``).
    The options that select one map differ:

    - MMPretrain's vision transformers: ``out_type='featmap'``, or ``'raw'`` with a class token;
    - MMSegmentation's networks of several stages: ``out_indices=(3,)``, the last alone;
      ``VisionTransformer`` with a class token: ``output_cls_token=True``.

    Weights of the backbone alone are loaded by the ``init_cfg`` inside its config. An ``init_cfg``
    of the tower loads those of a pretrainer or of a tower.

    Args:
        backbone (dict): Config of the backbone.
        embed_dims (int): Channels ``C`` of its feature map.
        patch_size (int): Pixels of the image per pixel of the feature map, along a side: the patch
            size of a transformer, the stride of a convolutional network.
        pooling (str): Image embedding: ``'mean'`` of the tokens or ``'class_token'``.
            Defaults to ``'mean'``.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Raises:
        ValueError: If ``pooling`` is neither.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import ImageTower
        >>> network = dict(
        ...     type='mmseg.VisionTransformer', img_size=32, patch_size=8, embed_dims=24,
        ...     num_layers=1, num_heads=2, with_cls_token=False,
        ... )
        >>> tower = ImageTower(network, embed_dims=24, patch_size=8).eval()
        >>> tower.encode(torch.randn(2, 3, 32, 40)).segments.shape  # a segment per patch
        torch.Size([2, 20, 24])
    """

    pretrained_part = 'backbone.'

    def __init__(
        self,
        backbone: dict,
        *,
        embed_dims: int,
        patch_size: int,
        pooling: Literal['mean', 'class_token'] = 'mean',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if pooling not in ('mean', 'class_token'):
            raise ValueError(
                f"ImageTower: pooling must be 'mean' or 'class_token', not {pooling!r}."
            )
        self.network: nn.Module = MODELS.build(backbone)
        self.name = str(backbone['type'])
        self.embed_dims = embed_dims
        self.patch_size = patch_size
        self.pooling = pooling

    def encode(self, images: Tensor) -> GroupViTOutput:
        """Compute tokens and image embedding of a batch; each token is a segment.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised.

        Returns:
            GroupViTOutput: Without assignments; ``S`` is the number of patches ``N``.

        Raises:
            ValueError: If the images are smaller than a patch, or the backbone's output does not
                match the tower's arguments.
        """
        feature_map, class_token = self._features(images)
        segments = feature_map.flatten(2).transpose(1, 2)  # (B, C, h, w) to (B, N, C)
        pooled = segments.mean(dim=1) if class_token is None else class_token  # (B, C)
        return GroupViTOutput(
            segments=segments,
            pooled=pooled,
            hard_assignments=(),
            soft_assignments=(),
            patch_shape=(feature_map.shape[2], feature_map.shape[3]),
            image_shape=(images.shape[2], images.shape[3]),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the feature map ``(B, C, h, w)``, as every MMSegmentation backbone does."""
        return (self._features(images)[0],)

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the feature map ``(B, C, h, w)`` and, if it is the image embedding, the token."""
        check_image_shape(images, self.patch_size, self.name)
        feature_map, class_token = self._split(self.network(images), images)
        self._check(feature_map, images)
        if self.pooling == 'mean':
            return feature_map, None
        if class_token is None:
            raise ValueError(
                f"pooling='class_token' needs one from {self.name}: set out_type='raw' "
                "(MMPretrain) or output_cls_token=True (MMSegmentation), or pooling='mean'."
            )
        return feature_map, class_token

    def _split(
        self, output: Tensor | Sequence[Tensor | Sequence[Tensor]], images: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Split the output of a backbone into feature map and class token."""
        levels = (output,) if isinstance(output, Tensor) else tuple(output)
        if len(levels) != 1:
            raise ValueError(
                f'ImageTower takes one feature map, but {self.name} gives {len(levels)}: name the '
                'last stage alone in its out_indices.'
            )
        (level,) = levels
        if isinstance(level, list | tuple) and len(level) == 2:  # MMSegmentation's output_cls_token
            return level[0], level[1]
        if isinstance(level, Tensor) and level.dim() == 3:
            return self._split_tokens(level, images)
        if isinstance(level, Tensor) and level.dim() == 4:
            return level, None
        shape = tuple(level.shape) if isinstance(level, Tensor) else type(level).__name__
        raise ValueError(
            f'ImageTower takes a feature map (B, C, h, w), but {self.name} gives {shape}: set its '
            "out_type='featmap', or gap_before_final_norm=False."
        )

    def _split_tokens(self, tokens: Tensor, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Split MMPretrain's ``out_type='raw'``, ``(B, 1 + N, C)``, into map and class token."""
        num_extra = getattr(self.network, 'num_extra_tokens', 0)
        height, width = (-(-side // self.patch_size) for side in images.shape[2:])
        if tokens.shape[1] != num_extra + height * width:
            raise ValueError(
                f'ImageTower has patch_size = {self.patch_size}, but {self.name} gives '
                f'{tokens.shape[1] - num_extra} tokens of {tuple(images.shape[2:])} px, not '
                f'{height} x {width}.'
            )
        feature_map = tokens[:, num_extra:].transpose(1, 2)  # (B, C, N)
        feature_map = feature_map.unflatten(-1, (height, width))  # (B, C, h, w)
        return feature_map, tokens[:, 0] if num_extra else None

    def _check(self, feature_map: Tensor, images: Tensor) -> None:
        """Raise ``ValueError`` if the map does not match the tower's arguments."""
        channels = feature_map.shape[1]
        if channels != self.embed_dims:
            raise ValueError(
                f'ImageTower has embed_dims = {self.embed_dims}, but {self.name} gives {channels} '
                "channels: set embed_dims and the image projector's in_channels to that."
            )
        for side, count in zip(images.shape[2:], feature_map.shape[2:], strict=True):
            if count not in (side // self.patch_size, -(-side // self.patch_size)):
                raise ValueError(
                    f'ImageTower has patch_size = {self.patch_size}, but {self.name} gives '
                    f'{count} tokens along {side} px: set patch_size to about {side // count}.'
                )
