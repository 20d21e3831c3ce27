"""The text tower: CLIP's causal transformer, read at the end-of-text token.

Shapes: ``B`` texts, ``L`` tokens, ``C`` channels.
"""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.layers import TransformerBlock

LENGTH_MULTIPLE = 8


def quick_gelu(x: Tensor) -> Tensor:
    """Return CLIP's fast approximation of GELU, ``x * sigmoid(1.702 x)``."""
    return x * torch.sigmoid(1.702 * x)


@MODELS.register_module()
class GroupViTTextEncoder(PretrainedInit, BaseModule):
    """Transformer from token ids to text embeddings (paper: section 4.1; CLIP's architecture).

    Args:
        context_length (int): Longest text ``L`` in tokens. Defaults to 77.
        embed_dims (int): Width ``C``. Defaults to 256.
        num_layers (int): Transformer blocks. Defaults to 12.
        num_heads (int, optional): Attention heads. Defaults to one per 64 channels.
        vocab_size (int): Size of the vocabulary. Defaults to 49408, that of CLIP's BPE.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Example:
        >>> from groupvit_mmseg.models import GroupViTTextEncoder
        >>> from groupvit_mmseg.text import tokenize
        >>> encoder = GroupViTTextEncoder(context_length=16, embed_dims=32, num_layers=1)
        >>> encoder(tokenize(['a photo of a cat.', 'two dogs'], context_length=16)).shape
        torch.Size([2, 32])
    """

    pretrained_part = 'text_encoder.'

    def __init__(
        self,
        context_length: int = 77,
        *,
        embed_dims: int = 256,
        num_layers: int = 12,
        num_heads: int | None = None,
        vocab_size: int = 49408,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        num_heads = num_heads or max(1, embed_dims // 64)
        self.context_length = context_length
        self.embed_dims = embed_dims
        self.token_embedding = nn.Embedding(vocab_size, embed_dims)
        self.pos_embed = nn.Parameter(torch.zeros(context_length, embed_dims))
        blocks = [
            TransformerBlock(embed_dims, num_heads, causal=True, activation=quick_gelu)
            for _ in range(num_layers)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dims)
        self._reset_parameters(blocks)

    def _reset_parameters(self, blocks: list[TransformerBlock]) -> None:
        """Initialise as CLIP does."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.01)
        width, layers = self.embed_dims, len(blocks)
        for block in blocks:
            nn.init.normal_(block.attn.qkv.weight, std=width**-0.5)
            nn.init.normal_(block.attn.proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.fc1.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.fc2.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.zeros_(block.attn.qkv.bias)
            nn.init.zeros_(block.attn.proj.bias)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Embed texts.

        Tokens past the longest text of the batch are not computed: the attention is causal, so
        nothing after a text's end changes its embedding.

        Args:
            token_ids (Tensor): int64 ``(B, L)``, ``L`` at most ``context_length``; the
                end-of-text token is the highest id of its row.

        Returns:
            Tensor: ``(B, C)``, the normalised state at the end-of-text token.

        Raises:
            ValueError: If ``L`` exceeds the context length.
        """
        if token_ids.shape[-1] > self.context_length:
            raise ValueError(
                f'Texts have {token_ids.shape[-1]} tokens, but the text encoder reads at most '
                f'{self.context_length}: tokenise with context_length={self.context_length}.'
            )
        end = token_ids.argmax(dim=-1)  # (B,)
        token_ids = token_ids[:, : used_length(end, token_ids.shape[-1])]  # (B, L')
        x = self.token_embedding(token_ids) + self.pos_embed[: token_ids.shape[-1]]  # (B, L', C)
        for block in self.blocks:
            x = block(x)
        x = x[torch.arange(len(x), device=x.device), end]  # (B, L', C) to (B, C)
        return self.norm(x)


def used_length(end: Tensor, length: int) -> int:
    """Return the columns up to the last end-of-text position, rounded up for stable shapes."""
    used = int(end.max()) + 1
    return min(length, -(-used // LENGTH_MULTIPLE) * LENGTH_MULTIPLE)
