"""CLIPSeg of Hugging Face (arXiv 2112.10003): each class name is a question of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor
from transformers import CLIPSegForImageSegmentation

from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel
from groupvit_mmseg.text import tokenize
from groupvit_mmseg.text.class_list import Prompt

PROMPTS_AT_A_TIME = 32


@MODELS.register_module()
class CLIPSeg(OpenVocabularyModel):
    """Logits of CLIPSeg; windows are resized to a square, as its processor does.

    Args:
        side (int): Pixels of the square.
    """

    activation = 'sigmoid'
    net: CLIPSegForImageSegmentation

    def __init__(self, *, side: int = 352) -> None:
        super().__init__()
        self.side = side

    def load_checkpoint(self, path: Path) -> None:
        """Load the folder of ``path``, which ``save_pretrained`` wrote."""
        self.net = CLIPSegForImageSegmentation.from_pretrained(path.parent).eval()

    def embed_prompts(self, prompts: Sequence[Prompt]) -> Tensor:
        """Average over the templates, ``(K, D)``; the decoder takes them as they are."""
        clip = self.net.clip
        length = clip.text_model.config.max_position_embeddings
        embeds = []
        for prompt in prompts:
            texts = [template.format(prompt.word) for template in prompt.templates]
            token_ids = tokenize(texts, length).to(clip.logit_scale.device)
            embeds.append(clip.text_projection(clip.text_model(token_ids).pooler_output).mean(0))
        return torch.stack(embeds)

    def forward(self, images: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Compute logits ``(B, K, side, side)``: an encoding of the image for all prompts."""
        size = (self.side, self.side)
        images = F.interpolate(images, size=size, mode='bilinear', align_corners=False)
        outputs = self.net.clip.vision_model(
            images, interpolate_pos_encoding=True, output_hidden_states=True
        )
        levels = [outputs.hidden_states[index + 1] for index in self.net.extract_layers]
        return torch.stack([self._decode(levels, i, prompt_embeds) for i in range(len(images))])

    def _decode(self, levels: Sequence[Tensor], index: int, prompt_embeds: Tensor) -> Tensor:
        """Decode one image for all prompts, ``(K, side, side)``."""
        logits = []
        for some in prompt_embeds.split(PROMPTS_AT_A_TIME):
            repeated = [level[index : index + 1].expand(len(some), -1, -1) for level in levels]
            decoded = self.net.decoder(repeated, some).logits
            logits.append(decoded.reshape(len(some), *decoded.shape[-2:]))
        return torch.cat(logits)
