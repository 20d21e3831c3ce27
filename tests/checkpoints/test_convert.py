"""Conversion of a small model in memory: formats, refusals, and what a format cannot hold."""

import pytest
import torch
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import IMAGENET, Settings
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, OFFICIAL, PLUGIN
from groupvit_mmseg.conversion.convert import (
    _WithoutDrawing,
    check_complete,
    decode,
    empty_pretrainer,
    encode,
)
from groupvit_mmseg.conversion.model_configs import pretrainer_config

PROJECTOR = dict(type='GroupViTProjector', hidden_channels=10, out_channels=6)
SETTINGS = [Settings('the options', {'num_heads': (2,)}, {'num_heads': 1}, IMAGENET)]
QUERY = 'backbone.stages.0.grouping.assign.q_proj.'


def pretrainer(**backbone):
    torch.manual_seed(0)
    backbone = dict(
        type='GroupViT', img_size=16, patch_size=8, embed_dims=24, depths=(1,), num_heads=(2,),
        num_group_tokens=(5,), num_output_groups=(4,), **backbone,
    )  # fmt: skip
    text = dict(
        type='GroupViTTextEncoder', context_length=9, embed_dims=64, num_layers=1, num_heads=1,
        vocab_size=50,
    )  # fmt: skip
    config = dict(
        type='GroupViTPretrainer',
        backbone=backbone,
        text_encoder=text,
        image_projector=dict(PROJECTOR, in_channels=24),
        text_projector=dict(PROJECTOR, in_channels=64),
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
    )
    return MODELS.build(config).state_dict()


@pytest.fixture(scope='module')
def tensors():
    return pretrainer()


def model_of(tensors, key_format=PLUGIN, settings=SETTINGS):
    return decode(tensors, key_format, settings, where='a.pth')


def same(first, second):
    assert list(first) == list(second)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_model_of_the_plugin_is_its_tensors(tensors):
    model = model_of(tensors)
    same(model.tensors, tensors)
    same(model.source, tensors)
    assert model.dropped == {}
    assert model.structure.backbone['num_heads'] == [2]
    assert set(model.origins) == {'num_heads', 'text_heads', 'normalization'}
    assert set(model.origins.values()) == {'the options'}
    same(encode(model, PLUGIN)[0], tensors)
    assert encode(model, PLUGIN)[1] == {}


def test_a_segmentor_is_the_model_of_its_pretrainer(tensors):
    moved = ('text_encoder.', 'image_projector.', 'text_projector.')
    scales = {'loss_contrastive.logit_scale': 'decode_head.logit_scale'}
    theirs = {
        scales.get(key, f'decode_head.{key}' if key.startswith(moved) else key): value
        for key, value in tensors.items()
        if key != 'loss_multi_label.logit_scale'
    }
    model = model_of(theirs)
    assert model.tensors.keys() == tensors.keys() - {'loss_multi_label.logit_scale'}
    same(model.source, model.tensors)
    assert all(torch.equal(model.tensors[key], tensors[key]) for key in model.tensors)


def test_a_wrapped_official_model_is_the_same_model(tensors):
    official, lost = encode(model_of(tensors), OFFICIAL)
    assert lost == {}
    assert not set(official) & {'backbone.norm.weight', 'text_encoder.norm.weight'}
    wrapped = {f'module.{key}': value for key, value in official.items()}
    model = model_of(wrapped, OFFICIAL, SETTINGS[:1])
    assert model.tensors.keys() == tensors.keys()
    assert all(torch.equal(model.tensors[key], tensors[key]) for key in tensors)
    same(model.source, official)  # without the wrapper's prefix
    assert model.origins['num_heads'] == 'the options'
    assert model.origins['assign_scale'] == 'the official code'


def test_hugging_face_has_no_second_scale_and_old_constants_are_left_out(tensors):
    theirs, lost = encode(model_of(tensors), HUGGING_FACE)
    assert lost == {'loss_multi_label.logit_scale': 'transformers has no multi-label loss'}
    constant = {'text_model.embeddings.position_ids': torch.zeros(1, 9)}
    model = model_of({**theirs, **constant}, HUGGING_FACE)
    assert list(model.dropped) == list(constant)
    same(model.source, theirs)
    assert not model.structure.multi_label
    assert model.tensors.keys() == tensors.keys() - lost.keys()
    assert all(torch.equal(model.tensors[key], tensors[key]) for key in model.tensors)


@pytest.mark.parametrize(
    'key_format, sentence',
    [
        (OFFICIAL, '^a.pth has the plugin keys, not the official ones: give such a file.$'),
        (HUGGING_FACE, '^a.pth has the plugin keys, not the Hugging Face ones: give such a file.$'),
    ],
)
def test_another_format_is_refused(tensors, key_format, sentence):
    with pytest.raises(ValueError, match=sentence):
        model_of(tensors, key_format)
    with pytest.raises(ValueError, match=r'^a\.pth has no keys of a GroupViT, not the '):
        model_of({'fc.weight': torch.zeros(1)}, key_format)


