"""make_shards.py in processes and parts: the shards of one process, byte by byte."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.pair_packing import row_group_units
from groupvit_mmseg.datasets.parquet_tables import RowGroup
from groupvit_mmseg.datasets.shard_stream import read_shard_range

from loading import load_file

ROOT = Path(__file__).parents[2]
COUNT = 14
SLOW = pytest.mark.slow


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/dataset_converters/make_shards.py')


@pytest.fixture
def run(tool, capsys):
    """Runs the tool; returns its status, what it printed without the folder, and errors."""

    def call(*words):
        status = tool.main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def png(number):
    return cv2.imencode('.png', np.full((6, 6, 3), number, np.uint8))[1].tobytes()


@pytest.fixture
def images(tmp_path):
    """Images 0.png to 13.png, of which 4.png is broken and 9.png is missing."""
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(COUNT):
        (folder / f'{number}.png').write_bytes(b'broken' if number == 4 else png(number))
    (folder / '9.png').unlink()
    return folder


def write_csv(folder):
    lines = ['image,caption', 'only one column', *(f'{n}.png,a dog {n}' for n in range(COUNT))]
    lines += [f'./{n}.png,a cat {n}' for n in range(0, COUNT, 2)]
    (folder / 'pairs.csv').write_text('\n'.join(lines))
    return ['csv', folder / 'pairs.csv']


def write_folder(folder):
    for number in range(COUNT):
        (folder / f'{number}.txt').write_text(f'a dog {number}')
    return ['folder', folder]


def write_parquet(folder):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    names = [dict(bytes=None, path=f'{n}.png') for n in (0, 1, 0, 2)]
    content = [dict(bytes=png(n), path=f'{n}.png') for n in range(3, COUNT)]
    texts = [f'a dog {n}' for n in range(COUNT + 1)]
    table = pa.table(dict(image=[*names, *content], text=texts))
    pq.write_table(table, folder / 'pairs.parquet', row_group_size=2)
    return ['parquet', folder / 'pairs.parquet', '--images', folder]


def write_classes(folder):
    for number in range(COUNT):
        (folder / f'class {number % 3}').mkdir(exist_ok=True)
        (folder / f'class {number % 3}' / f'{number}.png').write_bytes(png(number))
    return ['imagenet', folder]


WRITERS = {
    'csv': write_csv,
    'folder': write_folder,
    'parquet': write_parquet,
    'imagenet': write_classes,
}


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def in_one(run, words, tmp_path):
    status, printed, _ = run(*words, '--out', tmp_path / 'one', '--processes', 1)
    assert status == 0
    return tree(tmp_path / 'one'), printed


@pytest.mark.parametrize('form', WRITERS)
@pytest.mark.parametrize('count', [pytest.param(1, marks=SLOW), 3])
@pytest.mark.parametrize('seed', [0, -1])
def test_merged_parts_are_the_shards_of_one_process(run, images, tmp_path, form, count, seed):
    words = [*WRITERS[form](images), '--per-shard', 4, '--name', 'n', '--check', '--seed', seed]
    expected, printed = in_one(run, words, tmp_path)
    assert len(expected) >= 5
    several = [*words, '--out', tmp_path / 'several', '--parts', tmp_path / 'parts']
    for k in range(count, 0, -1):
        status, said, _ = run(*several, '--part', f'{k}/{count}', '--processes', 1)
        assert status == 0
        assert f'make-{k}-of-{count}.json: ' in said
        assert not (tmp_path / 'several').exists()
    status, merged, _ = run(*several)
    assert status == 0
    assert tree(tmp_path / 'several') == expected
    assert merged == printed.replace(str(tmp_path / 'one'), str(tmp_path / 'several'))
    assert not list(tmp_path.rglob('.*'))


def test_processes_give_what_one_gives(run, images, tmp_path):
    words = [*write_csv(images), '--per-shard', 3, '--name', 'n']
    expected, printed = in_one(run, words, tmp_path)
    run(*words, '--out', tmp_path / 'several', '--processes', 3)
    assert tree(tmp_path / 'several') == expected
    for line in ('rows: 22 read, 21 kept', 'images: 14 read, 12 kept, 2 dropped', '7 images are'):
        assert line in printed
    keys = [
        sample.key
        for path in sorted((tmp_path / 'one').glob('*.tar'))
        for sample in read_shard_range(ShardRange(str(path), 0, None), 'x')
    ]
    assert len(set(keys)) == len(keys) == 12
    assert sum(json.loads(expected['sizes.json']).values()) == 12


@pytest.mark.slow
def test_ray_gives_what_one_process_gives(run, images, tmp_path, monkeypatch):
    ray = pytest.importorskip('ray', reason='needs pip install ray')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
    words = [*write_csv(images), '--per-shard', 3, '--name', 'n']
    expected, _ = in_one(run, words, tmp_path)
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    try:
        assert run(*words, '--out', tmp_path / 'ray', '--ray')[0] == 0
    finally:
        ray.shutdown()
    assert tree(tmp_path / 'ray') == expected


def test_a_part_that_died_is_named_and_done_again_alone(run, images, tmp_path, monkeypatch, tool):
    words = [*write_csv(images), '--per-shard', 3, '--name', 'n', '--processes', 1]
    expected, _ = in_one(run, words, tmp_path)
    several = [*words, '--out', tmp_path / 'several', '--parts', tmp_path / 'parts']
    run(*several, '--part', '1/2')
    files = [path for path in (tmp_path / 'parts').rglob('*') if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert any(path.suffix == '.tar' for path in files)
    with monkeypatch.context() as patch:
        pack = tool.pack_unit

        def dies(unit, packing):
            if json.loads(unit)['number'] == 9:
                raise MemoryError
            return pack(unit, packing)

        patch.setattr(tool, 'pack_unit', dies)
        with pytest.raises(MemoryError):
            tool.main([*map(str, several), '--part', '2/2'])
    error = run(*several)[2]
    assert error == 'error: Part 2/2 is missing: run it again with --part 2/2.\n'
    assert not list((tmp_path / 'several').iterdir())
    run(*several, '--part', '2/2')
    assert run(*several)[0] == 0
    assert tree(tmp_path / 'several') == expected
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_parts_of_two_tables_do_not_mix(run, images, tmp_path):
    words = [*write_csv(images), '--per-shard', 3, '--name', 'n']
    expected, _ = in_one(run, words, tmp_path)
    parts = ['--out', tmp_path / 'several', '--parts', tmp_path / 'parts']
    run(*words, *parts, '--part', '1/1')
    source = images / 'pairs.csv'
    text = source.read_text()
    source.write_text(text.replace('a cat', 'a dog'))
    packed = (tmp_path / 'parts/make-1-of-1.json').read_text()
    run(*words, *parts, '--part', '1/1')  # another table in the same folder
    source.write_text(text)
    (tmp_path / 'parts/make-1-of-1.json').write_text(packed)  # as if it had died at its end
    assert run(*words, *parts)[0] == 0
    assert tree(tmp_path / 'several') == expected


def test_an_empty_row_group_is_no_unit_of_its_own():
    groups = [RowGroup('a', 0, 0), RowGroup('a', 1, 2)]
    (unit,) = row_group_units(groups, 3)
    assert json.loads(unit)['groups'] == [['a', 0, 0], ['a', 1, 2]]


def test_parts_of_another_table_or_other_options_are_refused(run, images, tmp_path):
    words = [*write_csv(images), '--per-shard', 3]
    several = [*words, '--out', tmp_path / 'out', '--parts', tmp_path / 'parts']
    run(*several, '--part', '1/1')
    for options in (['--seed', 1], ['--check'], ['--per-shard', 4]):
        assert 'of other shards or with other options' in run(*several, *options)[2]
    source = images / 'pairs.csv'
    source.write_text(source.read_text().replace('a cat 2', 'a cat 3'))
    assert 'of other shards or with other options' in run(*several)[2]
    assert 'needs --parts FOLDER' in run(*words, '--out', tmp_path / 'out', '--part', '1/1')[2]
