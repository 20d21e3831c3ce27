"""What shapes tell, and what configs that travel with weights add to it."""

import pytest
import torch
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import (
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
    assert from_config_text(CONFIG, 'x').hints == Hints((3, 5), None, (8, 16), 8.0, bgr)
    assert from_config_text('model = (', 'x').hints == Hints()
    assert from_config_text('a\0b', 'x').hints == Hints()


def test_a_config_that_names_no_heads_means_the_defaults():
    text = """
model = dict(
    backbone=dict(type='groupvit_mmseg.models.GroupViT', img_size=64),
    text_encoder=dict(type='mmseg.GroupViTTextEncoder', embed_dims=192),
    data_preprocessor=dict(type='SegDataPreProcessor'),
)
"""
    pixels = Normalization((0.0,) * 3, (1.0,) * 3, rgb=False)
    assert from_config_text(text, 'x').hints == Hints((6, 6, 6), 3, (64, 64), 1.0, pixels)
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
