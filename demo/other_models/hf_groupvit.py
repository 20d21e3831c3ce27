"""GroupViT of Hugging Face, through its own forward pass, to compare with this package's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor
from transformers import GroupViTModel
from transformers.models.groupvit.modeling_groupvit import get_grouping_from_attentions

from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel, mean_over_templates
from groupvit_mmseg.text import tokenize
from groupvit_mmseg.text.class_list import Prompt


@MODELS.register_module()
class HuggingFaceGroupViT(OpenVocabularyModel):
    """Cosines of groups and class names, spread by the soft assignment of the pixels.

    The image tower has fixed positions: windows are resized to the size of the weights.
    """

    net: GroupViTModel

    def load_checkpoint(self, path: Path) -> None:
        """Load the folder of ``path``, which ``save_pretrained`` wrote."""
        self.net = GroupViTModel.from_pretrained(path.parent, attn_implementation='eager').eval()

    @property
    def logit_scale(self) -> float:
        """Scale of the weights."""
        return self.net.logit_scale.exp().item()

    def embed_prompts(self, prompts: Sequence[Prompt]) -> Tensor:
        """Average over the templates, ``(K, D)``."""
        length = self.net.text_model.config.max_position_embeddings

        def encode(texts: list[str]) -> Tensor:
            token_ids = tokenize(texts, length).to(self.net.logit_scale.device)
            return self.net.text_projection(self.net.text_model(token_ids).pooler_output)

        return mean_over_templates(prompts, encode)

    def forward(self, images: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Compute cosines ``(B, K, H, W)``."""
        side = self.net.vision_model.config.image_size
        assert isinstance(side, int)
        images = F.interpolate(images, size=(side, side), mode='bilinear', align_corners=False)
        outputs = self.net.vision_model(images, output_attentions=True, return_dict=True)
        tokens = outputs.last_hidden_state  # (B, S, C)
        groups = self.net.visual_projection(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        cosines = F.normalize(groups, dim=-1) @ prompt_embeds.T  # (B, S, K)
        shares = get_grouping_from_attentions(outputs.attentions, (side, side))  # (B, S, H, W)
        return (cosines.transpose(1, 2) @ shares.flatten(2)).unflatten(2, (side, side))
