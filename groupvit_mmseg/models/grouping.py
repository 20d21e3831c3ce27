"""The grouping block: tokens are merged into segments by a learned assignment.

Paper: section 3.1 and figure 2 (right). Shapes: ``B`` images, ``N`` tokens, ``G`` group tokens,
``S`` segments, ``C`` channels.
"""

import torch
from torch import Tensor, nn

from groupvit_mmseg.models.assignment import (
    PAPER_ASSIGNMENT,
    Assignment,
    AssignmentOptions,
    assign,
    mean_of_members,
    soft_assignment,
)
from groupvit_mmseg.models.layers import CrossAttention, Mlp, TokenMlp
from groupvit_mmseg.models.onednn import training_linears
from groupvit_mmseg.models.precision import autocast_disabled, upcast_half


class CrossAttentionBlock(nn.Module):
    """Cross-attention of queries to tokens: ``q + Attn(q, x)``, ``+ MLP(LN(q))``, then a norm.

    Neither q nor x is normalised before the attention: both are normalised already.
    """

    def __init__(self, embed_dims: int, num_heads: int, *, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.attn = CrossAttention(embed_dims, num_heads)
        self.norm = nn.LayerNorm(embed_dims)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))
        self.norm_post = nn.LayerNorm(embed_dims)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        """Attend from ``(B, S, C)`` to ``(B, N, C)``; return ``(B, S, C)``."""
        query = query + self.attn(query, x)
        query = query + self.mlp(self.norm(query))
        return self.norm_post(query)


class AssignAttention(nn.Module):
    """Assignment of each token to one segment; a segment is the mean of its tokens.

    Args:
        embed_dims (int): Width ``C``.
        assign_scale (float): Factor on the assignment logits; above 1 the assignments are sharper
            from the start. Defaults to 1.0, the paper's.
        options (AssignmentOptions): Options of the assignment. Defaults to the paper's.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        assign_scale: float = 1.0,
        options: AssignmentOptions = PAPER_ASSIGNMENT,
    ) -> None:
        super().__init__()
        self.q_proj = nn.Linear(embed_dims, embed_dims)
        self.k_proj = nn.Linear(embed_dims, embed_dims)
        if not options.mean_of_tokens:
            self.v_proj = nn.Linear(embed_dims, embed_dims)
            self.proj = nn.Linear(embed_dims, embed_dims)
        self.scale = assign_scale * embed_dims**-0.5
        self.options = options

    def assign(self, query: Tensor, x: Tensor) -> Assignment:
        """Assign tokens ``(B, N, C)`` to queries ``(B, S, C)``; return ``(B, S, N)`` each."""
        q, k = upcast_half(self.q_proj(query), self.k_proj(x))  # (B, S, C), (B, N, C)
        with autocast_disabled(q):
            logits = q @ k.transpose(1, 2) * self.scale  # (B, S, N)
            used = assign(logits, self.options, training=self.training)
            return Assignment(used, soft_assignment(logits))

    def forward(self, query: Tensor, x: Tensor) -> tuple[Tensor, Assignment]:
        """Return the segments ``(B, S, C)`` and the assignment that they were computed with."""
        assignment = self.assign(query, x)
        weights = assignment.hard / (assignment.hard.sum(-1, keepdim=True) + self.options.eps)
        value = self.v_proj(x)  # (B, N, C); weights (B, S, N)
        return self.proj(weights.to(value.dtype) @ value), assignment


class GroupingBlock(nn.Module):
    """Merges ``N`` tokens into ``S`` segments with the help of ``G`` group tokens.

    Args:
        embed_dims (int): Width ``C`` of the tokens.
        num_heads (int): Heads of the cross-attention.
        num_group_tokens (int): Number of group tokens ``G``.
        num_output_groups (int): Number of segments ``S``.
        out_channels (int, optional): Width of the segments. Defaults to ``embed_dims``.
        mlp_ratio (float): Hidden width of the channel MLPs over ``embed_dims``. Defaults to 4.0.
        assign_scale (float): See :class:`AssignAttention`. Defaults to 1.0.
        options (AssignmentOptions): Options of the assignment. Defaults to the paper's.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupingBlock
        >>> block = GroupingBlock(24, 2, num_group_tokens=6, num_output_groups=4).eval()
        >>> segments, assignment = block(torch.randn(2, 49, 24), torch.randn(2, 6, 24))
        >>> segments.shape, assignment.hard.shape
        (torch.Size([2, 4, 24]), torch.Size([2, 4, 49]))
        >>> bool((assignment.hard.argmax(dim=1) == assignment.soft.argmax(dim=1)).all())
        True
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        num_group_tokens: int,
        num_output_groups: int,
        out_channels: int | None = None,
        mlp_ratio: float = 4.0,
        assign_scale: float = 1.0,
        options: AssignmentOptions = PAPER_ASSIGNMENT,
    ) -> None:
        super().__init__()
        out_channels = out_channels or embed_dims
        self.norm_groups = nn.LayerNorm(embed_dims)
        self.norm_tokens = nn.LayerNorm(embed_dims)
        self.group_mlp = TokenMlp(num_group_tokens, embed_dims // 2, num_output_groups)
        self.norm_query = nn.LayerNorm(embed_dims)
        self.cross_attention = CrossAttentionBlock(embed_dims, num_heads, mlp_ratio=mlp_ratio)
        self.assign = AssignAttention(embed_dims, assign_scale=assign_scale, options=options)
        if options.mean_of_tokens:
            if out_channels != embed_dims:
                raise ValueError(
                    f'A mean of tokens keeps their width {embed_dims}: it cannot become '
                    f'{out_channels}.'
                )
            return
        self.norm_out = nn.LayerNorm(embed_dims)
        self.mlp_out = Mlp(embed_dims, int(embed_dims * mlp_ratio), out_channels)
        self.reduce = reduction(embed_dims, out_channels)

    def forward(self, x: Tensor, group_tokens: Tensor) -> tuple[Tensor, Assignment]:
        """Merge tokens into segments.

        Args:
            x (Tensor): Tokens ``(B, N, C)``.
            group_tokens (Tensor): ``(B, G, C)``.

        Returns:
            tuple[Tensor, Assignment]: Segments ``(B, S, out_channels)`` and the assignment.
        """
        with training_linears(x):
            normed = self.norm_tokens(x)
            query = self.norm_query(self.group_mlp(self.norm_groups(group_tokens)))  # (B, S, C)
            query = self.cross_attention(query, normed)
            if self.assign.options.mean_of_tokens:
                assignment = self.assign.assign(query, normed)
                return mean_of_members(x, assignment.hard), assignment
            out, assignment = self.assign(query, normed)  # (B, S, C), (B, S, N)
            out = torch.add(out, query, alpha=self.assign.options.later_query_weight)
            return self.reduce(out) + self.mlp_out(self.norm_out(out)), assignment


def reduction(in_channels: int, out_channels: int) -> nn.Module:
    """Build a LayerNorm and a bias-free linear layer where the width changes, else an identity."""
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(
        nn.LayerNorm(in_channels), nn.Linear(in_channels, out_channels, bias=False)
    )
