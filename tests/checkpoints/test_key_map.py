"""The key map: every name has its place, and the way back gives the same bits."""

import pytest
import torch

from groupvit_mmseg.checkpoints import (
    from_hugging_face,
    from_official,
    to_hugging_face,
    to_official,
)
from groupvit_mmseg.checkpoints.key_formats import (
    HUGGING_FACE,
    OFFICIAL,
    PLUGIN,
    key_format_of,
    to_pretrainer_names,
    without_prefix,
)
from groupvit_mmseg.checkpoints.key_map import inverse, merge_qkv, rename, rename_all, split_qkv

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


TABLE = {'a.*.b.': 'x.*.y.', 'a.*.c.*': 'z.*.*', 'scale': 'new', 'other': 'new'}


@pytest.mark.parametrize(
    'key, target',
    [
        ('a.12.b.weight', 'x.12.y.weight'),
        ('a.1.c.20', 'z.1.20'),
        ('a.1.c.20.weight', None),
        ('a.one.b.weight', None),
        ('scale', 'new'),
        ('scales', None),
        ('aX1.b.weight', None),
        ('the.scale', None),
    ],
)
def test_patterns_of_a_table(key, target):
    assert rename(key, TABLE) == target


def test_the_inverse_of_a_table_takes_the_first_of_two():
    assert inverse(TABLE) == {'x.*.y.': 'a.*.b.', 'z.*.*': 'a.*.c.*', 'new': 'scale'}


def test_problems_of_renaming_are_listed():
    value = torch.zeros(1)
    with pytest.raises(ValueError, match=r'^2 tensors have no place in GroupViT: p, q\.$'):
        rename_all({'p': value, 'scale': value, 'q': value}, TABLE)
    with pytest.raises(ValueError, match=r'have the same meaning: scale, other\.$'):
        rename_all({'scale': value, 'other': value, 'a.1.c.1': value}, TABLE)
    renamed = rename_all({'other': value, 'a.1.c.1': value}, TABLE)
    assert list(renamed) == ['new', 'z.1.1']
    assert renamed['new'] is value


def test_attentions_are_joined_and_split_by_rows():
    parts = {f'p.attn.qkv.{part}.{kind}': torch.rand(2, 2) for part in 'qkv' for kind in KINDS}
    others = {'attn.other': torch.rand(1)}
    joined = merge_qkv({**parts, **others})
    assert list(joined) == ['p.attn.qkv.weight', 'p.attn.qkv.bias', 'attn.other']
    rows = torch.cat([parts[f'p.attn.qkv.{part}.bias'] for part in 'qkv'])
    assert torch.equal(joined['p.attn.qkv.bias'], rows)
    apart = split_qkv(joined)
    assert set(apart) == {*parts, *others}
    assert all(torch.equal(apart[key], value) for key, value in parts.items())
    storages = {value.untyped_storage().data_ptr() for value in apart.values()}
    assert len(storages) == len(apart)  # files refuse shared memory


def test_rows_that_are_no_three_parts_are_refused():
    with pytest.raises(ValueError, match='shorter'):
        split_qkv({'p.attn.qkv.weight': torch.zeros(4, 2)})


def test_only_projectors_of_three_axes_lose_the_last_one():
    shapes = {
        'img_encoder.pos_embed': (1, 9, 1),
        'img_encoder.patch_embed.proj.weight': (4, 3, 1, 1),
    }
    shapes['text_projector.linear_out.weight'] = (4, 1)
    ours = from_official({key: torch.zeros(shape) for key, shape in shapes.items()})
    assert [tuple(value.shape) for value in ours.values()] == list(shapes.values())


KINDS = ('weight', 'bias')


