"""Browsing, measuring and counting shards."""

import json
import tarfile

import pytest
from PIL import Image

from loading import load_file


@pytest.fixture
def config(tiny_data, tmp_path):
    file = tmp_path / 'config.py'
    file.write_text(
        f"""
default_scope = 'mmseg'
custom_imports = dict(imports=['groupvit_mmseg'])
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ImageTextSampler'),
    collate_fn=dict(type='collate_image_text'),
    dataset=dict(
        type='ImageTextDataset',
        sources=[dict(shards='pairs-*.tar', data_root={str(tiny_data)!r}, name='pairs')],
        pipeline=[
            dict(type='LoadImageText'),
            dict(type='CaptionPrompts', num_prompts=2, templates='simple'),
            dict(type='PackImageText', context_length=12),
        ],
    ),
)
"""
    )
    return file


def load(tool):
    """A tool as a module."""
    return load_file(f'tools/{tool}')


@pytest.fixture
def run(capsys):
    """Runs a tool's ``main`` and returns what it printed."""

    def run_main(tool, *args):
        load(tool).main([str(arg) for arg in args])
        printed = capsys.readouterr()
        errors.extend(printed.err.splitlines())
        return printed.out

    errors = []
    run_main.errors = lambda: [line for line in errors if line.startswith('error: ')]
    return run_main


def test_browse_prints_and_draws(run, config, tmp_path):
    out = tmp_path / 'drawn' / 'pairs.png'
    printed = run('analysis_tools/browse_pairs.py', config, '-n', 6, '--out', out)
    assert 'inputs     (6, 3, 16, 16) torch.uint8' in printed
    assert 'token_ids  (6, 3, 12) torch.int64' in printed
    assert printed.count('  caption  a ') == 6
    assert printed.count('  prompt   ') == 12
    assert 'a photo of a wall.' in printed
    with Image.open(out) as picture:
        assert picture.width > 800
        assert len(picture.convert('RGB').getcolors(1 << 20)) > 20


@pytest.mark.slow
def test_browse_without_good_pairs_is_one_sentence(config, tmp_path, capsys):
    (tmp_path / 'bad.tar').write_bytes(b'<html>' * 200)
    (tmp_path / 'sizes.json').write_text('{"bad.tar": 8}')
    tool = 'analysis_tools/browse_pairs.py'
    for options, reason in (
        (['--shards', tmp_path / 'bad.tar'], 'the shard is damaged'),
        (['--shards', tmp_path / 'none-*.tar'], 'No shard matches'),
    ):
        assert load(tool).main([str(word) for word in (config, *options)]) == 2
        message = capsys.readouterr().err
        assert reason in message
        assert message.count('\n') == 1


def test_measure_names_every_transform(run, config, tiny_data):
    shards = tiny_data / 'pairs-1.tar'  # instead of both
    printed = run('benchmarks/measure_loader.py', config, '--seconds', 0.2, '--shards', shards)
    assert 'samples/s with 1 workers' in printed
    for name in ('LoadImageText', 'CaptionPrompts', 'PackImageText', 'reading', 'together'):
        assert name in printed


def test_measure_compares_two_pipelines_on_photographs(run, config, tmp_path):
    photographs = tmp_path / 'photographs'
    photographs.mkdir()
    for index in range(8):
        Image.new('RGB', (60, 40), (30 * index, 0, 0)).save(photographs / f'{index}.jpg')
    other = tmp_path / 'other.py'
    other.write_text(config.read_text().replace('num_prompts=2', 'num_prompts=1'))
    options = ['--photographs', photographs, '--side', 40, '--seconds', 0.2, '--num-workers', 0]
    printed = run('benchmarks/measure_loader.py', config, *options, '--against', other)
    assert '8 photographs of' in printed
    assert printed.count('together') == 2
    assert 'times as fast' in printed


def test_measure_says_what_is_missing(config, tmp_path, capsys):
    tool = load('benchmarks/measure_loader.py')
    (tmp_path / 'empty.py').write_text('model = None\n')
    for options, reason in (
        (['--photographs', tmp_path], 'has no JPEG files'),
        (['--against', tmp_path / 'empty.py'], 'has no `train_dataloader`'),
    ):
        assert tool.main([str(word) for word in (config, *options)]) == 2
        assert reason in capsys.readouterr().err


def test_count_writes_sizes_and_keeps_those_of_other_shards(run, tiny_data, tmp_path):
    for file in tiny_data.glob('*.tar'):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / 'sizes.json').write_text('{"other.tar": 3, "pairs-0.tar": 1}')
    printed = run('dataset_converters/count_shards.py', f'{tmp_path}/pairs-{{0..1}}.tar')
    assert printed.endswith('sizes.json: 32 samples in 2 shards\n')
    sizes = json.loads((tmp_path / 'sizes.json').read_text())
    assert sizes == {'other.tar': 3, 'pairs-0.tar': 16, 'pairs-1.tar': 16}


def test_count_names_a_shard_that_is_no_tar(run, tmp_path):
    (tmp_path / 'a.tar').write_bytes(b'<html>' * 200)
    run('dataset_converters/count_shards.py', tmp_path / 'a.tar')
    (error,) = run.errors()
    assert 'a.tar" is no readable tar' in error
    assert not (tmp_path / 'sizes.json').exists()


def test_count_of_a_folder_says_how_to_name_its_shards(run, tmp_path):
    (tmp_path / 'shards').mkdir()
    run('dataset_converters/count_shards.py', tmp_path / 'shards')
    (error,) = run.errors()
    assert f'"{tmp_path}/shards" is a folder: name its shards, "{tmp_path}/shards/*.tar"' in error


def test_count_groups_members_as_training_does(run, tmp_path):
    names = ['d/a.jpg', 'd/a.txt', 'd/b.txt', '__meta__', 'd/a.b.json', 'noextension', 'd/c.jpg']
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    run('dataset_converters/count_shards.py', tmp_path / 'a.tar')
    # d/a, d/b, d/a again (it is not next to the first one), d/c
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'a.tar': 4}


def test_texts_are_measured_or_one_sentence_says_why_not(run, config, tmp_path):
    tool = 'benchmarks/measure_texts.py'
    printed = run(tool, config, '--batches', 2, '--buckets', 1)
    assert '2 batches of (4, 3, 12): 24 texts' in printed
    assert 'whole context' in printed
    for arguments in (['--batch-size', 100], ['--shards', tmp_path / 'none-*.tar']):
        run(tool, config, *arguments)
    errors = run.errors()
    assert len(errors) == 2
    assert 'fewer' in errors[0]
    assert 'No shard matches' in errors[1]
