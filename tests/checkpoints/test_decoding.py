"""Weights are segmented as their config says, without naming it; its text is not run."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import Decoding
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.inference import GroupViTInferencer, load_segmentor, segmentation_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs/groupvit'
RECIPES = [
    'groupvit_conv-tiny-p8_1xb64-coslr-16e_photographs-64px.py',
    'groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py',
    'groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py',
    'groupvit_vit-tiny-p16_1xb128-coslr-8e_flickr8k-112px.py',
    'groupvit_vit-small-p16_zeroshot_voc12-448.py',
]


def read(text):
    return from_config_text(text, 'x').decoding


@pytest.mark.parametrize('name', RECIPES)
def test_a_recipe_is_read_as_it_is_evaluated(name):
    cfg = Config.fromfile(CONFIGS / name)
    found = read(cfg.pretty_text)
    evaluated = segmentation_config(cfg)
    head, test_cfg = evaluated.model.decode_head, evaluated.model.test_cfg
    for option in ('affinity', 'top_k', 'image_weight'):
        assert found.head.get(option) == head.get(option), option
    for option in ('mode', 'crop_size', 'stride'):
        assert found.test_cfg.get(option) == test_cfg.get(option), option
    (resize,) = [t for t in evaluated.test_dataloader.dataset.pipeline if t.type == 'Resize']
    assert found.resize.get('scale') == resize.get('scale')
    assert found.size_factor == resize.get('scale_factor')
    assert found.resize.get('interpolation') == resize.get('interpolation')


def test_the_evaluated_segmentor_counts_and_not_what_it_was_made_of():
    text = """
segmentor = dict(type='GroupViTSegmentor', decode_head=dict(type='GroupViTZeroShotHead', top_k=3))
val_cfg = dict(
    segmentor=dict(
        type='GroupViTSegmentor',
        decode_head={'type': 'GroupViTZeroShotHead', 'top_k': 7, 'image_weight': 0.5},
        test_cfg=dict(mode='whole'),
    )
)
val_dataloader = {'dataset': {'pipeline': [{'type': 'Resize', 'scale': (9, 9)}]}}
test_dataloader = dict(
    dataset=dict(pipeline=[dict(type='X'), dict(type='Resize', scale=(90, 30), keep_ratio=True)])
)
"""
    head = dict(top_k=7, image_weight=0.5)
    assert read(text) == Decoding(head, dict(mode='whole'), dict(scale=(90, 30)))


HEAD = "dict(type='GroupViTZeroShotHead', {})"


@pytest.mark.parametrize(
    'options',
    [
        "affinity='no such'",
        'affinity=[1]',
        'affinity=open("/etc/passwd")',
        'top_k=0',
        'top_k=True',
        "top_k='5'",
        'image_weight=1.0',
        'image_weight=-0.1',
        "image_weight=float('nan')",
        'image_weight=True',
    ],
)
def test_values_that_are_none_are_left_out(options):
    assert read(f'model = dict(decode_head={HEAD.format(options)})') == Decoding()


@pytest.mark.parametrize(
    'resize',
    [
        'scale=(2048, 100000), keep_ratio=True',
        'scale_factor=4.0',
        'scale_factor=0, keep_ratio=True',
        'scale_factor=-2, keep_ratio=True',
        'scale_factor=1e9, keep_ratio=True',
        'scale_factor=True, keep_ratio=True',
        'scale_factor=(2, 2), keep_ratio=True',
        'scale=(2048, 0), keep_ratio=True',
        'scale=(2048,), keep_ratio=True',
        'scale=2048, keep_ratio=True',
        "scale=('a', 'b'), keep_ratio=True",
        'scale=(2048, 80), keep_ratio=False',
        'scale=(2048, 80)',
    ],
)
def test_sizes_that_no_evaluation_has_are_left_out(resize):
    pipeline = f"[dict(type='Resize', interpolation='other', {resize})]"
    text = f"""
