"""The four converters: numbers, bits, reports, and wrong files."""

import json
import os
import zipfile

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from safetensors.torch import save_file

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints import key_map, read_weights

HEADS = {'two_stage': ['6', '6', '6'], 'wide': ['4', '4', '8']}


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
@pytest.mark.parametrize('name', list(HEADS))
def test_official_round_trip(convert, official, official_file, same_bits, tmp_path, name, suffix):
    plugin, back = tmp_path / f'out/plugin.{suffix}', tmp_path / 'back.pth'
    assert not convert(
        'official_to_plugin', official_file(name), plugin, '--num-heads', *HEADS[name]
    )
    # The way back finds the heads in the config that travels with the weights.
    assert not convert('plugin_to_official', plugin, back)
    same_bits(official[name], torch.load(back, weights_only=True)['model'])
    settings = json.loads(back.with_suffix('.json').read_text())
    assert settings['img_encoder']['num_heads'] == [int(n) for n in HEADS[name]]
    assert settings['img_encoder']['embed_dim'] == {'two_stage': 48, 'wide': 32}[name]


def test_half_precision_stays(convert, official, same_bits, tmp_path):
    half = {k: v.half() if v.dim() else v for k, v in official['two_stage'].items()}
    torch.save({'model': half}, tmp_path / 'half.pth')
    argv = (tmp_path / 'half.pth', tmp_path / 'p.safetensors', '--num-heads', 6, 6, 6)
    assert not convert('official_to_plugin', *argv)
    assert not convert('plugin_to_official', tmp_path / 'p.safetensors', tmp_path / 'back.bin')
    same_bits(half, torch.load(tmp_path / 'back.bin', weights_only=True)['model'])


def test_everything_read_is_used_or_named(convert, official_file, tmp_path, capsys):
    assert not convert(
        'official_to_plugin', official_file(), tmp_path / 'a.pth', '--num-heads', 6, 6, 6
    )
    output = capsys.readouterr().out
    assert '203 tensors, widths [48, 48, 48]' in output
    for skipped in ('optimizer', 'config', 'epoch', 'type argparse.Namespace'):
        assert f'skipped {skipped}: ' in output
    assert 'numeric check: largest difference' in output
    assert not convert('plugin_to_hf', tmp_path / 'a.pth', tmp_path / 'hf')
    output = capsys.readouterr().out
    assert 'dropped loss_multi_label.logit_scale: transformers has no multi-label loss' in output


def test_config_beside_the_weights_builds_the_model_that_they_fit(convert, official_file, tmp_path):
    plugin = tmp_path / 'wide.pth'
    assert not convert('official_to_plugin', official_file('wide'), plugin, '--num-heads', 4, 4, 8)
    cfg = Config.fromfile(tmp_path / 'wide.py')
    backbone = cfg.model.backbone
    assert (backbone.patch_size, backbone.img_size) == (16, 112)
    assert list(backbone.num_output_groups) == [9, 5]
    segmentor = MODELS.build(cfg.model)
    weights = torch.load(plugin, weights_only=True)['state_dict']
    segmentor.load_state_dict(weights, strict=True)
    embed = segmentor.decode_head.text_encoder.token_embedding.weight
    assert torch.equal(embed, weights['text_encoder.token_embedding.weight'])


def test_hugging_face_round_trip(convert, official_file, same_bits, tmp_path):
    first = tmp_path / 'first.pth'
    assert not convert('official_to_plugin', official_file(), first, '--num-heads', 6, 6, 6)
    assert not convert('plugin_to_hf', first, tmp_path / 'hf')
    transformers = pytest.importorskip('transformers', reason='the oracle is not installed')
    model = transformers.GroupViTModel.from_pretrained(tmp_path / 'hf')
    weights = read_weights(tmp_path / 'hf').tensors
    same_bits(weights, model.state_dict())
    assert not convert('hf_to_plugin', tmp_path / 'hf', tmp_path / 'second.safetensors')
    assert not convert('plugin_to_hf', tmp_path / 'second.safetensors', tmp_path / 'again.bin')
    same_bits(weights, torch.load(tmp_path / 'again.bin', weights_only=True))
    expected = read_weights(first).tensors
    del expected['loss_multi_label.logit_scale']
    same_bits(expected, read_weights(tmp_path / 'second.safetensors').tensors)


