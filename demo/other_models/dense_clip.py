"""Dense baselines on a CLIP of Hugging Face, without training: MaskCLIP, SCLIP, ClearCLIP.

All change the attention of the last block, so that a patch keeps its own meaning: MaskCLIP
(arXiv 2112.01071) lets each patch attend to itself alone, SCLIP (arXiv 2312.01597) adds
query-query and key-key attention, ClearCLIP (arXiv 2407.12442) takes query-query attention and
leaves out the residual and the MLP. ``attention='clip'`` is CLIP itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor
from transformers import CLIPModel
from transformers.models.clip.modeling_clip import CLIPAttention, CLIPEncoderLayer

from groupvit_mmseg.models.open_vocabulary_model import (
    OpenVocabularyModel,
    fit_to_patches,
    mean_over_templates,
)
from groupvit_mmseg.text import tokenize
from groupvit_mmseg.text.class_list import Prompt

ATTENTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    'clip': (('q', 'k'),),
    'maskclip': (),
    'sclip': (('q', 'q'), ('k', 'k')),
    'clearclip': (('q', 'q'),),
}
"""dict: Products whose softmaxes are added, q queries and k keys; none for the patch itself."""


@MODELS.register_module()
class DenseCLIP(OpenVocabularyModel):
    """Cosines of CLIP's patches and class names; ``load_checkpoint`` builds the model.

    Args:
        attention (str): A key of ``ATTENTIONS``.
        residual (bool): Whether the last block adds its input and has its MLP.
    """

    clip: CLIPModel

    def __init__(self, attention: str = 'maskclip', *, residual: bool = True) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f'attention={attention!r} is none of {", ".join(ATTENTIONS)}.')
        self.products, self.residual = ATTENTIONS[attention], residual

    def load_checkpoint(self, path: Path) -> None:
        """Load the folder of ``path``, which ``save_pretrained`` wrote."""
        self.clip = CLIPModel.from_pretrained(path.parent).eval()
        self.patch_size = self.clip.vision_model.config.patch_size

    @property
    def logit_scale(self) -> float:
        """Scale of the weights."""
        return self.clip.logit_scale.exp().item()

    def embed_prompts(self, prompts: Sequence[Prompt]) -> Tensor:
        """Average over the templates, ``(K, D)``."""
        length = self.clip.text_model.config.max_position_embeddings

        def encode(texts: list[str]) -> Tensor:
            token_ids = tokenize(texts, length).to(self.clip.logit_scale.device)
            return self.clip.text_projection(self.clip.text_model(token_ids).pooler_output)

        return mean_over_templates(prompts, encode)

    def forward(self, images: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Compute cosines ``(B, K, h, w)`` of patches."""
        images = fit_to_patches(images, self.patch_size)
        tower = self.clip.vision_model
        outputs = tower(images, interpolate_pos_encoding=True, output_hidden_states=True)
        tokens = self.last_block(tower.encoder.layers[-1], outputs.hidden_states[-2])
        patches = self.clip.visual_projection(tower.post_layernorm(tokens[:, 1:]))  # (B, N, D)
        cosines = F.normalize(patches, dim=-1) @ prompt_embeds.T  # (B, N, K)
        height, width = (side // self.patch_size for side in images.shape[-2:])
        return cosines.transpose(1, 2).unflatten(2, (height, width))

    def last_block(self, block: CLIPEncoderLayer, tokens: Tensor) -> Tensor:
        """Run the last block with another attention on tokens ``(B, 1 + N, C)``."""
        attended = self.attend(block.self_attn, block.layer_norm1(tokens))
        if not self.residual:
            return attended
        tokens = tokens + attended
        return tokens + block.mlp(block.layer_norm2(tokens))

    def attend(self, layer: CLIPAttention, tokens: Tensor) -> Tensor:
        """Return the output of an attention layer for ``(B, 1 + N, C)``."""
        layers = {'q': layer.q_proj, 'k': layer.k_proj, 'v': layer.v_proj}
        heads = {  # (B, heads, 1 + N, C / heads)
            name: project(tokens).unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)
            for name, project in layers.items()
        }
        weights = [
            (heads[one] @ heads[other].transpose(-2, -1) * layer.scale).softmax(-1)
            for one, other in self.products
        ]
        mixed = torch.stack(weights).sum(0) @ heads['v'] if weights else heads['v']
        return layer.out_proj(mixed.transpose(1, 2).flatten(2))
