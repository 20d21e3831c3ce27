"""The stages of GroupViT: blocks over tokens and group tokens, ended by a grouping block.

Paper: section 3.1 and figure 2 (left). Shapes: ``B`` images, ``N`` tokens, ``G`` group tokens,
``S`` segments, ``C`` channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from groupvit_mmseg.models.assignment import AssignmentOptions
from groupvit_mmseg.models.grouping import GroupingBlock, reduction
from groupvit_mmseg.models.layers import TokenMlp, TransformerBlock, check_drop_paths
from groupvit_mmseg.models.outputs import StageOutput


class GroupProjector(nn.Module):
    """Projection of the previous stage's group tokens, added to this stage's: ``(B, G, C)``."""

    def __init__(self, in_tokens: int, out_tokens: int, in_channels: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_channels)
        self.mlp = TokenMlp(in_tokens, in_channels // 2, out_tokens)
        self.expand = reduction(in_channels, channels)

    def forward(self, group_tokens: Tensor) -> Tensor:
        """Project ``(B, in_tokens, in_channels)`` to ``(B, out_tokens, channels)``."""
        return self.expand(self.mlp(self.norm(group_tokens)))


class GroupingStage(nn.Module):
    """Blocks over tokens and group tokens together, then a grouping block if there are any.

    Args:
        blocks (nn.ModuleList): Transformer blocks of one width ``C``.
        grouping (GroupingBlock, optional): Last part of the stage. Defaults to None.
        group_tokens (nn.Parameter, optional): Learned ``(1, G, C)``. Defaults to None.
        group_projector (GroupProjector, optional): Projection of the previous stage's group
            tokens. Defaults to None.
    """

    def __init__(
        self,
        blocks: nn.ModuleList,
        *,
        grouping: GroupingBlock | None = None,
        group_tokens: nn.Parameter | None = None,
        group_projector: GroupProjector | None = None,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.grouping = grouping
        self.group_tokens = group_tokens
        self.group_projector = group_projector

    def forward(self, x: Tensor, previous: Tensor | None) -> StageOutput:
        """Run the stage.

        Args:
            x (Tensor): Tokens ``(B, N, C)``.
            previous (Tensor, optional): Group tokens of the stage before, ``(B, G', C')``.

        Returns:
            StageOutput: Tokens, segments, group tokens and assignment.
        """
        if self.grouping is None:
            x = self._run_blocks(x)
            return StageOutput(x, x, None, None)
        group_tokens = self._group_tokens(len(x), previous).to(x.dtype)  # (B, G, C)
        num_tokens = x.shape[1]
        x = self._run_blocks(torch.cat([x, group_tokens], dim=1))  # (B, N + G, C)
        x, group_tokens = x[:, :num_tokens], x[:, num_tokens:]  # (B, N, C), (B, G, C)
        segments, assignment = self.grouping(x, group_tokens)  # (B, S, C'), (B, S, N)
        return StageOutput(x, segments, group_tokens, assignment)

    def _run_blocks(self, x: Tensor) -> Tensor:
        """Run all blocks in turn, ``(B, T, C)`` to ``(B, T, C)``."""
        for block in self.blocks:
            x = block(x)
        return x

    def _group_tokens(self, batch_size: int, previous: Tensor | None) -> Tensor:
        """Return the learned tokens plus the projection of the previous stage's, ``(B, G, C)``."""
        assert self.group_tokens is not None
        tokens = self.group_tokens.expand(batch_size, -1, -1)
        if self.group_projector is None or previous is None:
            return tokens
        return tokens + self.group_projector(previous)