def test_all_missing_parts_of_attentions_are_listed_once():
    block = 'text_encoder.blocks.{}.attn.qkv.{}.weight'
    weights = {block.format(0, 'q'): torch.zeros(1), block.format(1, 'v'): torch.zeros(1)}
    weights |= {block.format(2, part): torch.zeros(1) for part in 'qkv'}
    name = 'text_model.encoder.layers.{}.self_attn.{}_proj.weight'
    keys = [name.format(i, part) for i, part in ((0, 'k'), (0, 'v'), (1, 'q'), (1, 'k'))]
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole message is compared)
        merge_qkv(weights)
    assert str(caught.value) == f'4 tensors are missing: {", ".join(keys)}.'


@pytest.mark.parametrize(
    'key, key_format',
    [
        ('img_encoder.norm.weight', OFFICIAL),
        ('module.text_encoder.ln_final.bias', OFFICIAL),
        ('vision_model.layernorm.weight', HUGGING_FACE),
        ('visual_projection.0.weight', HUGGING_FACE),
        ('backbone.norm.weight', PLUGIN),
        ('decode_head.text_encoder.norm.weight', PLUGIN),
        ('fc.weight', None),
    ],
)
def test_formats_are_told_by_their_keys(key, key_format):
    assert key_format_of({'logit_scale': torch.zeros(1), key: torch.zeros(1)}) is key_format


def test_a_prefix_of_all_keys_is_removed():
    keys = ['module.backbone.norm.weight', 'module.text_encoder.blocks.0.norm1.bias', 'module.x']
    plain = without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)
    assert list(plain) == ['backbone.norm.weight', 'text_encoder.blocks.0.norm1.bias', 'x']
    # The shortest prefix: the second one is a name that contains a mark.
    keys = ['m.backbone.norm.weight', 'm.n.backbone.x', 'm.mybackbone.y']
    plain = without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)
    assert list(plain) == ['backbone.norm.weight', 'n.backbone.x', 'mybackbone.y']
    keys = ['backbone.a', 'abackbone.b']
    assert list(without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)) == keys
    assert list(without_prefix({'fc.weight': torch.zeros(1)}, PLUGIN)) == ['fc.weight']
    keys = ['backbone.a.backbone.b']
    assert list(without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)) == keys
    keys = ['abackbone.b.backbone.c', 'axis']
    assert list(without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)) == keys
    keys = ['b.backbone.x', 'aa.backbone.y']
    plain = without_prefix(dict.fromkeys(keys, torch.zeros(1)), PLUGIN)
    assert list(plain) == ['backbone.x', 'aa.backbone.y']


def test_a_segmentors_and_a_pretrainers_keys_are_a_pretrainers():
    keys = {
        'backbone.norm.weight': 'backbone.norm.weight',
        'decode_head.text_encoder.norm.bias': 'text_encoder.norm.bias',
        'decode_head.image_projector.out.bias': 'image_projector.out.bias',
        'decode_head.text_projector.out.bias': 'text_projector.out.bias',
        'decode_head.logit_scale': 'loss_contrastive.logit_scale',
        'text_encoder.pos_embed': 'text_encoder.pos_embed',
    }
    tensors = {key: torch.zeros(1) for key in keys}
    tensors['loss_multi_label.0.logit_scale'] = torch.zeros(1)
    renamed = to_pretrainer_names(tensors, PLUGIN)
    assert list(renamed.tensors) == list(keys.values())
    assert all(renamed.tensors[new] is tensors[old] for old, new in keys.items())
    assert renamed.key_format is PLUGIN
    reason = 'one of several losses of a training'
    assert renamed.dropped == {'loss_multi_label.0.logit_scale': reason}


def test_position_ids_of_hugging_face_are_left_out_with_a_reason(hugging_face):
    ids = {'text_model.embeddings.position_ids': torch.zeros(1, 12)}
    renamed = to_pretrainer_names({**hugging_face, **ids}, HUGGING_FACE)
    assert renamed.dropped == dict.fromkeys(ids, 'a constant, which the model computes itself')
    assert renamed.tensors.keys() == from_hugging_face({**hugging_face, **ids}).keys()
