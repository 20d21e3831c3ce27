"""GroupViT, the image tower: a vision transformer whose stages end in grouping blocks.

Paper: section 3.1; every number in the defaults is the paper's ViT-S sized model.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.grouping import Assignment, compose
from groupvit_mmseg.models.precision import at_least_float32, full_precision
from groupvit_mmseg.models.stages import build_stages, check_heads, check_stages


class GroupViTOutput(NamedTuple):
    """What one pass over ``B`` images gives.

    Attributes:
        segments (Tensor): ``(B, S, C)`` after the final LayerNorm.
        pooled (Tensor): ``(B, C)``, the mean of the segments: the image embedding.
        hard_assignments (tuple[Tensor, ...]): per grouping stage ``(B, S_i, N_i)``, one-hot over
            ``S_i`` in value.
        soft_assignments (tuple[Tensor, ...]): the same shapes, softmax over ``S_i``.
        patch_shape (tuple[int, int]): ``h, w`` of the patch grid; ``N_1 = h * w``.
        image_shape (tuple[int, int]): ``H, W`` of the images in pixels.
    """

    segments: Tensor
    pooled: Tensor
    hard_assignments: tuple[Tensor, ...]
    soft_assignments: tuple[Tensor, ...]
    patch_shape: tuple[int, int]
    image_shape: tuple[int, int]

    def group_probs(self, num_stages: int | None = None) -> Tensor:
        """Probability of each segment at each patch, ``(B, S, h, w)``, from soft assignments.

        Args:
            num_stages (int, optional): segments of which grouping stage, counted from 1.
                Defaults to the last.
        """
        return self._on_grid(self.soft_assignments[:num_stages])

    def _on_grid(self, assignments: tuple[Tensor, ...]) -> Tensor:
        """Composed assignments ``(B, S, h, w)``; without any, each patch is a segment."""
        if not assignments:
            own = torch.eye(self.segments.shape[1], device=self.segments.device)
            return own.expand(len(self.segments), -1, -1).unflatten(-1, self.patch_shape)
        return compose(assignments).unflatten(-1, self.patch_shape)

    def segment_shares(self) -> Tensor:
        """Share of the patches that each segment owns, ``(B, S)``; gradients straight through."""
        return self._on_grid(self.hard_assignments).flatten(2).mean(dim=-1)

    def feature_map(self) -> Tensor:
        """Every patch's own segment, ``(B, C, h, w)``; gradients flow straight through."""
        membership = self._on_grid(self.hard_assignments).to(self.segments.dtype)
        return torch.einsum('bsc,bshw->bchw', self.segments, membership)


