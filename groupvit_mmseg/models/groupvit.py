"""GroupViT, the image tower: a vision transformer whose stages end in grouping blocks.

Paper: section 3.1; every number in the defaults is the paper's ViT-S sized model. Shapes: ``B``
images, ``C`` channels, ``h, w`` patch grid, ``N = h * w`` patches, ``S`` segments.
"""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.position_grid import interpolate_positions
from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.assignment import read_assignment_options
from groupvit_mmseg.models.outputs import (
    FeatureLevels,
    GroupViTOutput,
    StageOutput,
    check_levels,
    feature_level,
    hard_assignments,
    normalised,
)
from groupvit_mmseg.models.patch_embed import build_embedding, check_image_shape
from groupvit_mmseg.models.precision import autocast_disabled, upcast_half
from groupvit_mmseg.models.stages import (
    build_stages,
    check_assignment,
    check_frozen_stages,
    check_heads,
    check_stages,
)
from groupvit_mmseg.torch_versions import is_compiling


@MODELS.register_module()
class GroupViT(PretrainedInit, BaseModule):
    """The hierarchical grouping vision transformer (paper: section 3.1).

    Images may have any size of at least one patch a side: the position embedding is resized
    bicubically to the patch grid. There are more than 12 arguments because an MMSegmentation
    backbone has flat options beside the paper's numbers (mmseg's ``VisionTransformer`` has 25).

    Args:
        img_size (int | tuple[int, int]): ``(H, W)`` in pixels at which the position embedding is
            learned. Defaults to 224.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        in_channels (int): Image channels. Defaults to 3.
        embed_dims (int): Width ``C`` of the first stage. Defaults to 384.
        embed_factors (Sequence[float], optional): Width of each stage over ``embed_dims``.
            Defaults to 1 for all.
        depths (Sequence[int]): Transformer blocks per stage. Defaults to (6, 3, 3).
        num_heads (Sequence[int]): Attention heads per stage. Defaults to (6, 6, 6).
        num_group_tokens (Sequence[int]): Learned group tokens ``G`` per stage; 0 for the last
            stages means that they do not group. Defaults to (64, 8, 0).
        num_output_groups (Sequence[int]): Segments ``S`` of each stage that groups.
            Defaults to (64, 8).
        mlp_ratio (float): Hidden width of the MLPs over the width. Defaults to 4.0.
        drop_path_rate (float): Drop-path rate of the last block, growing linearly from 0 at the
            first. Defaults to 0.1.
        attn_drop_path (float, optional): Chance that an image skips the self-attention of a block
            (not of a grouping block) while training. Defaults to None: ``drop_path_rate``'s.
        assign_scale (float): Factor on the assignment logits. Defaults to 1.0, the paper's.
        assignment (Mapping[str, object], optional): Fields of :class:`AssignmentOptions`, for
            ablations: ``kind='soft'``, ``gumbel_noise=False``, ``eps=1e-10``,
            ``mean_of_tokens=True``, ``later_query_weight=0.01``. Defaults to None, the paper's.
        group_token_std (float): Initial standard deviation of the first stage's group tokens.
            Defaults to 0.02.
        conv_stem (dict, optional): ``channels`` and ``num_blocks`` of a :class:`.ConvStem` in place
            of the patch embedding, for small data. Defaults to None, the paper's.
        out_indices (Sequence[int], optional): Stage, counted from 0, of each level that
            :meth:`forward` returns; a stage may be named twice. Defaults to the last.
        out_type (str | Sequence[str]): Type of all levels, or of each. ``'featmap'``: at each
            patch its segment of the stage, ``(B, C, h, w)``; ``'raw'``: the same from the tokens
            before the stage's grouping block, which for stage 0 are those of the patches
            themselves; ``'segments'``: ``(B, S, C)``; ``'pooled'``: their mean ``(B, C)``.
            Defaults to ``'featmap'``.
        frozen_stages (int): 0 freezes the patch and position embeddings, ``n`` the first ``n``
            stages as well; frozen stages neither drop paths nor draw noise. Defaults to -1, none.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Raises:
        ValueError: If the stages do not fit each other, or there is no such level.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupViT
        >>> backbone = GroupViT(
        ...     img_size=32, patch_size=8, embed_dims=24, depths=(1, 1), num_heads=(2, 2),
        ...     num_group_tokens=(6, 0), num_output_groups=(4,),
        ... ).eval()
        >>> output = backbone.encode(torch.randn(2, 3, 40, 56))
        >>> output.segments.shape, output.pooled.shape  # 4 segments, the image embedding
        (torch.Size([2, 4, 24]), torch.Size([2, 24]))
        >>> output.group_map().shape
        torch.Size([2, 40, 56])
        >>> backbone(torch.randn(2, 3, 40, 56))[0].shape  # a feature map, as a backbone
        torch.Size([2, 24, 5, 7])
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
        attn_drop_path: float | None = None,
        assign_scale: float = 1.0,
        assignment: Mapping[str, object] | None = None,
        group_token_std: float = 0.02,
        conv_stem: dict | None = None,
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
        self.patch_embed = build_embedding(in_channels, embed_dims, patch_size, conv_stem)
        num_patches = self.grid_shape[0] * self.grid_shape[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches, embed_dims))
        options = read_assignment_options(assignment)
        self.keeps_tokens = options.mean_of_tokens
        check_assignment(options, num_group_tokens)
        self.stages = build_stages(
            widths,
            depths=depths,
            num_heads=num_heads,
            num_group_tokens=num_group_tokens,
            num_output_groups=num_output_groups,
            mlp_ratio=mlp_ratio,
            drop_path_rate=drop_path_rate,
            attn_drop_path=attn_drop_path,
            assign_scale=assign_scale,
            assignment=options,
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
        """Draw linear layers and positions from a truncated normal of .02; zero the biases."""
        self.apply(reset_linear)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        first = self.stages[0].group_tokens
        if isinstance(first, nn.Parameter):
            # The bounds scale with std: at torch's default of +-2 a wide draw would be cut.
            bound = max(2.0, 2.0 * group_token_std)
            nn.init.trunc_normal_(first, std=group_token_std, a=-bound, b=bound)

    def encode(self, images: Tensor) -> GroupViTOutput:
        """Compute the segments, the image embedding and the assignments of a batch.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised.

        Returns:
            GroupViTOutput: Segments, their mean and all assignments.

        Raises:
            ValueError: If the images are smaller than a patch.
        """
        stages, patch_shape = self._run_stages(images, len(self.stages))
        segments = stages[-1].segments  # (B, S, C)
        assignments = [stage.assignment for stage in stages if stage.assignment is not None]
        return GroupViTOutput(
            segments=segments,
            pooled=stages[-1].mean(),
            hard_assignments=hard_assignments(stages),
            soft_assignments=tuple(a.soft for a in assignments),
            patch_shape=patch_shape,
            image_shape=(images.shape[2], images.shape[3]),
            tokens=stages[-1].normed_tokens,
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps, as every backbone of MMSegmentation does.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised. ``h = H // patch_size``, likewise
                ``w``: up to ``patch_size - 1`` pixels at the end are not used.

        Returns:
            tuple[Tensor, ...]: One level for each of ``out_indices``, of its ``out_type``.
        """
        stages, patch_shape = self._run_stages(images, max(self.out_indices) + 1)
        levels = [
            feature_level(stages, index, out_type, patch_shape)
            for index, out_type in zip(self.out_indices, self.out_types, strict=True)
        ]
        return tuple(levels) if is_compiling() else FeatureLevels(levels)

    def _run_stages(self, images: Tensor, count: int) -> tuple[list[StageOutput], tuple[int, int]]:
        """Run the first ``count`` stages, the very last one normalised; also return ``h, w``."""
        check_image_shape(images, self.patch_size)
        x, patch_shape = self.patch_embed(images)  # (B, N, C)
        x = x + self._positions(patch_shape).to(x.dtype)
        outputs: list[StageOutput] = []
        for stage in self.stages[:count]:
            previous = outputs[-1].group_tokens if outputs else None
            outputs.append(stage(outputs[-1].segments if outputs else x, previous))
        if count == len(self.stages):
            outputs[-1] = normalised(outputs[-1], self.norm, keep_tokens=self.keeps_tokens)
        return outputs, patch_shape

    def train(self, mode: bool = True) -> 'GroupViT':
        """Keep frozen stages in evaluation mode."""
        super().train(mode)
        for part in self._frozen_parts():
            if isinstance(part, nn.Module):
                part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """Return the parts that ``frozen_stages`` freezes."""
        if self.frozen_stages < 0:
            return []
        parts = [self.patch_embed, self.pos_embed, *self.stages[: self.frozen_stages]]
        return parts + ([self.norm] if self.frozen_stages == len(self.stages) else [])

    def _unused_parts(self) -> list[nn.Module]:
        """Return parts that no level depends on: DDP would wait for their gradients."""
        last = max(self.out_indices)
        unused: list[nn.Module] = list(self.stages[last + 1 :])
        types = {t for i, t in zip(self.out_indices, self.out_types, strict=True) if i == last}
        grouping = self.stages[last].grouping
        if types == {'raw'} and isinstance(grouping, nn.Module):
            unused.append(grouping)
        if unused:  # the norm comes after them
            unused.append(self.norm)
        return unused

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter, for constructors of layer-wise learning rates.

        Embeddings have depth 0 and blocks 1, 2, ... through all stages. Other parameters of a
        stage have the depth of its nearest block, and all parameters after the stages the last.

        Args:
            param_name (str): Name of a parameter of the whole model.
            prefix (str): Prefix of the names of this backbone's parameters. Defaults to ''.

        Returns:
            tuple[int, int]: Depth, from 0, and the number of depths.
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
        """Return the position embedding ``(1, h * w, C)`` for a patch grid of any shape."""
        is_static = all(isinstance(size, int) for size in patch_shape)  # not so in an export
        if is_static and patch_shape == self.grid_shape:
            return self.pos_embed
        (positions,) = upcast_half(self.pos_embed)
        with autocast_disabled(positions):
            return interpolate_positions(positions, self.grid_shape, patch_shape)


def reset_linear(module: nn.Module) -> None:
    """Draw the weight of a linear layer from a truncated normal of .02; zero its bias."""
    # On the meta device there is nothing to draw, and drawing takes most of the building.
    if isinstance(module, nn.Linear) and not module.weight.is_meta:
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
