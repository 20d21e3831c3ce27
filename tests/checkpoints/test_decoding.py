"""Weights are segmented as their config says, without naming it; its text is not run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.architecture_hints import Decoding
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.decoding_text import within_limits
from groupvit_mmseg.conversion.model_configs import PAPER, segments_otherwise, zero_shot_voc_config
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
    assert found.mode == test_cfg.mode
    windows = (test_cfg.crop_size, test_cfg.stride) if test_cfg.mode == 'slide' else None
    assert found.windows == windows
    (resize,) = [t for t in evaluated.test_dataloader.dataset.pipeline if t.type == 'Resize']
    assert found.scale == resize.get('scale')
    assert found.size_factor == resize.get('scale_factor')
    assert found.interpolation == resize.get('interpolation')
    size = evaluated.model.backbone.get('img_size', 224)
    assert (
        within_limits(found, PAPER._replace(backbone=dict(PAPER.backbone, img_size=size))) == found
    )


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
    assert read(text) == Decoding(head, 'whole', scale=(90, 30))


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
        'scale=(2048, 0), keep_ratio=True',
        'scale=(2048,), keep_ratio=True',
        "scale=('a', 'b'), keep_ratio=True",
        'scale=(2048, 80), keep_ratio=False',
        'scale=(2048, 80)',
        'scale_factor=4.0',
        'scale_factor=0, keep_ratio=True',
        'scale_factor=-2, keep_ratio=True',
        'scale_factor=True, keep_ratio=True',
        'scale_factor=(2, 2), keep_ratio=True',
    ],
)
def test_sizes_that_cannot_be_read_are_left_out(resize):
    pipeline = f"[dict(type='Resize', interpolation='other', {resize})]"
    text = f"""