class PatchEmbed(nn.Module):
    """Non-overlapping patches to tokens; pixels beyond the last whole patch are dropped."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """``(B, 3, H, W)`` to tokens ``(B, h * w, C)`` and ``(h, w)``."""
        grid = self.proj(images)  # (B, C, h, w)
        return self.norm(grid.flatten(2).transpose(1, 2)), (grid.shape[2], grid.shape[3])


@MODELS.register_module()
class GroupViT(PretrainedInit, BaseModule):
    """The hierarchical grouping vision transformer (paper: section 3.1).

    Any image of at least one patch a side goes in: the position embedding is resized bicubically
    to the patch grid.

    Args:
        img_size (int | tuple[int, int]): ``(H, W)`` in pixels at which the position embedding is
            learned. Defaults to 224.
        patch_size (int): side of a patch in pixels. Defaults to 16.
        in_channels (int): image channels. Defaults to 3.
        embed_dims (int): width ``C`` of the first stage. Defaults to 384.
        embed_factors (Sequence[float], optional): width of each stage over ``embed_dims``.
            Defaults to 1 for all.
        depths (Sequence[int]): transformer blocks per stage. Defaults to (6, 3, 3).
        num_heads (Sequence[int]): attention heads per stage. Defaults to (6, 6, 6).
        num_group_tokens (Sequence[int]): learned group tokens ``G`` per stage; 0 for the last
            stages means that they do not group. Defaults to (64, 8, 0).
        num_output_groups (Sequence[int]): segments ``S`` of each stage that groups.
            Defaults to (64, 8).
        mlp_ratio (float): hidden width of the MLPs over the width. Defaults to 4.0.
        drop_path_rate (float): drop-path of the last block, growing linearly from 0 at the first.
            Defaults to 0.1.
        assign_scale (float): factor on the assignment logits. Defaults to 1.0, the paper's.
        group_token_std (float): of the first stage's group tokens at the start. Defaults to 0.02.
        init_cfg (dict, optional): mmengine's initialisation config. Defaults to None.

    Raises:
        ValueError: if the stages do not fit each other.
    """

    pretrained_part = 'backbone.'

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        *,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dims: int = 384,
        embed_factors: Sequence[float] | None = None,
        depths: Sequence[int] = (6, 3, 3),
        num_heads: Sequence[int] = (6, 6, 6),
        num_group_tokens: Sequence[int] = (64, 8, 0),
        num_output_groups: Sequence[int] = (64, 8),
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.1,
        assign_scale: float = 1.0,
        group_token_std: float = 0.02,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        factors = tuple(embed_factors or [1] * len(depths))
        check_stages(depths, num_heads, factors, num_group_tokens, num_output_groups)
        widths = [int(embed_dims * factor) for factor in factors]
        check_heads(widths, num_heads)
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid_shape = (height // patch_size, width // patch_size)
        self.patch_size = patch_size
        self.embed_dims = widths[-1]
        self.patch_embed = PatchEmbed(in_channels, embed_dims, patch_size)
        num_patches = self.grid_shape[0] * self.grid_shape[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches, embed_dims))
        self.stages = build_stages(
            widths,
            depths=depths,
            num_heads=num_heads,
            num_group_tokens=num_group_tokens,
            num_output_groups=num_output_groups,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            assign_scale=assign_scale,
        )
        self.norm = nn.LayerNorm(self.embed_dims)
        self._reset_parameters(group_token_std)

    def _reset_parameters(self, group_token_std: float) -> None:
        """Truncated normal .02 for linear layers and positions, zero biases, unit norms."""
        self.apply(reset_linear)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        first = self.stages[0].group_tokens
        if isinstance(first, nn.Parameter):
            # The bounds scale with std: at torch's default of +-2 a wide draw would be cut.
            bound = max(2.0, 2.0 * group_token_std)
            nn.init.trunc_normal_(first, std=group_token_std, a=-bound, b=bound)

    def encode(self, images: Tensor) -> GroupViTOutput:
        """Segments, image embedding and assignments of a batch.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised.

        Returns:
            GroupViTOutput: all that one pass gives.

        Raises:
            ValueError: if the images are smaller than a patch.
        """
        check_image_shape(images, self.patch_size)
        x, patch_shape = self.patch_embed(images)
        x = x + self._positions(patch_shape).to(x.dtype)
        group_tokens: Tensor | None = None
        assignments: list[Assignment] = []
        for stage in self.stages:
            x, group_tokens, assignment = stage(x, group_tokens)
            assignments += [assignment] if assignment is not None else []
        segments = self.norm(x)
        return GroupViTOutput(
            segments=segments,
            pooled=segments.mean(dim=1),
            hard_assignments=tuple(a.hard for a in assignments),
            soft_assignments=tuple(a.soft for a in assignments),
            patch_shape=patch_shape,
            image_shape=(images.shape[2], images.shape[3]),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, as every MMSegmentation backbone gives them.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised.

        Returns:
            tuple[Tensor, ...]: one map ``(B, C, h, w)``: at each patch its segment's token.
        """
        return (self.encode(images).feature_map(),)

    def _positions(self, patch_shape: tuple[int, int]) -> Tensor:
        """Position embedding ``(1, h * w, C)`` for a patch grid of any shape."""
        is_static = all(isinstance(size, int) for size in patch_shape)  # not so in an export
        if is_static and patch_shape == self.grid_shape:
            return self.pos_embed
        (positions,) = at_least_float32(self.pos_embed)
        with full_precision(positions):
            grid = positions.transpose(1, 2).unflatten(-1, self.grid_shape)
            grid = F.interpolate(grid, size=patch_shape, mode='bicubic', align_corners=False)
        return grid.flatten(2).transpose(1, 2)


def reset_linear(module: nn.Module) -> None:
    """Truncated normal .02 for the weight of a linear layer, zero for its bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_image_shape(images: Tensor, patch_size: int) -> None:
    """Raise ``ValueError`` with one sentence unless ``(B, 3, H, W)`` holds a patch."""
    if images.dim() != 4 or any(n < patch_size for n in images.shape[2:]):
        raise ValueError(
            f'GroupViT takes images (B, C, H, W) of at least one patch of {patch_size} px a side, '
            f'but got shape {tuple(images.shape)}.'
        )
