"""The key map: every name has its place, and the way back gives the same bits."""

import pytest
import torch

from groupvit_mmseg.checkpoints import (
    from_hugging_face,
    from_official,
    to_hugging_face,
    to_official,
)

transformers = pytest.importorskip('transformers', reason='the oracle is not installed')


@pytest.mark.parametrize('name', ['two_stage', 'wide'])
def test_official_names_and_back(official, same_bits, name):
    weights = official[name]
    plugin = from_official(weights)
    assert plugin['image_projector.hidden.0.weight'].dim() == 2  # conv1d of one tap became linear
    same_bits(weights, to_official(plugin))


def test_official_projectors_may_be_linear(official, same_bits):
    weights = official['two_stage']
    linear = {
        k: v.squeeze(-1) if v.dim() == 3 and 'projector.' in k else v for k, v in weights.items()
    }
    assert linear['img_projector.linear_out.weight'].dim() == 2
    same_bits(from_official(weights), from_official(linear))


@pytest.fixture(scope='module')
def hugging_face():
    vision = dict(hidden_size=16, intermediate_size=64, depths=[1, 1, 1], num_attention_heads=2)
    vision |= dict(num_group_tokens=[6, 4, 0], num_output_groups=[6, 4, 4], image_size=32)
    vision |= dict(patch_size=8, num_hidden_layers=3)
    text = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text |= dict(vocab_size=100, max_position_embeddings=12, eos_token_id=99, bos_token_id=98)
    config = transformers.GroupViTConfig(
        vision_config=vision, text_config=text, projection_dim=8, projection_intermediate_dim=24
    )
    return transformers.GroupViTModel(config).state_dict()


def test_hugging_face_names_and_back(hugging_face, same_bits):
    plugin = from_hugging_face(hugging_face)
    query = hugging_face['vision_model.encoder.stages.0.layers.0.self_attn.q_proj.weight']
    value = hugging_face['vision_model.encoder.stages.0.layers.0.self_attn.v_proj.weight']
    fused = plugin['backbone.stages.0.blocks.0.attn.qkv.weight']
    assert torch.equal(fused[:16], query)
    assert torch.equal(fused[32:], value)
    same_bits(hugging_face, to_hugging_face(plugin))


def test_unknown_names_are_listed(official):
    weights = {**official['wide'], 'img_encoder.surprise': torch.zeros(1), 'other': torch.zeros(1)}
    with pytest.raises(
        ValueError, match=r'2 tensors have no place .*: img_encoder\.surprise, other'
    ):
        from_official(weights)


def test_two_names_of_one_tensor_are_refused(official):
    weights = dict(official['two_stage'])
    projector = 'img_encoder.layers.1.group_projector'
    weights[f'{projector}.0.0.weight'] = weights[f'{projector}.0.weight']
    with pytest.raises(ValueError, match=rf'same meaning: .*{projector}\.0\.0\.weight'):
        from_official(weights)


def test_missing_part_of_an_attention_is_listed(hugging_face):
    weights = dict(hugging_face)
    key = 'text_model.encoder.layers.1.self_attn.k_proj.bias'
    del weights[key]
    with pytest.raises(ValueError, match=rf'^1 tensors are missing: {key}\.$'):
        from_hugging_face(weights)


def test_second_scale_has_no_place_in_hugging_face(official):
    with pytest.raises(ValueError, match=r'1 tensors .*: loss_multi_label\.logit_scale'):
        to_hugging_face(from_official(official['two_stage']))
