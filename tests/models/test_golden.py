"""The golden tool: passes on the official values, fails on a wrong one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from loading import load_file

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / 'tests/data/golden').glob('*.npz'))


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Runs the tool in this process; gives its exit status, output and error output."""
    tool = load_file('tools/analysis_tools/check_golden.py')

    def run(path):
        monkeypatch.setattr(sys, 'argv', ['check_golden.py', str(path)])
        return tool.main(), *capsys.readouterr()

    return run


def test_files_are_there():
    assert [path.stem for path in FILES] == ['golden_two_stage', 'golden_wide']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_array_is_met(run_tool, path):
    status, output, errors = run_tool(path)
    assert status == 0, output + errors
    assert '42 of 42 arrays within tolerance' in output
    assert 'FAILED' not in output


def test_a_changed_or_unknown_array_fails(run_tool, tmp_path):
    with np.load(FILES[0]) as file:
        arrays = dict(file)
    arrays['image/pooled'] = arrays['image/pooled'] + 1e-3
    arrays['image/something_new'] = np.zeros(3)
    np.savez(tmp_path / 'changed.npz', **arrays)
    status, output, _ = run_tool(tmp_path / 'changed.npz')
    assert status == 1
    failed = [line.split()[0] for line in output.splitlines() if 'FAILED' in line]
    assert failed == ['image/pooled', 'image/something_new']


@pytest.mark.parametrize('content', [b'', b'not a zip file'])
def test_unreadable_file_is_one_sentence(run_tool, tmp_path, content):
    path = tmp_path / 'bad.npz'
    path.write_bytes(content)
    status, _, errors = run_tool(path)
    assert status == 2
    assert errors.startswith('error: ')
    assert len(errors.splitlines()) == 1


def other_configurations(keys, config):
    """Keys and configs of other shapes, made from the two-stage file's."""
    single = {k: s for k, s in keys.items() if 'linear_hidden' not in k and 'multi_label' not in k}
    in_second = ('layers.1.downsample', 'layers.1.group', 'layers.2')
    single = {k: s for k, s in single.items() if not any(part in k for part in in_second)}
    single['img_projector.linear_out.weight'] = [32, 48, 1]
    single['text_projector.linear_out.weight'] = [32, 64, 1]
    one_stage = dict(depths=[2, 2], num_heads=[6, 6])
    one_stage.update(num_group_tokens=[8, 0], num_output_groups=[8])
    yield single, dict(config, proj_num_layers=1, multi_label=0), one_stage

    deep = dict(keys) | {
        'img_encoder.pos_embed': [1, 144, 48],
        'img_encoder.patch_embed.proj.weight': [48, 3, 8, 8],
    }
    for tower in ('img', 'text'):
        layer = f'{tower}_projector.linear_hidden'
        deep[f'{layer}.3.weight'] = [4096, 4096, 1]
        norm = ('weight', 'bias', 'running_mean', 'running_var')
        deep |= {f'{layer}.3.bias': [4096]} | {f'{layer}.4.{name}': [4096] for name in norm}
        deep[f'{layer}.4.num_batches_tracked'] = []
    yield deep, dict(config, proj_num_layers=3), dict(patch_size=8)


def test_files_of_other_configurations_are_understood(run_tool, tmp_path):
    with np.load(FILES[0]) as file:
        arrays = {name: file[name] for name in file.files if not name.startswith('seg/')}
    keys, config = (json.loads(str(arrays[f'meta/{name}'])) for name in ('keys', 'config'))
    configurations = list(other_configurations(keys, config))
    assert len(configurations) == 2
    for shapes, settings, image in configurations:
        settings = dict(settings, img_encoder=config['img_encoder'] | image)
        inputs = {n: arrays[n] for n in ('image/input', 'rect/input', 'text/strings')}
        inputs |= {'meta/keys': json.dumps(shapes), 'meta/config': json.dumps(settings)}
        inputs |= {n: arrays[n] for n in ('meta/seed', 'text/token_ids')}
        np.savez(tmp_path / 'other.npz', **inputs)
        status, output, errors = run_tool(tmp_path / 'other.npz')
        assert (status, errors) == (0, ''), output + errors
        assert '1 of 1 arrays within tolerance' in output  # the token ids; weights fitted


def test_a_setting_that_would_be_ignored_is_one_sentence(run_tool, tmp_path):
    with np.load(FILES[0]) as file:
        arrays = dict(file)
    config = json.loads(str(arrays['meta/config']))
    config['img_encoder']['window_size'] = 7
    np.savez(tmp_path / 'unknown.npz', **(arrays | {'meta/config': json.dumps(config)}))
    status, _, errors = run_tool(tmp_path / 'unknown.npz')
    assert status == 2
    assert 'window_size' in errors