@pytest.mark.parametrize(
    'key_format, key',
    [
        (PLUGIN, 'backbone.norm.weight'),
        (OFFICIAL, 'img_encoder.norm.weight'),
        (HUGGING_FACE, 'vision_model.layernorm.weight'),
    ],
)
def test_missing_tensors_are_listed_under_the_keys_of_the_file(tensors, key_format, key):
    theirs, _ = encode(model_of(tensors), key_format)
    with pytest.raises(ValueError, match=rf'^a\.pth: 1 tensors are missing: {key}\.$'):
        model_of({k: v for k, v in theirs.items() if k != key}, key_format)


def test_what_does_not_fit_is_listed_by_kind(tensors):
    changed = {**tensors, 'backbone.extra': torch.zeros(1)}
    del changed['backbone.norm.bias'], changed['text_encoder.norm.bias']
    changed['text_projector.out.bias'] = torch.zeros(7)
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole message is compared)
        model_of(changed)
    assert str(caught.value) == (
        'a.pth is not a whole GroupViT; its tensors: 2 missing: backbone.norm.bias, '
        'text_encoder.norm.bias; 1 unknown: backbone.extra; 1 of another shape: '
        'text_projector.out.bias [7] instead of [6].'
    )
    structure = model_of(tensors).structure
    check_complete(tensors, structure, PLUGIN, where='a.pth')
    theirs = {key: value for key, value in tensors.items() if key not in HUGGING_FACE.lost}
    check_complete(theirs, structure, HUGGING_FACE, where='a.pth')


def test_settings_of_another_model_are_refused(tensors):
    with pytest.raises(ValueError, match=r'^a\.pth: .*give --num-heads'):
        model_of(tensors, settings=[])
    wrong = Settings('b.json', {'depths': (3,)})
    with pytest.raises(ValueError, match=r'^b\.json is of another model: its backbone has depths'):
        model_of(tensors, settings=[*SETTINGS, wrong])


@pytest.mark.parametrize('key_format', [OFFICIAL, HUGGING_FACE])
def test_what_only_the_plugin_computes_stays_in_its_format(key_format):
    def model(tensors, **assignment):
        backbone = {'num_heads': (2,), 'assignment': assignment}
        return model_of(tensors, settings=[Settings('the options', backbone, {'num_heads': 1})])

    encode(model(pretrainer(), gumbel_noise=False), key_format)  # noise is of training
    soft = model(pretrainer(), gumbel_noise=False, kind='soft', eps=0.5)
    assert encode(soft, PLUGIN)
    with pytest.raises(
        ValueError,
        match=rf"^The {key_format.title} format has no assignment with eps=0\.5, kind='soft': t",
    ):
        encode(soft, key_format)


@pytest.mark.parametrize('scale', [0.5, 2.0, 3.0])
def test_a_scale_of_the_assignment_is_multiplied_into_the_queries(tensors, scale):
    backbone = {'num_heads': (2,), 'assign_scale': scale}
    settings = [Settings('the options', backbone, {'num_heads': 1})]
    model = model_of(tensors, settings=settings)
    assert model.structure.assign_scale == scale
    same(encode(model, PLUGIN)[0], tensors)
    scaled = model_of(encode(model, OFFICIAL)[0], OFFICIAL).tensors
    for key, value in tensors.items():
        assert torch.equal(scaled[key], value * scale if key.startswith(QUERY) else value), key
    assert sum(key.startswith(QUERY) for key in tensors) == 2


def test_a_stem_stays_in_the_plugins_format():
    tensors = pretrainer(conv_stem=dict(channels=(4, 6, 8), num_blocks=(0, 1, 0)))
    model = model_of(tensors)
    same(encode(model, PLUGIN)[0], tensors)
    for key_format in (OFFICIAL, HUGGING_FACE):
        with pytest.raises(
            ValueError, match=r'has no convolutional stem \(conv_stem\): .* the plugin format'
        ):
            encode(model, key_format)


def test_a_model_that_hugging_face_cannot_have_is_refused(tensors):
    model = model_of(tensors)
    model.structure.backbone['mlp_ratio'] = 2.5
    with pytest.raises(ValueError, match='allows only an integer mlp_ratio'):
        encode(model, HUGGING_FACE)
    assert encode(model, OFFICIAL)[0]


def test_an_empty_pretrainer_has_shapes_and_no_numbers(tensors):
    structure = model_of(tensors).structure
    state = torch.random.get_rng_state()
    empty = empty_pretrainer(structure)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not empty.training
    assert {key: value.shape for key, value in empty.state_dict().items()} == {
        key: value.shape for key, value in tensors.items()
    }
    assert {value.device.type for value in empty.state_dict().values()} == {'meta'}
    assert MODELS.build(pretrainer_config(structure)).state_dict().keys() == tensors.keys()
    structure.backbone['patch_size'] = 0
    with pytest.raises(ValueError, match='No GroupViT has these shapes'):
        empty_pretrainer(structure)


def test_numbers_are_not_drawn_and_everything_else_is_computed():
    values = torch.zeros(3)
    with _WithoutDrawing():
        torch.nn.init.normal_(values)
        torch.nn.init.trunc_normal_(values)
        assert values.uniform_() is values
        assert torch.Tensor.normal_(tensor := torch.zeros(2)) is tensor
        total = torch.add(torch.ones(2), torch.ones(2), alpha=2)
    assert values.tolist() == [0, 0, 0]
    assert total.tolist() == [3, 3]