def test_old_constants_and_wrappers(convert, official_file, same_bits, tmp_path, capsys):
    first = tmp_path / 'p.pth'
    assert not convert('official_to_plugin', official_file(), first, '--num-heads', 6, 6, 6)
    assert not convert('plugin_to_hf', first, tmp_path / 'hf')
    tensors = read_weights(tmp_path / 'hf').tensors
    tensors['text_model.embeddings.position_ids'] = torch.arange(77)[None]
    wrapped = {f'module.groupvit.{key}': value for key, value in tensors.items()}
    torch.save(wrapped, tmp_path / 'hf' / 'old.bin')
    capsys.readouterr()
    assert not convert('hf_to_plugin', tmp_path / 'hf' / 'old.bin', tmp_path / 'q.pth')
    output = capsys.readouterr().out
    assert 'dropped text_model.embeddings.position_ids: a constant' in output
    expected = read_weights(first).tensors
    del expected['loss_multi_label.logit_scale']
    same_bits(expected, read_weights(tmp_path / 'q.pth').tensors)


def test_models_of_oblong_images(convert, official_file, same_bits, tmp_path, capsys):
    oblong = {'img_encoder.pos_embed': torch.randn(1, 24, 48)}
    source, plugin = official_file(**oblong), tmp_path / 'p.pth'
    argv = ('official_to_plugin', source, plugin, '--num-heads', 6, 6, 6, '--img-size')
    assert 'does not have the 24 patches' in refused(convert, capsys, tmp_path, *argv, 64, 112)
    assert not convert(*argv, 64, 96)
    assert not convert('plugin_to_hf', plugin, tmp_path / 'hf')
    assert not convert('hf_to_plugin', tmp_path / 'hf', tmp_path / 'q.pth')
    expected = read_weights(plugin).tensors
    del expected['loss_multi_label.logit_scale']
    same_bits(expected, read_weights(tmp_path / 'q.pth').tensors)
    assert list(Config.fromfile(tmp_path / 'q.py').model.backbone.img_size) == [64, 96]


def test_segmentor_weights_convert_like_a_pretrainers(convert, official_file, same_bits, tmp_path):
    first = tmp_path / 'first.pth'
    assert not convert('official_to_plugin', official_file(), first, '--num-heads', 6, 6, 6)
    segmentor = MODELS.build(Config.fromfile(tmp_path / 'first.py').model)
    segmentor.load_state_dict(torch.load(first, weights_only=True)['state_dict'])
    save_checkpoint({'state_dict': segmentor.state_dict()}, tmp_path / 'segmentor.pth')
    given = ['--config', tmp_path / 'first.py']
    assert not convert('plugin_to_hf', tmp_path / 'segmentor.pth', tmp_path / 'b', *given)
    assert not convert('plugin_to_hf', first, tmp_path / 'a')
    same_bits(read_weights(tmp_path / 'a').tensors, read_weights(tmp_path / 'b').tensors)


def test_assign_scale_goes_into_the_weights(convert, official_file, tmp_path, capsys):
    first = tmp_path / 'first.pth'
    assert not convert('official_to_plugin', official_file(), first, '--num-heads', 6, 6, 6)
    content = torch.load(first, weights_only=True)
    text = content['meta']['cfg'].replace('depths=', 'assign_scale=8.0, depths=')
    save_checkpoint({**content, 'meta': {'cfg': text}}, tmp_path / 'sharp.pth')
    # The numeric check compares the plugin, which has the factor, with transformers, which has not.
    assert not convert('plugin_to_hf', tmp_path / 'sharp.pth', tmp_path / 'hf')
    key = 'vision_model.encoder.stages.0.downsample.assign.q_proj.weight'
    plain = content['state_dict']['backbone.stages.0.grouping.assign.q_proj.weight']
    assert torch.equal(read_weights(tmp_path / 'hf').tensors[key], 8 * plain)


