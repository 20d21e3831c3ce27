"""Heads, sizes and normalisation travel with weights; a wrong guess is never silent."""

import argparse
import json
import shutil
import sys
import types

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints import read_weights
from groupvit_mmseg.checkpoints.restricted_unpickler import (
    MAX_SETTINGS,
    Placeholder,
    SettingsObject,
    as_plain,
)


def config_of(path):
    """The model in the config beside converted weights."""
    return Config.fromfile(path.with_suffix('.py')).model


def answers(path, images):
    """Segments that converted weights give in the model of the config beside them."""
    segmentor = MODELS.build(config_of(path)).eval()
    weights = read_weights(path).tensors
    segmentor.load_state_dict(weights)
    with torch.no_grad():
        output = segmentor.backbone.encode(images)
    return output.segments, output.soft_assignments[0]


# Both as written; the weights without their sidecar; the sidecar beside bare weights.
WAYS = [('as written', 'pth'), ('renamed', 'pth'), ('renamed', 'safetensors'), ('bare', 'pth')]


@pytest.mark.parametrize('way,suffix', WAYS)
def test_official_names_keep_what_shapes_do_not_tell(convert, trained, tmp_path, way, suffix):
    source, model = trained()
    official = tmp_path / f'official.{suffix}'
    assert not convert('plugin_to_official', source, official)
    if way == 'renamed':
        official = official.rename(tmp_path / f'renamed.{suffix}')
    if way == 'bare':
        torch.save({'model': read_weights(official).tensors}, official)
    assert not convert('official_to_plugin', official, tmp_path / f'back.{suffix}')
    cfg = config_of(tmp_path / 'back.pth')
    assert list(cfg.backbone.num_heads) == [2, 2]
    assert cfg.decode_head.text_encoder.num_heads == 2
    assert list(cfg.data_preprocessor.mean) == [120, 110, 100]
    assert list(cfg.data_preprocessor.std) == [60, 50, 40]
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model.backbone.encode(images)
    segments, soft = answers(tmp_path / f'back.{suffix}', images)
    assert torch.allclose(segments, expected.segments, atol=1e-4)
    assert torch.allclose(soft, expected.soft_assignments[0], atol=1e-4)


def test_report_says_where_each_value_comes_from(convert, trained, tmp_path, capsys):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth')
    output = capsys.readouterr().out
    assert f'num_heads [2, 2] (from the config in {source})' in output
    assert f'assign_scale 8.0 (from the config in {source})' in output
    bare = dict(with_config=False, text_encoder=dict(num_heads=1))
    source, _ = trained('trained/bare.pth', **bare)
    argv = ('plugin_to_official', source, tmp_path / 'p.pth', '--num-heads', 2, 2)
    assert not convert(*argv, '--text-heads', 1)
    output = capsys.readouterr().out
    assert 'num_heads [2, 2] (from the command line)' in output
    assert "normalization {'mean': [123.675, 116.28, 103.53]" in output
    assert "(assumed: ImageNet's)" in output
    assert 'img_size 32 (assumed: a square)' in output


def test_what_other_code_computes_otherwise_is_noted(convert, trained, tmp_path, capsys):
    source, _ = trained()
    content = torch.load(source, weights_only=True)
    content['state_dict']['loss_contrastive.logit_scale'].fill_(5.0)
    torch.save(content, source)
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth')
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith('note: ')]
    assert len(notes) == 3
    assert 'the logit scale is 148.4' in notes[0]
    assert 'has only text_heads = 1, and this model has 2' in notes[1]
    assert 'has only normalization = ' in notes[2]
    imagenet = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
    source, _ = trained(text_encoder=dict(num_heads=1), data_preprocessor=imagenet)
    assert not convert('plugin_to_official', source, tmp_path / 'p.pth')
    assert 'note: ' not in capsys.readouterr().out


def test_heads_that_nothing_tells_are_asked_for(refuse, trained, tmp_path, capsys):
    source, _ = trained(with_config=False)
    for tool in ('plugin_to_official', 'plugin_to_hf'):
        errors = refuse(tool, source, tmp_path / 'out' / 'x.pth', capsys=capsys)
        assert 'give --num-heads, one number for each stage (widths [64, 64]) and ' in errors
        assert '--text-heads (width 64).' in errors
    argv = ('plugin_to_official', source, tmp_path / 'out' / 'x.pth', '--no-check')
    heads = ('--num-heads', 2, 2, '--text-heads')
    assert 'text_heads = 3 does not divide the width 64' in refuse(*argv, *heads, 3, capsys=capsys)
    assert 'text_heads = 0, which must be a number of ' in refuse(*argv, *heads, 0, capsys=capsys)
    one_short = ('--num-heads', 2, '--text-heads', 2)
    assert 'give one entry per stage' in refuse(*argv, *one_short, capsys=capsys)


