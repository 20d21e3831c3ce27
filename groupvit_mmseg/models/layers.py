"""The transformer parts that both towers share: MLP, attention and pre-norm blocks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        in_channels (int): size of the last axis of the input.
        hidden_channels (int): size between the layers.
        out_channels (int, optional): size of the last axis of the output. Defaults to
            ``in_channels``.
        activation (Callable): applied between the layers. Defaults to exact GELU.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int | None = None,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, out_channels or in_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """``(..., in_channels)`` to ``(..., out_channels)``."""
        return self.fc2(self.activation(self.fc1(x)))


class TokenMlp(Mlp):
    """An MLP over the token axis: ``(B, T_in, C)`` to ``(B, T_out, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, C)`` to ``(B, out_channels, C)``."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """``(B, T, C)`` to ``(B, num_heads, T, C / num_heads)``, heads contiguous in C."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """``(B, num_heads, T, D)`` to ``(B, T, num_heads * D)``."""
    return x.transpose(1, 2).flatten(-2)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (rows: q, k, v)."""

    def __init__(self, embed_dims: int, num_heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C)`` to ``(B, T, C)``."""
        q, k, v = (split_heads(part, self.num_heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.proj(
            merge_heads(F.scaled_dot_product_attention(q, k, v, is_causal=self.causal))
        )


class CrossAttention(nn.Module):
    """Multi-head attention of queries onto other tokens, with separate projections."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(embed_dims, embed_dims)
        self.k_proj = nn.Linear(embed_dims, embed_dims)
        self.v_proj = nn.Linear(embed_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        """``(B, S, C)`` onto ``(B, N, C)`` to ``(B, S, C)``."""
        projected = (self.q_proj(query), self.k_proj(x), self.v_proj(x))
        q, k, v = (split_heads(part, self.num_heads) for part in projected)
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v)))


class DropPath(nn.Module):
    """Leaves a branch out for some samples while training, and scales it up for the others.

    mmcv's layer with the same draws. There the rate is a Python number, and ``torch.compile`` makes
    a graph for each one until it gives up; here it is a tensor, and all blocks share a graph.

    Args:
        drop_prob (float): chance that a sample skips the branch, below 1.
    """

    keep_prob: Tensor

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.register_buffer('keep_prob', torch.tensor(1 - drop_prob), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, ...)`` to ``(B, ...)``."""
        if not self.training:
            return x
        drawn = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)
        factor = (drawn + self.keep_prob).floor() / self.keep_prob
        return x * factor.to(x.dtype)


class TransformerBlock(nn.Module):
    """Pre-norm block: ``x + Attn(LN(x))``, then ``x + MLP(LN(x))``.

    Args:
        embed_dims (int): width ``C``.
        num_heads (int): attention heads; divides ``embed_dims``.
        mlp_ratio (float): hidden width of the MLP over ``embed_dims``. Defaults to 4.0.
        drop_path (float): chance that a sample skips a branch while training. Defaults to 0.0.
        causal (bool): each token sees itself and those before it only. Defaults to False.
        activation (Callable): of the MLP. Defaults to exact GELU.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        causal: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = SelfAttention(embed_dims, num_heads, causal=causal)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio), activation=activation)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C)`` to ``(B, T, C)``."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
