"""Results are never written over what the same command reads, nor into nowhere."""

import io
import os
from types import SimpleNamespace

import pytest
from PIL import Image
from safetensors.torch import save_file

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.output_paths import check_folder, check_output


def test_inputs_folders_and_places_that_are_none_are_refused(tmp_path):
    source = tmp_path / 'a.pth'
    source.write_bytes(b'x')
    os.link(source, tmp_path / 'b.json')
    (tmp_path / 'c.json').symlink_to(source)
    for name in ('a.pth', 'b.json', 'c.json', '../' + tmp_path.name + '/a.pth'):
        with pytest.raises(ValueError, match=r'would replace .*a\.pth, which this command reads'):
            check_output(tmp_path / name, reads=['hf://x/y', None, 'a, b', source])
    with pytest.raises(ValueError, match='is a folder: name a file'):
        check_output(tmp_path)
    with pytest.raises(ValueError, match=r'a\.pth is a file, not a folder'):
        check_output(source / 'deep' / 'x.json')
    with pytest.raises(ValueError, match=r'--show-dir: .*a\.pth is a file'):
        check_folder(source, name='--show-dir')
    check_output(tmp_path / 'new' / 'deep' / 'x.json', reads=[source])
    check_output(None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.pth', 'b.json', 'c.json']


@pytest.fixture
def unchanged(tmp_path):
    """Files that a tool reads; a check that all are as before."""
    stream = io.BytesIO()
    Image.new('RGB', (8, 8)).save(stream, 'PNG')
    files = {'model.py': b'model = 1\n', 'model.pth': b'weights', 'picture.png': stream.getvalue()}
    files |= {'list.txt': b'a\n', 'classes.json': b'{}', 'model.onnx': b'graph', 'a.tar': b'x'}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    def check():
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files

    return check


TOOLS = {
    'demo/image_demo': '{d}/picture.png {d}/model.py {d}/model.pth --out {d}/picture.png',
    'demo/onnx_demo': '{d}/picture.png {d}/model.onnx --out {d}/picture.png',
    'tools/model_converters/export_onnx': (
        '{d}/model.py {d}/model.onnx --classes cat --out {d}/model.onnx'
    ),
    'tools/analysis_tools/vocabulary': '{d}/model.pth --classes cat,dog --out {d}/model.pth',
    'tools/benchmarks/compare_precision': '{d}/model.pth --out {d}/model.pth',
    'tools/analysis_tools/probe_classification': (
        '{d}/model.pth --train {d} --test {d} --out {d}/model.pth'
    ),
    'tools/analysis_tools/retrieve_captions': '{d}/model.pth --shards {d}/a.tar --out {d}/a.tar',
    'tools/analysis_tools/calibrate_threshold': (
        '{d}/model.pth --set voc21 --root {d} --split list.txt --out {d}/list.txt'
    ),
    'tools/evaluate': '{d}/model.pth --sets voc21 --out {d}/model.pth',
    'tools/model_converters/publish_model': '{d}/model.py {d}/model.pth {d}/model.pth',
}


@pytest.mark.parametrize('name', list(TOOLS))
def test_tools_do_not_write_over_their_inputs(run_tool, unchanged, tmp_path, capsys, name):
    assert run_tool(name, *TOOLS[name].format(d=tmp_path).split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    assert 'would replace' in line or 'is a file, not a folder' in line
    assert unchanged()


def test_tools_that_exit_do_not_write_over_their_inputs_either(run_tool, tmp_path, capsys):
    table = tmp_path / 'table.tsv'
    table.write_text('http://a\tcaption\n')
    with pytest.raises(SystemExit) as end:
        run_tool('tools/dataset_converters/url_tables', 'cc12m', table, '--out', table)
    assert end.value.code == 2
    assert 'would replace' in capsys.readouterr().err
    assert run_tool('tools/analysis_tools/browse_pairs', table, '--out', table) == 2
    assert 'would replace' in capsys.readouterr().err
    (tmp_path / 'maps').mkdir()
    maps = [tmp_path / 'maps'] * 2
    assert run_tool('tools/dataset_converters/coco_object', *maps, '--overwrite') == 2
    assert 'would replace what they are made of' in capsys.readouterr().err
    assert table.read_text() == 'http://a\tcaption\n'


def test_results_of_sets_do_not_replace_class_files(run_tool, tmp_path, capsys):
    module = run_tool.module('tools/evaluate')
    classes = tmp_path / 'voc21.json'
    classes.write_text('{}')
    args = module.parse_args(
        ['x.pth', '--out', str(tmp_path), '--classes', f'voc21={classes}', '--sets', 'voc21']
    )
    with pytest.raises(ValueError, match=r'voc21\.json would replace .*voc21\.json'):
        module.check_outputs([SimpleNamespace(name='voc21')], args)


def test_overwriting_does_not_reach_the_source_of_a_conversion(
    convert, official, official_file, tmp_path, capsys
):
    source = official_file()
    before = source.read_bytes()
    argv = ('official_to_plugin', source, source, '--num-heads', 6, 6, 6, '--overwrite')
    assert convert(*argv) == 2
    assert f'{source}, which this command reads' in capsys.readouterr().err
    assert source.read_bytes() == before
    # The config given, where that of the result goes; and a shard of the source.
    plugin, config = tmp_path / 'p.pth', tmp_path / 'mine.json'
    assert not convert('official_to_plugin', source, plugin, '--num-heads', 6, 6, 6)
    config.write_text('{}')
    argv = ('plugin_to_official', plugin, tmp_path / 'mine.pth', '--config', config)
    assert convert(*argv, '--overwrite') == 2
    assert f'{config}, which this command reads' in capsys.readouterr().err
    assert config.read_text() == '{}'
    assert not (tmp_path / 'mine.pth').exists()


def test_overwriting_does_not_reach_the_shards_of_a_source(convert, official, tmp_path, capsys):
    shard = tmp_path / 'shard.safetensors'
    save_file({'w': official['two_stage']['img_encoder.norm.weight']}, shard)
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text('{"weight_map": {"w": "shard.safetensors"}}')
    before = shard.read_bytes()
    assert convert('official_to_plugin', index, shard, '--overwrite') == 2
    assert 'shard.safetensors, which this command reads' in capsys.readouterr().err
    assert shard.read_bytes() == before


def test_publishing_again_does_not_write_over_what_it_reads(run_tool, tmp_path, tiny_config):
    from mmseg.registry import MODELS

    config = tmp_path / 'tiny.py'
    cfg = tiny_config.copy()
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump(config)
    save_checkpoint({'state_dict': MODELS.build(cfg.model).state_dict()}, tmp_path / 'a.pth')
    publish = 'tools/model_converters/publish_model'
    assert run_tool(publish, config, tmp_path / 'a.pth', tmp_path / 'groupvit.pth') == 0
    (first,) = tmp_path.glob('groupvit-*.pth')
    written = first.stat().st_mtime_ns
    assert run_tool(publish, config, first, tmp_path / 'groupvit.pth') == 2
    assert first.stat().st_mtime_ns == written
