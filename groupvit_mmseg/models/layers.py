"""The transformer parts that both towers share: MLP, attention and pre-norm blocks.

Shapes: ``B`` rows of a batch, ``T`` tokens, ``S`` queries, ``N`` keys, ``C`` channels, ``H`` heads.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupvit_mmseg.models.onednn import training_linears
from groupvit_mmseg.torch_versions import is_compiling


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        in_channels (int): Size of the last axis of the input.
        hidden_channels (int): Size between the layers.
        out_channels (int, optional): Size of the last axis of the output. Defaults to
            ``in_channels``.
        activation (Callable): Applied between the layers. Defaults to exact GELU.
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
        """Map ``(..., in_channels)`` to ``(..., out_channels)``."""
        return self.fc2(self.activation(self.fc1(x)))


class TokenMlp(Mlp):
    """An MLP over the token axis: ``(B, T_in, C)`` to ``(B, T_out, C)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, C)`` to ``(B, out_channels, C)``."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Reshape ``(B, T, C)`` to ``(B, H, T, C / H)``; heads are contiguous in C."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Reshape ``(B, H, T, C / H)`` to ``(B, T, C)``."""
    return x.transpose(1, 2).flatten(-2)


MAX_UNFUSED_KEYS = 512


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> Tensor:
    """Return ``softmax(q k^T / sqrt(D)) v``.

    PyTorch's fused kernel for CPUs takes two to five times as long as plain products where it has
    to keep gradients of bfloat16 for up to some hundred tokens. Plain products need memory for
    ``S x N`` values, so longer inputs keep the fused one.

    Args:
        q (Tensor): ``(B, H, S, D)``.
        k (Tensor): ``(B, H, N, D)``.
        v (Tensor): ``(B, H, N, D)``.
        causal (bool): Whether each query only sees the keys up to its own place; needs ``S = N``.
            Defaults to False.

    Returns:
        Tensor: ``(B, H, S, D)``.
    """
    plain = q.dtype == torch.bfloat16 and q.device.type == 'cpu' and q.requires_grad
    if not plain or k.shape[-2] > MAX_UNFUSED_KEYS or is_compiling():
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    logits = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, H, S, N)
    if causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    return logits.softmax(dim=-1).to(v.dtype) @ v


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection (rows: q, k, v)."""

    def __init__(self, embed_dims: int, num_heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.causal = causal
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within ``(B, T, C)``; return ``(B, T, C)``."""
        parts = self.qkv(x).chunk(3, dim=-1)  # (B, T, 3 C) to three of (B, T, C)
        q, k, v = (split_heads(part, self.num_heads) for part in parts)  # (B, H, T, C / H)
        attended = attend(q, k, v, causal=self.causal)
        return self.proj(merge_heads(attended))  # (B, T, C)


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
        """Attend from ``(B, S, C)`` to ``(B, N, C)``; return ``(B, S, C)``."""
        projected = (self.q_proj(query), self.k_proj(x), self.v_proj(x))
        q, k, v = (split_heads(part, self.num_heads) for part in projected)
        attended = attend(q, k, v)  # (B, H, S, C / H)
        return self.proj(merge_heads(attended))  # (B, S, C)


class DropPath(nn.Module):
    """Drops a branch for some samples while training, and scales it up for the others.

    mmcv's layer with the same draws. There the rate is a Python number, and ``torch.compile`` makes
    a graph for each one until it gives up; here it is a tensor, and all blocks share a graph.

    Args:
        drop_prob (float): Chance that a sample skips the branch, below 1.
    """

    keep_prob: Tensor

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.register_buffer('keep_prob', torch.tensor(1 - drop_prob), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Drop samples of ``(B, ...)``; return ``(B, ...)``."""
        if not self.training:
            return x
        noise = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device)  # (B, 1, ...)
        factor = (noise + self.keep_prob).floor() / self.keep_prob
        return x * factor.to(x.dtype)


def check_drop_paths(**rates: float | None) -> None:
    """Raise ``ValueError`` if a rate is no chance, or drops everything."""
    for name, rate in rates.items():
        if rate is not None and not 0 <= rate < 1:
            raise ValueError(f'{name} must be at least 0 and below 1, not {rate}.')


def _drop_path(rate: float) -> nn.Module:
    return DropPath(rate) if rate else nn.Identity()


class TransformerBlock(nn.Module):
    """Pre-norm block: ``x + Attn(LN(x))``, then ``x + MLP(LN(x))``.

    Args:
        embed_dims (int): Width ``C``.
        num_heads (int): Attention heads; divides ``embed_dims``.
        mlp_ratio (float): Hidden width of the MLP over ``embed_dims``. Defaults to 4.0.
        drop_path (float): Chance that a sample skips a branch while training. Defaults to 0.0.
        attn_drop_path (float, optional): The same for the attention alone. Defaults to
            ``drop_path``.
        causal (bool): Whether each token attends only to itself and to those before it.
            Defaults to False.
        activation (Callable): Activation of the MLP. Defaults to exact GELU.

    Raises:
        ValueError: If a chance is not at least 0 and below 1.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        attn_drop_path: float | None = None,
        causal: bool = False,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        check_drop_paths(drop_path=drop_path, attn_drop_path=attn_drop_path)
        self.norm1 = nn.LayerNorm(embed_dims)
        self.attn = SelfAttention(embed_dims, num_heads, causal=causal)
        self.norm2 = nn.LayerNorm(embed_dims)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio), activation=activation)
        self.attn_drop_path = _drop_path(drop_path if attn_drop_path is None else attn_drop_path)
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C)`` to ``(B, T, C)``."""
        with training_linears(x):
            x = x + self.attn_drop_path(self.attn(self.norm1(x)))
            return x + self.drop_path(self.mlp(self.norm2(x)))