model = dict(decode_head={HEAD.format('top_k=4')})
test_dataloader = dict(dataset=dict(pipeline={pipeline}))
"""
    assert read(text) == Decoding(dict(top_k=4))


@pytest.mark.parametrize(
    'test_cfg',
    [
        "mode='slide', crop_size=(64, 64)",
        "mode='slide', crop_size=(64, 64), stride=(32, 7)",  # more than eight windows at a pixel
        "mode='slide', crop_size=(64, 10000), stride=(32, 5000)",
        "mode='slide', crop_size=64, stride=32",
        "mode='other'",
    ],
)
def test_windows_that_no_evaluation_has_are_left_out(test_cfg):
    head = HEAD.format('top_k=4')
    text = "model = dict(type='GroupViTSegmentor', decode_head={}, test_cfg=dict({}))"
    assert read(text.format(head, test_cfg)) == Decoding(dict(top_k=4))
    good = dict(mode='slide', crop_size=(64, 64), stride=(32, 8))
    assert read(text.format(head, f'**{{}}, **{good}')).test_cfg == {}
    stated = ', '.join(f'{key}={value!r}' for key, value in good.items())
    assert read(text.format(head, stated)).test_cfg == good


@pytest.mark.parametrize('loader', ['5', 'dict(dataset=[1])', 'dict(dataset=dict(pipeline=f()))'])
def test_a_pipeline_that_cannot_be_read_is_left_out(loader):
    text = f'model = {HEAD.format("top_k=4")}\ntest_dataloader = {loader}'
    assert read(text) == Decoding(dict(top_k=4))


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
    """The recipe of photographs, and a checkpoint of its training with random weights."""
    cfg = Config.fromfile(CONFIGS / RECIPES[0])
    for part in (cfg.model, cfg.val_cfg.segmentor, cfg.val_cfg.segmentor.decode_head):
        part.get('text_encoder', {})['vocab_size'] = 49408
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    path = tmp_path_factory.mktemp('weights') / 'epoch_16.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text)), path)
    return cfg, path


def test_weights_of_photographs_need_no_config(photographs):
    """Their segments are means of tokens, and they have a stem and another affinity."""
    cfg, path = photographs
    image = np.random.default_rng(0).integers(0, 256, (120, 150, 3), dtype=np.uint8)
    words = ('cat', 'dog', 'grass')
    named = GroupViTInferencer(cfg, path)
    named.set_classes(with_background=False)
    named.set_classes(words, aliases={})
    opened = GroupViTInferencer.from_pretrained(path, class_names=words)
    assert opened.segmentor.decode_head.image_weight == 0.5
    first, second = named(image), opened(image)
    assert np.array_equal(first.scores, second.scores)
    assert np.array_equal(first.group_map, second.group_map)
    assert np.array_equal(load_segmentor(None, path).backbone.pos_embed.detach().numpy(),
                          opened.segmentor.backbone.pos_embed.detach().numpy())  # fmt: skip


def test_a_factor_is_one_of_the_size_of_training(photographs, tmp_path):
    _, path = photographs
    weights = torch.load(path, weights_only=True)
    text = weights['meta']['cfg']
    for factor, side in (('4.0', 256), ('0.5', 32), ('1e-9', 1)):
        changed = re.sub(r'scale=\(\s*2048,\s*80,\s*\)', f'scale_factor={factor}', text)
        assert changed != text
        weights['meta']['cfg'] = changed
        torch.save(weights, tmp_path / 'factor.pth')
        resize = open_model(tmp_path / 'factor.pth').config.test_dataloader.dataset.pipeline[1]
        assert resize == dict(
            type='Resize', scale=(2048, side), keep_ratio=True, interpolation='area'
        )


def test_the_official_threshold_is_for_its_affinity(photographs):
    _, path = photographs
    assert open_model(path).config.model.decode_head.bg_thresh == 0.5
    weights = torch.load(path, weights_only=True)
    weights['meta']['cfg'] = weights['meta']['cfg'].replace(
        "affinity='cosine'", "affinity='softmax'"
    )
    torch.save(weights, path.with_name('softmax.pth'))
    assert (
        open_model(path.with_name('softmax.pth')).config.model.decode_head.bg_thresh == 'official'
    )


def test_weights_of_photographs_stay_in_the_plugins_format(photographs, convert, tmp_path, capsys):
    _, path = photographs
    assert convert('plugin_to_official', path, tmp_path / 'o.pth') == 2
    message = capsys.readouterr().err
    assert (
        'The official format has no convolutional stem (conv_stem) and no assignment with '
        in message
    )
    assert 'mean_of_tokens=True and no mean of projections (pool_projected): this model' in message
    assert not list(tmp_path.iterdir())