def test_config_beside_the_weights_is_read_where_none_is_inside(convert, trained, tmp_path):
    whole = torch.load(trained()[0], weights_only=True)['meta']['cfg']
    source, _ = trained(with_config=False)
    source.with_suffix('.py').write_text(whole)
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth')
    settings = json.loads((tmp_path / 'o.json').read_text())
    assert settings['img_encoder']['num_heads'] == [2, 2]


def test_options_that_contradict_what_travels(convert, refuse, trained, tmp_path, capsys):
    source, _ = trained()
    argv = ('plugin_to_official', source, tmp_path / 'out' / 'o.pth')
    errors = refuse(*argv, '--num-heads', 1, 1, capsys=capsys)
    assert 'the command line and the config in ' in errors
    assert 'disagree on num_heads, [1, 1] and [2, 2]' in errors
    assert 'disagree on text_heads, 4 and 2' in refuse(*argv, '--text-heads', 4, capsys=capsys)
    other, _ = trained('trained/other.pth', backbone=dict(assign_scale=1.0))
    (tmp_path / 'other.py').write_text(torch.load(other, weights_only=True)['meta']['cfg'])
    errors = refuse(*argv, '--config', tmp_path / 'other.py', capsys=capsys)
    assert 'disagree on assign_scale, 1.0 and 8.0' in errors
    assert not convert(*argv, '--num-heads', 2, 2)


def test_a_config_of_another_model(refuse, trained, tmp_path, capsys):
    source, _ = trained(with_config=False)
    other, _ = trained('trained/other.pth', text_encoder=dict(num_layers=3))
    (tmp_path / 'other.py').write_text(torch.load(other, weights_only=True)['meta']['cfg'])
    argv = ('plugin_to_official', source, tmp_path / 'out' / 'o.pth')
    errors = refuse(*argv, '--config', tmp_path / 'other.py', capsys=capsys)
    assert 'other.py is of another model: its text_encoder has num_layers = 3' in errors


def test_a_sidecar_of_another_model(convert, refuse, trained, tmp_path, capsys):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'a.pth', '--no-check')
    torch.save({'model': read_weights(tmp_path / 'a.pth').tensors}, tmp_path / 'a.pth')
    argv = ('official_to_plugin', tmp_path / 'a.pth', tmp_path / 'out' / 'p.pth')
    # Of other shapes; of the same shapes but other weights; not of this kind; no settings.
    other, _ = trained('trained/other.pth', backbone=dict(depths=(2, 1)))
    assert not convert('plugin_to_official', other, tmp_path / 'b.pth', '--no-check')
    shutil.copy(tmp_path / 'b.json', tmp_path / 'a.json')
    errors = refuse(*argv, capsys=capsys)
    assert 'a.json is of another model: its backbone has depths = [2, 1], the weights ' in errors
    other, _ = trained('trained/other.pth', seed=1)
    assert not convert('plugin_to_official', other, tmp_path / 'c.pth', '--no-check')
    shutil.copy(tmp_path / 'c.json', tmp_path / 'a.json')
    errors = refuse(*argv, capsys=capsys)
    assert 'a.json records outputs of the model when it was written, and ' in errors
    (tmp_path / 'a.json').write_text(json.dumps({'img_encoder': {'num_heads': 2}}))
    assert 'a.json has num_heads = 2, which must be one ' in refuse(*argv, capsys=capsys)
    for content in ({'img_encoder': [1]}, {'img_encoder': {}, 'groupvit_mmseg': {'answers': 1}}):
        (tmp_path / 'a.json').write_text(json.dumps(content))
        assert 'cannot be read as settings of a GroupViT (TypeError' in refuse(*argv, capsys=capsys)
    (tmp_path / 'a.json').write_text('{')
    assert 'a.json beside the weights is not JSON' in refuse(*argv, capsys=capsys)
    (tmp_path / 'a.json').write_text('{"learning_rate": 1}')
    assert 'give --num-heads' in refuse(*argv, capsys=capsys)