def test_numeric_check_finds_a_swapped_pair(convert, official_file, tmp_path, capsys, monkeypatch):
    swapped = dict(key_map.OFFICIAL)
    name = 'img_encoder.layers.*.downsample.'
    a, b = f'{name}norm_tokens.', f'{name}norm_x.'
    swapped[a], swapped[b] = swapped[b], swapped[a]
    monkeypatch.setattr(key_map, 'OFFICIAL', swapped)
    source, target = official_file(), tmp_path / 'out' / 'plugin.pth'
    assert convert('official_to_plugin', source, target, '--num-heads', 6, 6, 6) == 2
    assert 'numeric check failed: segments differ by' in capsys.readouterr().err
    assert not target.parent.exists()
    arguments = ('--num-heads', 6, 6, 6, '--no-check')
    assert convert('official_to_plugin', source, target, *arguments) == 0
    assert target.exists()


def refused(convert, capsys, tmp_path, *argv):
    """Runs a converter that must fail: its one sentence; nothing new may lie in the folder."""
    before = sorted(os.listdir(tmp_path))
    assert convert(*argv) == 2
    errors = capsys.readouterr().err
    assert errors.startswith('error: ')
    assert len(errors.splitlines()) == 1, errors
    assert sorted(os.listdir(tmp_path)) == before
    return errors


