"""The second implementation meets the golden values, so conversions are held to the truth."""

from pathlib import Path

import numpy as np
import pytest
import torch

from groupvit_mmseg.conversion.golden import GoldenFile
from groupvit_mmseg.conversion.official_forward import OfficialForward

ROOT = Path(__file__).resolve().parents[2]
HEADS = {'two_stage': ([6, 6, 6], 1), 'wide': ([4, 4, 8], 1)}


@torch.no_grad()
@pytest.mark.parametrize('name', list(HEADS))
def test_reference_meets_the_golden_values(name):
    file = GoldenFile(ROOT / f'tests/data/golden/golden_{name}.npz')
    heads, text_heads = HEADS[name]
    model = OfficialForward(file.weights(), num_heads=heads, text_heads=text_heads)
    segments = model.image_tower(file.tensor('image/input'))
    text = model.text_tower(file.tensor('text/token_ids'))
    values = {
        'image/group_tokens': segments,
        'image/pooled': segments.mean(dim=1),
        'image/embed': model.project(segments.mean(dim=1), 'img_projector'),
        'image/group_embed': model.project(segments.flatten(0, 1), 'img_projector'),
        'text/pooled': text,
        'text/embed': model.project(text, 'text_projector'),
    }
    for key, value in values.items():
        expected = file.arrays[key]
        error = np.abs(value.reshape(expected.shape).numpy() - expected).max()
        assert error <= 2e-5 * np.abs(expected).max(), key
