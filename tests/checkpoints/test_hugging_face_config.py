"""What lies beside Hugging Face's weights: every value is read, and none defaults silently."""

import json
import shutil

import pytest
import torch
from mmengine.config import Config

from groupvit_mmseg.checkpoints import read_weights


@pytest.fixture(scope='module')
def written(run_tool, write_trained, tmp_path_factory):
    """A folder of Hugging Face's, as if another tool had written it."""
    pytest.importorskip('transformers', reason='it computes the source')
    place = tmp_path_factory.mktemp('written')
    source, _ = write_trained(place / 'trained' / 'epoch_1.pth')
    folder = place / 'hf'
    assert not run_tool('tools/model_converters/plugin_to_hf', source, folder)
    (folder / 'model.safetensors').rename(folder / 'kept.safetensors')
    torch.save(read_weights(folder / 'kept.safetensors').tensors, folder / 'a.bin')
    config = json.loads((folder / 'config.json').read_text())
    del config['groupvit_mmseg']
    (folder / 'config.json').write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(written, tmp_path):
    """A copy, to be changed."""
    return shutil.copytree(written, tmp_path / 'hf')


def change(folder, part=None, **values):
    """Change values in a config.json; None removes one."""
    config = json.loads((folder / 'config.json').read_text())
    place = config[part] if part else config
    place.update(values)
    for name in [name for name, value in values.items() if value is None]:
        del place[name]
    (folder / 'config.json').write_text(json.dumps(config))


def test_all_of_it_is_read(convert, folder, tmp_path, capsys):
    capsys.readouterr()
    assert not convert('hf_to_plugin', folder / 'a.bin', tmp_path / 'p.pth')
    cfg = Config.fromfile(tmp_path / 'p.py').model
    assert list(cfg.backbone.num_heads) == [2, 2]
    assert cfg.decode_head.text_encoder.num_heads == 2
    assert list(cfg.data_preprocessor.mean) == [120, 110, 100]
    assert list(cfg.data_preprocessor.std) == [60, 50, 40]
    assert f'(from {folder / "preprocessor_config.json"})' in capsys.readouterr().out


UNKNOWN = [
    ('vision_config', dict(hidden_act='quick_gelu'), "hidden_act = 'quick_gelu', but "),
    ('vision_config', dict(layer_norm_eps=1e-6), 'vision_config.layer_norm_eps = 1e-06, but '),
    ('vision_config', dict(assign_eps=1e-10), 'vision_config.assign_eps = 1e-10, but '),
    ('text_config', dict(hidden_act='gelu'), "text_config.hidden_act = 'gelu', but "),
    ('text_config', dict(layer_norm_eps=1e-12), 'text_config.layer_norm_eps = 1e-12, but '),
    ('text_config', dict(eos_token_id=5), 'text_config.eos_token_id = 5, but '),
    (None, dict(model_type='clip'), 'config.json is of a clip, not of a groupvit'),
    ('vision_config', dict(hidden_size=384), 'is of another model: its backbone has embed_dims'),
    ('vision_config', dict(depths=[1, 2]), 'another model: its backbone has depths = [1, 2]'),
    ('text_config', dict(num_hidden_layers=7), 'its text_encoder has num_layers = 7, the weights'),
    ('vision_config', dict(depths=3), 'cannot be read as settings of a GroupViT'),
    ('vision_config', dict(num_attention_heads='two'), "num_heads = ('two', 'two'), which must"),
    (None, dict(projection_dim=99), 'The config.json is not of these weights (size mismatch for '),
    # Of these transformers takes a default, which is not what the weights were trained with.
    ('text_config', dict(eos_token_id=None), 'check failed: text_embeds differ by'),
]


@pytest.mark.parametrize('part,values,sentence', UNKNOWN)
def test_values_that_the_plugin_does_not_compute(
    refuse, folder, tmp_path, capsys, part, values, sentence
):
    change(folder, part, **values)
    argv = ('hf_to_plugin', folder / 'a.bin', tmp_path / 'out' / 'p.pth')
    errors = refuse(*argv, capsys=capsys)
    assert sentence in errors


def test_a_value_that_is_not_there_means_the_default(refuse, folder, tmp_path, capsys):
    change(folder, 'vision_config', num_attention_heads=None)
    argv = ('hf_to_plugin', folder / 'a.bin', tmp_path / 'out' / 'p.pth')
    assert 'num_heads[0] = 6 does not divide the width 64' in refuse(*argv, capsys=capsys)


def test_values_of_old_files_in_their_second_place(convert, folder, tmp_path):
    config = json.loads((folder / 'config.json').read_text())
    config['text_config_dict'] = config['text_config']
    config['text_config'] = {**config['text_config'], 'num_attention_heads': 4}
    config['vision_config_dict'] = None
    (folder / 'config.json').write_text(json.dumps(config))
    assert not convert('hf_to_plugin', folder / 'a.bin', tmp_path / 'p.pth')
    assert Config.fromfile(tmp_path / 'p.py').model.decode_head.text_encoder.num_heads == 2


def test_a_folder_without_a_config(convert, refuse, folder, tmp_path, capsys):
    (folder / 'config.json').unlink()
    argv = ('hf_to_plugin', folder / 'a.bin', tmp_path / 'out' / 'p.pth')
    errors = refuse(*argv, capsys=capsys)
    assert 'give --num-heads, one number for each stage (widths [64, 64]) and --text-' in errors
    assert not convert('hf_to_plugin', folder / 'kept.safetensors', tmp_path / 'q.pth')
    assert list(Config.fromfile(tmp_path / 'q.py').model.backbone.num_heads) == [2, 2]
    (folder / 'config.json').write_text('[]')
    assert 'config.json beside the weights holds a list, no obj' in refuse(*argv, capsys=capsys)


def test_wrong_heads_fail_against_the_record_in_the_file(refuse, folder, tmp_path, capsys):
    change(folder, 'text_config', num_attention_heads=4)
    argv = ('hf_to_plugin', folder / 'kept.safetensors', tmp_path / 'out' / 'p.pth')
    errors = refuse(*argv, capsys=capsys)
    assert 'disagree on text_heads, 2 and 4' in errors