model = dict(decode_head={HEAD.format('top_k=4')})
test_dataloader = dict(dataset=dict(pipeline={pipeline}))
"""
    assert read(text) == Decoding(dict(top_k=4))


def test_one_side_is_both():
    pipeline = "[dict(type='Resize', scale=64, keep_ratio=True, interpolation='area')]"
    loader = f'val_dataloader = dict(dataset=dict(pipeline={pipeline}))'
    # The changes of a loader of tests hide nothing.
    text = f'model = {HEAD.format("top_k=4")}\ntest_dataloader = dict(num_workers=0)\n{loader}'
    expected = Decoding(dict(top_k=4), scale=(64, 64), interpolation='area')
    assert read(text) == expected


@pytest.mark.parametrize(
    'test_cfg',
    [
        "mode='slide', crop_size=(64, 64)",
        "mode='slide', crop_size=64, stride=32",
        "mode='other', **other",
        "mode='slide', crop_size=(64, 64, 64), stride=(32, 32)",
    ],
)
def test_windows_that_cannot_be_read_are_left_out(test_cfg):
    head = HEAD.format('top_k=4')
    text = "model = dict(type='GroupViTSegmentor', decode_head={}, test_cfg=dict({}))"
    mode = 'slide' if 'slide' in test_cfg else None
    assert read(text.format(head, test_cfg)) == Decoding(dict(top_k=4), mode)
    good = "mode='slide', crop_size=(64, 32), stride=[32, 8]"
    assert read(text.format(head, good)).windows == ((64, 32), (32, 8))


@pytest.mark.parametrize(
    'wrong, right',
    [
        (dict(scale=(2048, 1)), dict(scale=(2048, 32))),
        (dict(scale=(2048, 513)), dict(scale=(4096, 512))),
        (dict(scale=(4097, 80)), dict(scale=(4096, 80))),
        (dict(size_factor=1e-9), dict(size_factor=0.5)),
        (dict(size_factor=float('inf')), dict(size_factor=8)),
        (dict(windows=((64, 64), (15, 64))), dict(windows=((64, 64), (16, 64)))),
        (dict(windows=((31, 64), (31, 64))), dict(windows=((32, 64), (32, 64)))),
        (dict(windows=((64, 513), (64, 513))), dict(windows=((64, 512), (64, 512)))),
    ],
)
def test_weights_do_not_say_how_much_memory_and_time_to_take(photographs, wrong, right):
    """Of a model of 64 px."""
    structure = open_model(photographs[1]).structure
    assert within_limits(Decoding(**wrong), structure) == Decoding()
    assert within_limits(Decoding(**right), structure) == Decoding(**right)
    assert not segments_otherwise(Decoding(**wrong, mode='slide'), structure)


@pytest.mark.parametrize(
    'text',
    [
        f'model = dict(a=a{".b" * 900})',
        f'model = dict(a=({"1+" * 900}a).b)',
        f'model = dict(a=({"lambda:" * 90}0).b)',
        f"model = dict(type='SegDataPreProcessor', mean=[0x{'f' * 3000}, 1, 2])",
        f'model = dict(type=0x{"f" * 6000})',
        f'model = {{0x{"f" * 6000}: 1}}',
        "model = dict(type='GroupViT', assignment=dict(kind=f()))",
        "model = dict(type='GroupViT', **other)",
    ],
    ids=['attributes', 'sum', 'lambdas', 'huge-mean', 'huge-type', 'huge-key', 'call', 'stars'],
)
def test_a_hostile_text_has_fewer_settings_and_no_error(text):
    settings = from_config_text(text, 'x')
    assert settings.normalization is None
    assert settings.decoding is None
    assert settings.hints.assignment == (() if 'stars' in text or '**' in text else None)


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


def test_a_factor_is_one_of_the_size_of_training(photographs):
    structure = open_model(photographs[1]).structure
    for factor, side in ((4.0, 256), (0.5, 32), (None, 128)):
        decoding = Decoding(size_factor=factor, interpolation='area')
        pipeline = zero_shot_voc_config(structure, decoding).test_dataloader.dataset.pipeline
        expected = dict(type='Resize', scale=(2048, side), keep_ratio=True, interpolation='area')
        assert pipeline[1] == expected


@pytest.mark.parametrize('losses', [['patches'], ['patches', 'pooled']], ids=['one', 'two'])
def test_means_without_a_loss_of_their_own_are_whole_models(tmp_path, losses):
    """No scale of theirs is missing where the weights have none."""
    cfg = Config.fromfile(CONFIGS / RECIPES[1])
    kinds = [dict(type='MultiLabelContrastiveLoss', level=level) for level in losses]
    loss = kinds if len(kinds) > 1 else kinds[0]
    cfg.merge_from_dict(dict(model=dict(loss_grouping=None, loss_multi_label=None)))
    cfg.model.loss_multi_label = loss
    for part in (cfg.model, cfg.val_cfg.segmentor.decode_head):
        part.image_projector.pool_projected = False
    models = {'pretrainer': cfg.model, 'segmentor': cfg.val_cfg.segmentor}
    for name, model in models.items():
        path = tmp_path / f'{name}.pth'
        state = MODELS.build(model).state_dict()
        torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), path)
        assert open_model(path).structure.backbone['assignment'] == {'mean_of_tokens': True}


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


def test_a_conversion_notes_what_the_result_lacks(trained, convert, tmp_path, capsys):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'paper.pth')
    assert 'does not contain how this model segments' not in capsys.readouterr().out
    weights = torch.load(source, weights_only=True)
    head = HEAD.format("affinity='cosine', top_k=3")
    weights['meta']['cfg'] += f'\nval_cfg = dict(segmentor=dict(decode_head={head}))'
    torch.save(weights, tmp_path / 'own.pth')
    assert not convert('plugin_to_official', tmp_path / 'own.pth', tmp_path / 'o.pth')
    note = "the result does not contain how this model segments (affinity='cosine', top_k=3): it"
    assert note in capsys.readouterr().out


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
