"""GroupViT, the image tower: a vision transformer whose stages end in grouping blocks.

Paper: section 3.1; every number in the defaults is the paper's ViT-S sized model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.position_grid import interpolate_positions
from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.outputs import (
    FeatureLevels,
    GroupViTOutput,
    StageOutput,
    check_levels,
    feature_level,
    hard_assignments,
)
from groupvit_mmseg.models.precision import autocast_disabled, upcast_half
from groupvit_mmseg.models.stages import (
    build_stages,
    check_frozen_stages,
    check_heads,
    check_stages,
)


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
    to the patch grid. There are more than 12 arguments because the options of an MMSegmentation
    backbone, which are flat, stand beside the paper's numbers (its ``VisionTransformer`` has 25).

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
        out_indices (Sequence[int], optional): the stage, counted from 0, of each level that
            :meth:`forward` gives; a stage may be named twice. Defaults to the last.
        out_type (str | Sequence[str]): what a level is, or each of them. ``'featmap'``: at each
            patch its segment of the stage, ``(B, C, h, w)``; ``'raw'``: the same from the tokens
            before the stage's grouping block, which for stage 0 are the patches' own;
            ``'segments'``: ``(B, S, C)``; ``'pooled'``: their mean ``(B, C)``. Defaults to
            ``'featmap'``.
        frozen_stages (int): 0 freezes the patch and position embeddings, ``n`` the first ``n``
            stages as well; frozen stages neither drop paths nor draw noise. Defaults to -1, none.
        init_cfg (dict, optional): mmengine's initialisation config. Defaults to None.

    Raises:
        ValueError: if the stages do not fit each other, or there is no such level.
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
        out_indices: Sequence[int] | None = None,
        out_type: str | Sequence[str] = 'featmap',
        frozen_stages: int = -1,
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
        self.depths = tuple(depths)
        self._reset_parameters(group_token_std)
        self.out_indices, self.out_types = check_levels(out_indices, out_type, len(depths))
        self.frozen_stages = check_frozen_stages(frozen_stages, len(depths))
        for part in (*self._frozen_parts(), *self._unused_parts()):
            part.requires_grad_(False)
        self.train()  # frozen stages in evaluation mode

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
        stages, patch_shape = self._run_stages(images, len(self.stages))
        segments = stages[-1].segments
        assignments = [stage.assignment for stage in stages if stage.assignment is not None]
        return GroupViTOutput(
            segments=segments,
            pooled=segments.mean(dim=1),
            hard_assignments=hard_assignments(stages),
            soft_assignments=tuple(a.soft for a in assignments),
            patch_shape=patch_shape,
            image_shape=(images.shape[2], images.shape[3]),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps, as every MMSegmentation backbone gives them.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised. ``h = H // patch_size``, likewise
                ``w``: up to ``patch_size - 1`` pixels at the end are not seen.

        Returns:
            tuple[Tensor, ...]: a level for each of ``out_indices``, by ``out_type``.
        """
        stages, patch_shape = self._run_stages(images, max(self.out_indices) + 1)
        levels = [
            feature_level(stages, index, out_type, patch_shape)
            for index, out_type in zip(self.out_indices, self.out_types, strict=True)
        ]
        return tuple(levels) if torch.compiler.is_compiling() else FeatureLevels(levels)

    def _run_stages(self, images: Tensor, count: int) -> tuple[list[StageOutput], tuple[int, int]]:
        """Outputs of the first ``count`` stages, the very last normalised, and the patch grid."""
        check_image_shape(images, self.patch_size)
        x, patch_shape = self.patch_embed(images)
        x = x + self._positions(patch_shape).to(x.dtype)
        outputs: list[StageOutput] = []
        for stage in self.stages[:count]:
            previous = outputs[-1].group_tokens if outputs else None
            outputs.append(stage(outputs[-1].segments if outputs else x, previous))
        if count == len(self.stages):
            last = outputs[-1]
            segments = self.norm(last.segments)
            tokens = segments if last.assignment is None else last.tokens
            outputs[-1] = last._replace(tokens=tokens, segments=segments)
        return outputs, patch_shape

    def train(self, mode: bool = True) -> 'GroupViT':
        """Keep frozen stages in evaluation mode."""
        super().train(mode)
        for part in self._frozen_parts():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """What ``frozen_stages`` names."""
        if self.frozen_stages < 0:
            return []
        parts = [self.patch_embed, self.pos_embed, *self.stages[: self.frozen_stages]]
        return parts + ([self.norm] if self.frozen_stages == len(self.stages) else [])

    def _unused_parts(self) -> list[nn.Module]:
        """What no level depends on: it cannot learn, and DDP would wait for its gradients."""
        last = max(self.out_indices)
        unused: list[nn.Module] = list(self.stages[last + 1 :])
        types = {t for i, t in zip(self.out_indices, self.out_types, strict=True) if i == last}
        grouping: Any = self.stages[last].grouping
        is_unseen = types == {'raw'} and grouping is not None
        if is_unseen:
            unused.append(grouping)
        if is_unseen or last + 1 < len(self.stages):
            unused.append(self.norm)
        return unused

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, as constructors of layer-wise learning rates ask for it.

        Embeddings have depth 0, blocks 1, 2, ... through all stages, what stands before or after
        the blocks of a stage the depth of the nearest one, and all behind them the last.

        Args:
            param_name (str): name of a parameter of the whole model.
            prefix (str): what the names of this backbone's parameters begin with. Defaults to ''.

        Returns:
            tuple[int, int]: depth, from 0, and the number of depths.
        """
        depths = self.depths
        num_depths = sum(depths) + 2
        name = param_name.removeprefix(prefix)
        if name.startswith(('patch_embed.', 'pos_embed')):
            return 0, num_depths
        if not param_name.startswith(prefix) or not name.startswith('stages.'):
            return num_depths - 1, num_depths
        stage, part, *rest = name.split('.')[1:]
        before = sum(depths[: int(stage)])
        if part == 'blocks':
            return before + int(rest[0]) + 1, num_depths
        return before + (depths[int(stage)] if part == 'grouping' else 1), num_depths

    def _positions(self, patch_shape: tuple[int, int]) -> Tensor:
        """Position embedding ``(1, h * w, C)`` for a patch grid of any shape."""
        is_static = all(isinstance(size, int) for size in patch_shape)  # not so in an export
        if is_static and patch_shape == self.grid_shape:
            return self.pos_embed
        (positions,) = upcast_half(self.pos_embed)
        with autocast_disabled(positions):
            return interpolate_positions(positions, self.grid_shape, patch_shape)


def reset_linear(module: nn.Module) -> None:
    """Truncated normal .02 for the weight of a linear layer, zero for its bias."""
    # On the meta device there is nothing to draw, and drawing takes most of the building.
    if isinstance(module, nn.Linear) and not module.weight.is_meta:
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def check_image_shape(images: Tensor, patch_size: int, name: str = 'GroupViT') -> None:
    """Raise ``ValueError`` with one sentence unless ``(B, C, H, W)`` holds a patch."""
    if images.dim() != 4 or any(n < patch_size for n in images.shape[2:]):
        raise ValueError(
            f'{name} takes images (B, C, H, W) of at least one patch of {patch_size} px a side, '
            f'but got shape {tuple(images.shape)}.'
        )