def test_wrong_heads_fail_against_the_recorded_answers(convert, refuse, trained, tmp_path, capsys):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'a.pth', '--no-check')
    content = torch.load(tmp_path / 'a.pth', weights_only=True)
    (tmp_path / 'a.json').unlink()
    for tower in ('num_heads', 'text_heads'):
        settings = json.loads(json.dumps(content['settings']))
        wrong = [1, 1] if tower == 'num_heads' else 1
        settings['groupvit_mmseg'][tower] = wrong
        if tower == 'num_heads':
            settings['img_encoder'][tower] = wrong
        torch.save({**content, 'settings': settings}, tmp_path / 'a.pth')
        argv = ('official_to_plugin', tmp_path / 'a.pth', tmp_path / 'out' / 'p.pth')
        errors = refuse(*argv, capsys=capsys)
        assert 'the heads, the image size or the weights have changed' in errors
        assert ('text_embeds' if tower == 'text_heads' else 'image_embeds') in errors


def test_plugin_files_are_held_to_their_record(convert, refuse, trained, tmp_path, capsys):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'a.pth', '--no-check')
    assert not convert('official_to_plugin', tmp_path / 'a.pth', tmp_path / 'b.pth')
    content = torch.load(tmp_path / 'b.pth', weights_only=True)
    content['state_dict']['backbone.norm.weight'] += 0.1
    torch.save(content, tmp_path / 'b.pth')
    argv = ('plugin_to_official', tmp_path / 'b.pth', tmp_path / 'out' / 'c.pth')
    assert 'for weights that were changed on purpose' in refuse(*argv, capsys=capsys)
    assert not convert(*argv, '--no-check')


class Node(dict):
    """Stands for yacs's dict with attributes."""


def write_with_config(library, path, model, settings):
    """A file of the official training whose config is of a library's type."""
    module = types.ModuleType(library)
    module.Node = type('Node', (Node,), {'__module__': library})
    sys.modules[library] = module
    try:
        config = module.Node(model=module.Node(settings), epochs=30)
        torch.save({'model': model, 'config': config, 'epoch': 29}, path)
    finally:
        del sys.modules[library]


def test_training_config_in_an_official_file_is_read(convert, trained, tmp_path, capsys):
    source, _ = trained(text_encoder=dict(num_heads=1))
    assert not convert('plugin_to_official', source, tmp_path / 'a.pth', '--no-check')
    model = read_weights(tmp_path / 'a.pth').tensors
    settings = json.loads((tmp_path / 'a.json').read_text())
    settings['img_encoder'].update(img_size='${data.img_size}', depths='${depths}')
    write_with_config('yacs', tmp_path / 'b.pth', model, settings)
    assert not convert('official_to_plugin', tmp_path / 'b.pth', tmp_path / 'p.pth')
    assert list(config_of(tmp_path / 'p.pth').backbone.num_heads) == [2, 2]
    output = capsys.readouterr().out
    assert f'num_heads [2, 2] (from the training config in {tmp_path / "b.pth"})' in output
    namespace = argparse.Namespace(cfg=argparse.Namespace(img_encoder=settings['img_encoder']))
    torch.save({'model': model, 'opt': namespace, 'args': []}, tmp_path / 'c.pth')
    assert not convert('official_to_plugin', tmp_path / 'c.pth', tmp_path / 'q.pth')
    assert list(config_of(tmp_path / 'q.pth').backbone.num_heads) == [2, 2]


def test_settings_of_a_few_bytes_cannot_mean_endless_values():
    nested = ['x']
    for _ in range(60):
        nested = [nested, nested]
    plain, count = [as_plain(nested)], 0
    while plain:
        plain = [part for level in plain if isinstance(level, list) for part in level]
        count += len(plain)
    assert count < 3 * MAX_SETTINGS
    endless = SettingsObject()
    endless['self'] = endless
    assert as_plain(endless) is None
    assert as_plain({'a': [1, Placeholder(), ('b', 2.5)]}) == {'a': [1, None, ['b', 2.5]]}


def test_normalisation_of_another_channel_order(convert, refuse, trained, tmp_path, capsys):
    source, _ = trained(data_preprocessor=dict(bgr_to_rgb=False))
    errors = refuse('plugin_to_hf', source, tmp_path / 'hf' / 'a.bin', capsys=capsys)
    assert 'allows only images in RGB' in errors
    assert not convert('plugin_to_official', source, tmp_path / 'a.pth', '--no-check')
    assert not convert('official_to_plugin', tmp_path / 'a.pth', tmp_path / 'p.pth')
    pictures = config_of(tmp_path / 'p.pth').data_preprocessor
    assert pictures.bgr_to_rgb is False
    assert list(pictures.mean) == [120, 110, 100]