def build_stages(
    widths: Sequence[int],
    *,
    depths: Sequence[int],
    num_heads: Sequence[int],
    num_group_tokens: Sequence[int],
    num_output_groups: Sequence[int],
    mlp_ratio: float,
    drop_path_rate: float,
    attn_drop_path: float | None,
    assign_scale: float,
    assignment: AssignmentOptions,
) -> nn.ModuleList:
    """Build all stages of a :class:`GroupViT`; grouping blocks output the next stage's width."""
    check_drop_paths(drop_path_rate=drop_path_rate, attn_drop_path=attn_drop_path)
    drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths), device='cpu').tolist())
    stages = nn.ModuleList()
    for i, width in enumerate(widths):
        blocks = nn.ModuleList(
            TransformerBlock(
                width,
                num_heads[i],
                mlp_ratio=mlp_ratio,
                drop_path=next(drop_paths),
                attn_drop_path=attn_drop_path,
            )
            for _ in range(depths[i])
        )
        if num_group_tokens[i] == 0:
            stages.append(GroupingStage(blocks))
            continue
        grouping = GroupingBlock(
            width,
            num_heads[i],
            num_group_tokens=num_group_tokens[i],
            num_output_groups=num_output_groups[i],
            out_channels=widths[i + 1] if i + 1 < len(widths) else width,
            mlp_ratio=mlp_ratio,
            assign_scale=assign_scale,
            options=assignment.of_stage(i),
        )
        projector = None
        if i > 0:
            projector = GroupProjector(
                num_group_tokens[i - 1], num_group_tokens[i], widths[i - 1], width
            )
        tokens = nn.Parameter(torch.zeros(1, num_group_tokens[i], width))
        stages.append(
            GroupingStage(
                blocks,
                grouping=grouping,
                group_tokens=tokens,
                group_projector=projector,
            )
        )
    return stages


def check_stages(
    depths: Sequence[int],
    num_heads: Sequence[int],
    embed_factors: Sequence[float],
    num_group_tokens: Sequence[int],
    num_output_groups: Sequence[int],
) -> None:
    """Raise ``ValueError`` if the stages do not fit each other."""
    num_stages = len(depths)
    if num_stages == 0:
        raise ValueError('GroupViT needs at least one stage, but depths is empty.')
    per_stage = dict(
        num_heads=num_heads, embed_factors=embed_factors, num_group_tokens=num_group_tokens
    )
    for name, values in per_stage.items():
        if len(values) != num_stages:
            raise ValueError(
                f'{name} = {tuple(values)} has {len(values)} entries, but depths = {tuple(depths)} '
                f'makes {num_stages} stages: give one entry per stage.'
            )
    grouping = [count > 0 for count in num_group_tokens]
    if min(num_group_tokens) < 0 or grouping != sorted(grouping, reverse=True):
        raise ValueError(
            f'num_group_tokens = {tuple(num_group_tokens)} must be positive for the stages that '
            'group and 0 only for stages after all of them.'
        )
    if len(num_output_groups) != sum(grouping) or min(num_output_groups, default=1) < 1:
        raise ValueError(
            f'num_output_groups = {tuple(num_output_groups)} must hold one positive count for each '
            f'of the {sum(grouping)} stages that group (num_group_tokens = '
            f'{tuple(num_group_tokens)}).'
        )
    if len(set(embed_factors[sum(grouping) :])) > 1:
        raise ValueError(
            f'embed_factors = {tuple(embed_factors)} changes the width after a stage without a '
            'grouping block; only a grouping block can change it.'
        )


def check_assignment(options: AssignmentOptions, num_group_tokens: Sequence[int]) -> None:
    """Raise ``ValueError`` if the stages are not those that an option of the assignment is for."""
    if options.later_query_weight != 1 and sum(count > 0 for count in num_group_tokens) < 2:
        raise ValueError(
            f'assignment later_query_weight = {options.later_query_weight} is for stages after the '
            f'first that groups: num_group_tokens = {tuple(num_group_tokens)} has none.'
        )
    if options.mean_of_tokens and (len(num_group_tokens) != 1 or num_group_tokens[0] == 0):
        raise ValueError(
            'assignment mean_of_tokens=True makes segments of patches: it needs one stage, which '
            f'groups, not num_group_tokens = {tuple(num_group_tokens)}.'
        )


def check_heads(widths: Sequence[int], num_heads: Sequence[int]) -> None:
    """Raise ``ValueError`` if a stage's heads do not divide its width."""
    for i, (width, heads) in enumerate(zip(widths, num_heads, strict=True)):
        if heads < 1 or width % heads:
            raise ValueError(
                f'num_heads[{i}] = {heads} does not divide the width {width} of stage {i}.'
            )


def check_frozen_stages(frozen_stages: int, num_stages: int) -> int:
    """Return ``frozen_stages``; raise ``ValueError`` if there are not as many stages."""
    if not -1 <= frozen_stages <= num_stages:
        raise ValueError(
            f'frozen_stages = {frozen_stages} must be -1 (nothing), 0 (the embeddings) or up to '
            f'the number of stages, {num_stages}.'
        )
    return frozen_stages
