"""What shapes tell, and what configs that travel with weights add to it."""

import pytest
import torch
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints import shape_inference
from groupvit_mmseg.checkpoints.architecture_hints import (
    IMAGENET,
    Hints,
    Normalization,
    Settings,
    merge_settings,
)
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.shape_inference import MissingTensorsError, infer_structure
from groupvit_mmseg.conversion.model_configs import pretrainer_config

PROJECTOR = dict(type='GroupViTProjector', in_channels=24, out_channels=6)
TEXT = dict(type='GroupViTTextEncoder', context_length=9, embed_dims=8, num_layers=2, vocab_size=50)
CASES = {
    'one stage': dict(embed_dims=24, depths=(2,), num_heads=(2,), num_group_tokens=(5,)),
    'no grouping': dict(embed_dims=24, depths=(1,), num_heads=(2,), num_group_tokens=(0,)),
    'oblong': dict(
        embed_dims=24, depths=(1, 3), num_heads=(2, 4), num_group_tokens=(5, 0), img_size=(16, 24)
    ),
    'odd widths': dict(
        embed_dims=9, embed_factors=(1, 7 / 9, 24 / 9), depths=(1, 1, 2), num_heads=(3, 7, 2),
        num_group_tokens=(5, 4, 0), mlp_ratio=2.5, in_channels=1, patch_size=4,
    ),
    'a stem': dict(
        embed_dims=24, depths=(1,), num_heads=(2,), num_group_tokens=(5,), in_channels=1,
        conv_stem=dict(channels=(4, 6, 8), num_blocks=(0, 2, 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize('layers', [0, 1, 2, 3])
@pytest.mark.parametrize('case', list(CASES))
def test_structure_is_read_off_the_shapes(case, layers):
    backbone = dict(type='GroupViT', img_size=16, patch_size=8, in_channels=3, mlp_ratio=4)
    backbone |= CASES[case]
    backbone['num_output_groups'] = [n - 1 for n in backbone['num_group_tokens'] if n]
    image = dict(PROJECTOR, num_layers=layers, hidden_channels=10)
    text = dict(image, in_channels=8)
    config = dict(
        type='GroupViTPretrainer',
        backbone=backbone,
        text_encoder=dict(TEXT, num_heads=2),
        image_projector=image,
        text_projector=text,
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    )
    state_dict = MODELS.build(config).state_dict()
    size = backbone['img_size']
    hints = Hints(backbone['num_heads'], 2, size if isinstance(size, tuple) else None)
    structure = infer_structure(state_dict, hints)
    again = MODELS.build(pretrainer_config(structure))
    again.load_state_dict(state_dict)
    assert structure.image_shape == (size if isinstance(size, tuple) else (size, size))
    assert not structure.multi_label
    for name, value in backbone.items():
        stated = structure.backbone[name]
        if name == 'conv_stem':
            assert {key: tuple(numbers) for key, numbers in stated.items()} == value
        else:
            assert stated == (pytest.approx(list(value)) if isinstance(value, tuple) else value)
    assert structure.text_encoder == dict(TEXT, num_heads=2)
    for projector, parts in ((structure.image_projector, image), (structure.text_projector, text)):
        identity = dict(type='GroupViTProjector', in_channels=parts['in_channels'], num_layers=0)
        if layers == 1:
            parts = {key: value for key, value in parts.items() if key != 'hidden_channels'}
        assert projector == (parts if layers else identity)


def state_dict_of(backbone, text):
    """Tensors of a pretrainer, without numbers."""
    config = dict(
        type='GroupViTPretrainer',
        backbone=dict(type='GroupViT', img_size=16, patch_size=8, **backbone),
        text_encoder=dict(TEXT, **text),
        image_projector=dict(PROJECTOR, in_channels=backbone.get('embed_dims', 384)),
        text_projector=dict(PROJECTOR, in_channels=text['embed_dims']),
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
    )
    with torch.device('meta'):
        return MODELS.build(config).state_dict()


def test_a_stem_without_its_convolutions_is_incomplete():
    stem = dict(channels=(4, 6, 8), num_blocks=(0, 0, 0))
    backbone = dict(CASES['one stage'], conv_stem=stem, num_output_groups=(4,))
    tensors = state_dict_of(backbone, dict(embed_dims=8))
    del tensors['backbone.patch_embed.levels.1.conv.weight']
    with pytest.raises(MissingTensorsError, match=r'levels\.1\.conv\.weight'):
        infer_structure(tensors, Hints((2,), 2))


def test_heads_that_shapes_do_not_tell_are_asked_for():
    stages = dict(depths=(1, 1), num_heads=(4, 4), num_group_tokens=(3, 0), num_output_groups=(2,))
    tensors = state_dict_of(dict(embed_dims=128, **stages), dict(embed_dims=64))
    with pytest.raises(
        ValueError, match=r'--num-heads, .* \(widths \[128, 128\]\) and --text-heads'
    ):
        infer_structure(tensors, Hints())
    with pytest.raises(ValueError, match=r'give --text-heads \(width 64\)\.'):
        infer_structure(tensors, Hints(num_heads=(4, 4)))
    structure = infer_structure(tensors, Hints((4, 4), 2))
    assert structure.backbone['num_heads'] == [4, 4]
    assert structure.text_encoder['num_heads'] == 2
    assert structure.multi_label


def test_heads_of_the_released_towers_are_known():
    structure = infer_structure(state_dict_of({}, dict(embed_dims=256, num_layers=12)), Hints())
    assert structure.backbone['num_heads'] == [6, 6, 6]
    assert structure.text_encoder['num_heads'] == 4
    with pytest.raises(ValueError, match='--num-heads'):
        infer_structure(
            state_dict_of(dict(depths=(1, 1, 1)), dict(embed_dims=256, num_layers=12)), Hints()
        )


def small(**changes):
    """Tensors of a model of one stage, with some of them changed; None leaves one out."""
    backbone = dict(CASES['one stage'], num_output_groups=(4,))
    tensors = {**state_dict_of(backbone, dict(embed_dims=8)), **changes}
    return {key: value for key, value in tensors.items() if value is not None}


def test_missing_tensors_are_listed():
    keys = [
        'backbone.norm.weight',
        'text_encoder.pos_embed',
        'backbone.stages.0.blocks.0.norm1.weight',
    ]
    with pytest.raises(MissingTensorsError) as caught:
        infer_structure(small(**dict.fromkeys(keys)), Hints((2,), 2))
    assert caught.value.keys == tuple(keys)
    assert str(caught.value) == f'3 tensors are missing: {", ".join(keys)}.'
    stages = {key: None for key in small() if key.startswith('backbone.stages.')}
    with pytest.raises(MissingTensorsError) as caught:
        infer_structure(small(**stages), Hints((2,), 2))
    assert caught.value.keys == (keys[2],)


@pytest.mark.parametrize(
    'key, rank',
    [
        ('backbone.patch_embed.proj.weight', 4),
        ('backbone.pos_embed', 3),
        ('backbone.norm.weight', 1),
        ('text_encoder.pos_embed', 2),
        ('text_encoder.token_embedding.weight', 2),
    ],
)
def test_tensors_of_another_rank_are_listed(key, rank):
    assert small()[key].dim() == rank
    wrong = torch.zeros(2, 3, *[1] * rank)
    with pytest.raises(ValueError, match='1 tensors have another shape') as caught:
        infer_structure(small(**{key: wrong}), Hints((2,), 2))
    assert f'{key} {list(wrong.shape)}.' in str(caught.value)


def test_heads_that_do_not_divide_the_text_width_are_refused():
    with pytest.raises(ValueError, match='text_heads = 3 does not divide the width 8'):
        infer_structure(small(), Hints((2,), 3))


def test_the_ratio_of_a_missing_layer_is_the_papers():
    weight = 'backbone.stages.0.blocks.0.mlp.fc1.weight'
    assert small()[weight].shape == (96, 24)
    assert infer_structure(small(**{weight: None}), Hints((2,), 2)).backbone['mlp_ratio'] == 4


def test_settings_that_shapes_do_not_tell_are_taken_over():
    structure = infer_structure(small(), Hints((2,), 2))
    assert structure.normalization == IMAGENET
    assert not {'assign_scale', 'assignment', 'conv_stem'} & set(structure.backbone)
    bgr = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), rgb=False)
    hints = Hints((2,), 2, None, 8.0, bgr, {'kind': 'soft'})
    structure = infer_structure(small(), hints)
    assert structure.normalization == bgr
    assert structure.backbone['assign_scale'] == 8.0
    assert structure.backbone['assignment'] == {'kind': 'soft'}
    assert 'assign_scale' not in infer_structure(small(), hints._replace(assign_scale=1.0)).backbone


@pytest.mark.parametrize(
    'size, expected', [((16, 16), 16), ((8, 32), [8, 32]), ((17, 23), [17, 23]), (None, 16)]
)
def test_sizes_of_an_image_of_four_patches(size, expected):
    structure = infer_structure(small(), Hints((2,), 2, size))
    assert structure.backbone['img_size'] == expected


def test_a_size_of_other_patches_is_refused_and_one_is_asked_for():
    with pytest.raises(ValueError, match='16 x 24 px does not have the 4 patches of 8 px'):
        infer_structure(small(), Hints((2,), 2, (16, 24)))
    with pytest.raises(ValueError, match='embedding of 6 patches is not that of a square image'):
        infer_structure(small(**{'backbone.pos_embed': torch.zeros(1, 6, 24)}), Hints((2,), 2))


@pytest.mark.parametrize('ratio', [2, 2.5, 1 / 3, 0.7])
def test_the_ratio_of_rounded_widths_gives_them_again(ratio):
    backbone = dict(CASES['odd widths'], mlp_ratio=ratio, num_output_groups=(4, 3))
    backbone.pop('patch_size')
    tensors = state_dict_of(backbone, dict(embed_dims=8))
    structure = infer_structure(tensors, Hints((3, 7, 2), 2))
    for stage, width in enumerate((9, 7, 24)):
        hidden = len(tensors[f'backbone.stages.{stage}.blocks.0.mlp.fc1.weight'])
        assert int(width * structure.backbone['mlp_ratio']) == hidden


def test_factors_give_their_widths_again_in_spite_of_rounding():
    assert int(49 * (1 / 49)) == 0
    for base in range(1, 130):
        for value in range(1, 130):
            assert int(base * shape_inference._factor(base, value)) == value
    assert type(shape_inference._factor(24, 48)) is int
    assert shape_inference._factor(24, 36) == 1.5


def test_a_hidden_layer_without_its_weight_has_no_width():
    structure = infer_structure(small(**{'text_projector.hidden.0.weight': None}), Hints((2,), 2))
    assert structure.text_projector['hidden_channels'] == 0
    assert structure.image_projector['hidden_channels'] == 4096


CONFIG = """
raise SystemExit('a config is never executed here')
backbone = dict(type='GroupViT', num_heads=(1, 1), img_size=8)
model = dict(
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6]),
    backbone={'type': 'GroupViT', 'num_heads': (3, 5), 'assign_scale': 8.0, 'img_size': (8, 16)},
    text_encoder=dict(type='GroupViTTextEncoder', num_heads=int('7'), embed_dims=8),
)
"""


def test_hints_are_read_from_a_config_without_running_it():
    bgr = Normalization((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), rgb=False)
    assert from_config_text(CONFIG, 'x').hints == Hints((3, 5), None, (8, 16), 8.0, bgr, ())
    assert from_config_text('model = (', 'x').hints == Hints()
    assert from_config_text('a\0b', 'x').hints == Hints()


def test_an_assignment_that_cannot_be_read_is_unknown():
    text = "model = dict(backbone=dict(type='GroupViT', assignment={}))"
    assert from_config_text(text.format('None'), 'x').hints.assignment == ()
    soft = from_config_text(text.format("dict(kind='soft')"), 'x').hints.assignment
    assert soft == (('kind', 'soft'),)
    assert from_config_text(text.format('make()'), 'x').hints.assignment is None


def test_a_config_that_names_no_heads_means_the_defaults():
    text = """
model = dict(
    backbone=dict(type='groupvit_mmseg.models.GroupViT', img_size=64),
    text_encoder=dict(type='mmseg.GroupViTTextEncoder', embed_dims=192),
    data_preprocessor=dict(type='SegDataPreProcessor'),
)
"""
    pixels = Normalization((0.0,) * 3, (1.0,) * 3, rgb=False)
    assert from_config_text(text, 'x').hints == Hints((6, 6, 6), 3, (64, 64), 1.0, pixels, ())
    # What it inherits may say otherwise, and is not in the text.
    assert from_config_text("_base_ = ['y.py']\n" + text, 'x').hints == Hints()


@pytest.mark.parametrize('mean', ["'imagenet'", '[1, None, 3]', '[MEAN, 2, 3]', '5'])
def test_a_normalisation_that_is_no_list_of_numbers_is_unknown(mean):
    text = f"model = dict(data_preprocessor=dict(type='SegDataPreProcessor', mean={mean}))"
    assert from_config_text(text, 'x').hints == Hints()


def test_settings_of_several_places_are_merged():
    places = [
        Settings('A', {'num_heads': (2, 2)}),
        Settings('B', {'num_heads': (2, 2), 'assign_scale': 8}, {'num_heads': 3}),
        Settings('C'),
    ]
    merged = merge_settings(places)
    assert merged.hints == Hints((2, 2), 3, None, 8, None)
    assert merged.origins == {'num_heads': 'A', 'assign_scale': 'B', 'text_heads': 'B'}
    with pytest.raises(ValueError, match='B and D disagree on text_heads, 3 and 4: omit'):
        merge_settings([*places, Settings('D', {}, {'num_heads': 4})])


WRONG = [
    ({'num_heads': [2, 2]}, 'one number of 1 or more for each stage'),
    ({'num_heads': (2, 0)}, 'one number of 1 or more for each stage'),
    ({'img_size': (8, 8, 8)}, 'height and width'),
    ({'img_size': 8}, 'height and width'),
    ({'assign_scale': '8'}, 'a number'),
]


@pytest.mark.parametrize('backbone,kind', WRONG)
def test_settings_of_another_type_are_refused(backbone, kind):
    (name,) = backbone
    with pytest.raises(ValueError, match=f'^A has {name} = .*, which must be {kind}\\.$'):
        merge_settings([Settings('A', backbone)])
