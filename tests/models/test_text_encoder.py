import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models.text_encoder import used_length

END = 99


def build():
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='GroupViTTextEncoder',
            context_length=20,
            embed_dims=32,
            num_layers=2,
            num_heads=2,
            vocab_size=100,
        )
    ).eval()


def texts(*lengths):
    ids = torch.randint(1, END, (len(lengths), 20))
    for row, length in enumerate(lengths):
        ids[row, length - 1], ids[row, length:] = END, 0
    return ids


def test_nothing_after_the_end_matters():
    model, ids = build(), texts(4, 9)
    other = ids.clone()
    other[0, 4:], other[1, 9:] = 7, 8
    assert torch.allclose(model(ids), model(other), atol=1e-6)


def test_cutting_to_the_longest_text_is_exact():
    model, ids = build(), texts(3, 5)
    assert used_length(ids.argmax(-1), 20) == 8
    padded_by_a_long_one = model(torch.cat([ids, texts(20)]))[:2]
    assert torch.allclose(model(ids), padded_by_a_long_one, atol=1e-6)


def test_order_matters():
    model, ids = build(), texts(6)
    swapped = ids.clone()
    swapped[0, [1, 2]] = ids[0, [2, 1]]
    assert not torch.allclose(model(ids), model(swapped), atol=1e-3)


def test_initial_deviations():
    model = MODELS.build(dict(type='GroupViTTextEncoder'))
    block = model.blocks[0]
    assert block.attn.num_heads == 4
    assert model.pos_embed.shape == (77, 256)
    deviations = {
        model.token_embedding.weight: 0.02,
        model.pos_embed: 0.01,
        block.attn.qkv.weight: 256**-0.5,
        block.attn.proj.weight: 256**-0.5 * 24**-0.5,
        block.mlp.fc1.weight: 512**-0.5,
    }
    for weight, deviation in deviations.items():
        assert float(weight.detach().std()) == pytest.approx(deviation, rel=0.05)


def test_too_long_text_is_one_sentence():
    with pytest.raises(ValueError, match='at most 20'):
        build()(torch.zeros(1, 21, dtype=torch.long))
