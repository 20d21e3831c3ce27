"""Golden logits of the released weights; they are downloads, so this runs where they are.

``GROUPVIT_WEIGHTS`` names a folder with ``000000039769.jpg`` of COCO val2017 and any of: the
official files, and folders ``groupvit-gcc-yfcc`` and ``groupvit-gcc-redcaps`` of Hugging Face's.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.checkpoints.pretrained import load_pretrained
from groupvit_mmseg.text import tokenize

FOLDER = Path(os.environ.get('GROUPVIT_WEIGHTS', 'weights'))
PICTURE = '000000039769.jpg'
# Logits of the picture with "a photo of a cat" and "a photo of a dog", published with the weights.
YFCC, REDCAPS = (13.3523, 6.3629), (16.1873, 8.6230)
EXPECTED = {
    'group_vit_gcc_yfcc_30e-879422e0.pth': YFCC,
    'group_vit_gcc_redcap_30e-3dd09a76.pth': REDCAPS,
    'groupvit-gcc-yfcc': YFCC,
    'groupvit-gcc-redcaps': REDCAPS,
}
ROOT = Path(__file__).resolve().parents[2]


def preprocessed(path):
    """Short side 224 (bicubic), the centre 224 x 224, ImageNet's mean and deviation."""
    with Image.open(path) as image:
        scale = 224 / min(image.size)
        size = [max(224, int(side * scale)) for side in image.size]
        image = image.convert('RGB').resize(size, Image.Resampling.BICUBIC)
    left, top = (image.width - 224) // 2, (image.height - 224) // 2
    pixels = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32) / 255
    pixels = (pixels - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    return torch.from_numpy(pixels).float().permute(2, 0, 1)[None]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize('name', list(EXPECTED))
def test_golden_logits(name):
    if not (FOLDER / name).exists() or not (FOLDER / PICTURE).exists():
        pytest.skip(f'{FOLDER} has no {name} or no {PICTURE}: set GROUPVIT_WEIGHTS')
    parts = Config.fromfile(ROOT / 'configs/_base_/models/groupvit_vit-small-p16.py').model
    model = MODELS.build(parts)
    load_pretrained(model, str(FOLDER / name))
    model.eval()
    token_ids = tokenize(['a photo of a cat', 'a photo of a dog'])
    embeds = model.embed(preprocessed(FOLDER / PICTURE), token_ids[None])
    image, texts = (
        torch.nn.functional.normalize(e, dim=-1) for e in (embeds.image_embeds, embeds.text_embeds)
    )
    logits = model.loss_contrastive.logit_scale.exp() * image @ texts[0].T
    assert logits[0].tolist() == pytest.approx(EXPECTED[name], abs=1e-3)
