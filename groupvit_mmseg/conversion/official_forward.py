"""GroupViT computed from tensors with the official keys: the reference of the numeric check.

An independent second implementation that uses neither the plugin's modules nor its key map.
Evaluation mode, one native image size. Paper: section 3.1.

Axes: ``B`` images or texts, ``N`` tokens, ``G`` group tokens, ``S`` segments, ``C`` channels, ``L``
text tokens, ``D`` embedding.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Embeddings(NamedTuple):
    """Outputs of both towers for a batch.

    Attributes:
        segments (Tensor): ``(B, S, C)`` after the final norm.
        image_embeds (Tensor): ``(B, D)``, projected, not normalised.
        text_embeds (Tensor): ``(B, D)``, projected, not normalised.
        logits_per_image (Tensor): ``(B, B)``.
    """

    segments: Tensor
    image_embeds: Tensor
    text_embeds: Tensor
    logits_per_image: Tensor


def similarity(image_embeds: Tensor, text_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Return scaled cosine similarities ``(B_image, B_text)``."""
    images, texts = F.normalize(image_embeds, dim=-1), F.normalize(text_embeds, dim=-1)
    return logit_scale.exp() * images @ texts.T


class OfficialForward:
    """The forward pass of both towers.

    Args:
        weights (Mapping[str, Tensor]): With the official keys, of one floating type.
        num_heads (Sequence[int]): Attention heads of every stage.
        text_heads (int): Attention heads of the text tower.
    """

    def __init__(
        self, weights: Mapping[str, Tensor], *, num_heads: Sequence[int], text_heads: int
    ) -> None:
        self.weights = weights
        self.num_heads = num_heads
        self.text_heads = text_heads

    def __call__(self, images: Tensor, token_ids: Tensor) -> Embeddings:
        """Embed images ``(B, 3, H, W)`` of the native size and texts ``(B, L)``."""
        segments = self.image_tower(images)
        image_embeds = self.project(segments.mean(dim=1), 'img_projector')
        text_embeds = self.project(self.text_tower(token_ids), 'text_projector')
        logits = similarity(image_embeds, text_embeds, self.weights['logit_scale'])
        return Embeddings(segments, image_embeds, text_embeds, logits)

    def image_tower(self, images: Tensor) -> Tensor:
        """Return segments ``(B, S, C)`` of images ``(B, 3, H, W)``."""
        name = 'img_encoder.patch_embed'
        kernel = self.weights[f'{name}.proj.weight']
        x = F.conv2d(images, kernel, self.weights[f'{name}.proj.bias'], stride=kernel.shape[-1])
        x = self.norm(x.flatten(2).transpose(1, 2), f'{name}.norm')  # (B, C, h, w) -> (B, N, C)
        x = x + self.weights['img_encoder.pos_embed']
        groups = None
        for i, heads in enumerate(self.num_heads):
            x, groups = self.stage(x, groups, f'img_encoder.layers.{i}', heads)
        return self.norm(x, 'img_encoder.norm')

    def stage(
        self, x: Tensor, previous: Tensor | None, name: str, heads: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return the segments and group tokens of tokens and the previous stage's group tokens."""
        groups, length = self.group_tokens(previous, name), x.shape[1]
        if groups is not None:
            x = torch.cat([x, groups.expand(len(x), -1, -1)], dim=1)  # (B, N + G, C)
        depth = 0
        while f'{name}.blocks.{depth}.norm1.weight' in self.weights:
            x = self.block(x, f'{name}.blocks.{depth}', heads)
            depth += 1
        if groups is None:
            return x, None
        x, groups = x[:, :length], x[:, length:]  # (B, N, C), (B, G, C)
        return self.grouping(x, groups, f'{name}.downsample', heads), groups

    def group_tokens(self, previous: Tensor | None, name: str) -> Tensor | None:
        """Return a stage's tokens plus the projection of the previous stage's; None without any."""
        tokens = self.weights.get(f'{name}.group_token')
        name = f'{name}.group_projector'
        if tokens is None or previous is None:
            return tokens
        if f'{name}.2.weight' not in self.weights:
            return tokens + self.over_tokens(self.norm(previous, f'{name}.0'), f'{name}.1')
        offset = self.over_tokens(self.norm(previous, f'{name}.0.0'), f'{name}.0.1')
        return tokens + self.linear(self.norm(offset, f'{name}.1'), f'{name}.2')

    def grouping(self, x: Tensor, groups: Tensor, name: str, heads: int) -> Tensor:
        """Group tokens ``(B, N, C)`` to segments ``(B, S, C')``."""
        x, groups = self.norm(x, f'{name}.norm_x'), self.norm(groups, f'{name}.norm_tokens')
        query = self.norm(self.over_tokens(groups, f'{name}.mlp_inter'), f'{name}.norm_post_tokens')
        query = self.cross_attention(query, x, f'{name}.pre_assign_attn', heads)
        out = self.assign(query, x, f'{name}.assign') + query
        wide = self.mlp(self.norm(out, f'{name}.norm_new_x'), f'{name}.mlp_channels')
        if f'{name}.reduction.1.weight' in self.weights:
            out = self.linear(self.norm(out, f'{name}.reduction.0'), f'{name}.reduction.1')
        return out + wide

    def cross_attention(self, query: Tensor, x: Tensor, name: str, heads: int) -> Tensor:
        """Apply cross-attention of the queries to the tokens, an MLP and a norm."""
        parts = zip((query, x, x), ('q_proj', 'k_proj', 'v_proj'), strict=True)
        q, k, v = (self.linear(part, f'{name}.attn.{layer}') for part, layer in parts)
        query = query + self.linear(attention(q, k, v, heads), f'{name}.attn.proj')
        query = query + self.mlp(self.norm(query, f'{name}.norm2'), f'{name}.mlp')
        return self.norm(query, f'{name}.norm_post')

    def assign(self, query: Tensor, x: Tensor, name: str) -> Tensor:
        """Return the mean of the tokens assigned to each query, with one added to their number."""
        q, k = self.linear(query, f'{name}.q_proj'), self.linear(x, f'{name}.k_proj')
        nearest = (q @ k.transpose(1, 2)).argmax(dim=1)  # (B, S, N) -> (B, N)
        members = F.one_hot(nearest, q.shape[1]).transpose(1, 2).to(x.dtype)  # (B, S, N)
        members = members / (members.sum(dim=-1, keepdim=True) + 1)
        return self.linear(members @ self.linear(x, f'{name}.v_proj'), f'{name}.proj')

    def block(self, x: Tensor, name: str, heads: int) -> Tensor:
        """Apply a pre-norm block of the image tower."""
        q, k, v = self.linear(self.norm(x, f'{name}.norm1'), f'{name}.attn.qkv').chunk(3, dim=-1)
        x = x + self.linear(attention(q, k, v, heads), f'{name}.attn.proj')
        return x + self.mlp(self.norm(x, f'{name}.norm2'), f'{name}.mlp')

    def text_tower(self, token_ids: Tensor) -> Tensor:
        """Return features ``(B, C)`` of texts ``(B, L)``."""
        x = self.weights['text_encoder.token_embedding.weight'][token_ids]  # (B, L, C)
        x = x + self.weights['text_encoder.positional_embedding'][: x.shape[1]]
        layer = 0
        while f'text_encoder.transformer.resblocks.{layer}.ln_1.weight' in self.weights:
            x = self.text_block(x, f'text_encoder.transformer.resblocks.{layer}')
            layer += 1
        ends = x[torch.arange(len(x)), token_ids.argmax(dim=-1)]  # (B, C) at the end tokens
        return self.norm(ends, 'text_encoder.ln_final')

    def text_block(self, x: Tensor, name: str) -> Tensor:
        """Apply a pre-norm block of the text tower: causal, with QuickGELU."""
        rows = (
            self.weights[f'{name}.attn.in_proj_weight'],
            self.weights[f'{name}.attn.in_proj_bias'],
        )
        q, k, v = F.linear(self.norm(x, f'{name}.ln_1'), *rows).chunk(3, dim=-1)
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        mixed = attention(q, k, v, self.text_heads, hidden=later)
        x = x + self.linear(mixed, f'{name}.attn.out_proj')
        hidden = self.linear(self.norm(x, f'{name}.ln_2'), f'{name}.mlp.c_fc')
        return x + self.linear(hidden * torch.sigmoid(1.702 * hidden), f'{name}.mlp.c_proj')

    def project(self, x: Tensor, name: str) -> Tensor:
        """Apply all hidden layers (linear, BatchNorm and ReLU), then a linear layer."""
        layer = 0
        while f'{name}.linear_hidden.{layer}.weight' in self.weights:
            x = self.linear(x, f'{name}.linear_hidden.{layer}')
            norm = f'{name}.linear_hidden.{layer + 1}'
            mean, var = self.weights[f'{norm}.running_mean'], self.weights[f'{norm}.running_var']
            scale, shift = self.weights[f'{norm}.weight'], self.weights[f'{norm}.bias']
            x = F.batch_norm(x, mean, var, scale, shift).relu()
            layer += 3
        return (
            self.linear(x, f'{name}.linear_out')
            if f'{name}.linear_out.weight' in self.weights
            else x
        )

    def linear(self, x: Tensor, name: str) -> Tensor:
        """Apply a linear layer, or a conv1d of kernel size 1."""
        weight = self.weights[f'{name}.weight']
        return F.linear(x, weight.flatten(1), self.weights.get(f'{name}.bias'))

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Apply a LayerNorm."""
        weight, bias = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return F.layer_norm(x, weight.shape, weight, bias)

    def mlp(self, x: Tensor, name: str) -> Tensor:
        """Apply two linear layers with exact GELU between them."""
        return self.linear(F.gelu(self.linear(x, f'{name}.fc1')), f'{name}.fc2')

    def over_tokens(self, x: Tensor, name: str) -> Tensor:
        """Apply an MLP over the token axis of ``(B, G, C)``."""
        return self.mlp(x.transpose(1, 2), name).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, hidden: Tensor | None = None) -> Tensor:
    """Apply multi-head attention to ``(B, T, C)``, heads contiguous in C, by its definition."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))  # (B, h, T, C / h)
    logits = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    if hidden is not None:
        logits = logits.masked_fill(hidden, float('-inf'))
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(-2)