def bad_files(path):
    """Files that are no weights, by what is wrong with them."""
    whole = path.read_bytes()
    path.with_name('truncated.pth').write_bytes(whole[: len(whole) * 3 // 5])
    path.with_name('start.pth').write_bytes(whole[:100])
    path.with_name('empty.pth').write_bytes(b'')
    path.with_name('text.pth').write_bytes(b'{"weights": 1}\n')
    path.with_name('folder.pth').mkdir()
    torch.save([1, 2], path.with_name('list.pth'))
    torch.save({'model': {}}, path.with_name('nothing.pth'))
    with zipfile.ZipFile(path.with_name('bomb.pth'), 'w', zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr('archive/data.pkl', bytes(50_000_000))
    with zipfile.ZipFile(path.with_name('zip.pth'), 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    save_file({'a': torch.zeros(1000)}, path.with_name('torn.safetensors'))
    torn = path.with_name('torn.safetensors')
    torn.write_bytes(torn.read_bytes()[:-100])
    torch.save({'backbone.weight': torch.zeros(2)}, path.with_name('other.pth'))
    torch.save({'layer1.weight': torch.zeros(2)}, path.with_name('resnet.pth'))
    return {
        'missing.pth': 'There is no checkpoint at',
        'truncated.pth': 'truncated.pth cannot be read as weights',
        'start.pth': 'cannot be read as weights',
        'empty.pth': 'cannot be read as weights: it is empty',
        'text.pth': 'cannot be read as weights',
        'folder.pth': 'holds none of model.safetensors',
        'list.pth': 'holds a list instead of a dict',
        'nothing.pth': 'holds no tensors',
        'bomb.pth': 'to 50000000 bytes, which torch.save never writes',
        'zip.pth': 'a zip archive, but not one of torch.save',
        'torn.safetensors': 'cannot be read as weights',
        'other.pth': 'has the plugin keys, not the official ones',
        'resnet.pth': 'has no keys of a GroupViT',
    }


def test_bad_files_are_one_sentence_and_leave_nothing(convert, official_file, tmp_path, capsys):
    path = official_file()
    sentences = bad_files(path)
    assert len(sentences) == 13
    for name, sentence in sentences.items():
        argv = ('official_to_plugin', tmp_path / name, tmp_path / 'out.pth')
        assert sentence in refused(convert, capsys, tmp_path, *argv)


def test_wrong_keys_and_shapes_are_listed(convert, official, official_file, tmp_path, capsys):
    def errors_of(**changes):
        weights = {k: v for k, v in {**official['two_stage'], **changes}.items() if v is not None}
        torch.save({'model': weights}, tmp_path / 'wrong.pth')
        argv = ('official_to_plugin', tmp_path / 'wrong.pth', tmp_path / 'out.pth')
        return refused(convert, capsys, tmp_path, *argv, '--num-heads', 6, 6, 6)

    (tmp_path / 'wrong.pth').touch()
    block = 'img_encoder.layers.1.blocks.1.'
    missing = {f'{block}mlp.fc2.bias': None, 'logit_scale': None}
    assert f'2 missing: {", ".join(missing)}.' in errors_of(**missing)
    telling = {'img_encoder.pos_embed': None, 'text_encoder.positional_embedding': None}
    assert f'2 tensors are missing: {", ".join(telling)}' in errors_of(**telling)
    assert '1 tensors have no place in GroupViT: extra' in errors_of(extra=torch.zeros(1))
    wrong = {f'{block}mlp.fc2.bias': torch.zeros(7)}
    assert f'{block}mlp.fc2.bias [7] instead of [48]' in errors_of(**wrong)
    flat = {'img_encoder.pos_embed': torch.zeros(36, 48)}
    assert '1 tensors have another shape' in errors_of(**flat)
    oblong = {'img_encoder.pos_embed': torch.zeros(1, 35, 48)}
    assert 'give its size with --img-size' in errors_of(**oblong)


def test_heads_that_nothing_tells_must_be_given(convert, official_file, tmp_path, capsys):
    argv = ('official_to_plugin', official_file(), tmp_path / 'out.pth')
    assert 'give --num-heads, one number for each' in refused(convert, capsys, tmp_path, *argv)
    wrong = refused(convert, capsys, tmp_path, *argv, '--num-heads', 5, 5, 5)
    assert 'does not divide the width 48' in wrong


def test_models_that_hugging_face_cannot_hold(convert, official_file, tmp_path, capsys):
    plugin = tmp_path / 'wide.pth'
    assert not convert('official_to_plugin', official_file('wide'), plugin, '--num-heads', 4, 4, 8)
    capsys.readouterr()
    errors = refused(convert, capsys, tmp_path, 'plugin_to_hf', plugin, tmp_path / 'hf')
    assert 'allows only one width and one number of heads' in errors


def test_nothing_is_replaced_unasked(convert, official_file, tmp_path, capsys):
    (tmp_path / 'out.py').write_text('mine')
    argv = ('official_to_plugin', official_file(), tmp_path / 'out.pth', '--num-heads', 6, 6, 6)
    assert 'out.py already' in refused(convert, capsys, tmp_path, *argv)
    assert convert(*argv, '--overwrite', '--no-check') == 0
    assert (tmp_path / 'out.py').read_text() != 'mine'


def test_failing_disk_leaves_nothing(convert, official_file, tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    source = official_file()
    monkeypatch.setattr(torch, 'save', full)
    argv = ('official_to_plugin', source, tmp_path / 'out.pth', '--num-heads', 6, 6, 6)
    assert 'No space left' in refused(convert, capsys, tmp_path, *argv, '--no-check')


@pytest.mark.slow
def test_full_size_through_all_four(convert, same_bits, tmp_path, capsys):
    transformers = pytest.importorskip('transformers', reason='the oracle is not installed')
    model = transformers.GroupViTModel(transformers.GroupViTConfig())
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.02)
    model.save_pretrained(tmp_path / 'hf', max_shard_size='100MB')  # 223 MB in shards
    assert (tmp_path / 'hf' / 'model.safetensors.index.json').is_file()
    assert not convert('hf_to_plugin', tmp_path / 'hf', tmp_path / 'p.pth')
    assert 'num_heads [6, 6, 6]' in capsys.readouterr().out
    assert not convert('plugin_to_official', tmp_path / 'p.pth', tmp_path / 'o.pth')
    assert not convert('official_to_plugin', tmp_path / 'o.pth', tmp_path / 'q.safetensors')
    assert not convert('plugin_to_hf', tmp_path / 'q.safetensors', tmp_path / 'b.safetensors')
    assert capsys.readouterr().out.count('numeric check: largest difference') == 3
    same_bits(model.state_dict(), read_weights(tmp_path / 'b.safetensors').tensors)
