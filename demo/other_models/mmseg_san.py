"""SAN (arXiv 2302.12242) as MMSegmentation builds it, told the classes of each set.

MMSegmentation builds it only with the compiled operators of mmcv.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmseg
import torch
import torch.nn.functional as F
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.models.open_vocabulary_model import (
    OpenVocabularyModel,
    fit_to_patches,
    mean_over_templates,
)
from groupvit_mmseg.text import tokenize
from groupvit_mmseg.text.class_list import Prompt


@MODELS.register_module()
class SAN(OpenVocabularyModel):
    """A ``MultimodalEncoderDecoder`` that gets the classes of each set.

    Args:
        segmentor (dict | str): ``model`` of MMSegmentation's config, or the path of the config in
            the folder ``configs`` of an installed MMSegmentation.
    """

    activation = 'identity'  # sums of probabilities: of a proposal's class, times its mask
    patch_size = 32  # CLIP, with patches of 16 pixels, sees the image at half the size

    def __init__(self, segmentor: dict | str) -> None:
        super().__init__()
        configs = Path(mmseg.__file__).parent / '.mim/configs'
        of_file = Config.fromfile(configs / segmentor).model if isinstance(segmentor, str) else None
        model = ConfigDict({**(of_file or ConfigDict(segmentor)), 'pretrained': None})
        model.decode_head.train_cfg = None
        self.segmentor = MODELS.build(model)

    def load_checkpoint(self, path: Path) -> None:
        """Load a checkpoint of MMSegmentation."""
        load_weights(self.segmentor, read_checkpoint(path)['state_dict'], source=str(path))

    def embed_prompts(self, prompts: Sequence[Prompt]) -> Tensor:
        """Average over the templates, ``(K, D)``."""
        encoder = self.segmentor.text_encoder
        return mean_over_templates(
            prompts, lambda texts: encoder.encode_text(tokenize(texts, encoder.num_pos))
        )

    def forward(self, images: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Compute the scores ``(B, K, H, W)``, without that of "none of the classes"."""
        images = fit_to_patches(images, self.patch_size)
        encoder, head = self.segmentor.text_encoder, self.segmentor.decode_head
        embeds = F.normalize(torch.cat([prompt_embeds, encoder.bg_embed]), dim=-1)
        scale = self.segmentor.encoder_resolution
        features = self.segmentor.image_encoder(
            F.interpolate(images, scale_factor=scale, mode='bilinear')
        )
        inputs = (images, features, encoder.logit_scale.exp() * embeds)
        return head.predict(inputs, [dict(img_shape=images.shape[-2:])] * len(images), {})
