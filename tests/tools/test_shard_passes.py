"""Passes over shards in processes and parts: the result is that of one process."""

import io
import json
import os
import shutil
import sys
import tarfile
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from groupvit_mmseg.datasets import shard_passes
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.shard_passes import Part
from groupvit_mmseg.datasets.shard_stream import read_shard_range

from loading import load_file

ROOT = Path(__file__).parents[2]
SIZES = [3, 5, 1, 4, 2]
WORDS = ['dog', 'cat', 'tree', 'street', 'boat']


def load(tool):
    return load_file(f'tools/dataset_converters/{tool}.py')


def png(number):
    return cv2.imencode('.png', np.full((6, 6, 3), number, np.uint8))[1].tobytes()


def write_shards(folder):
    folder.mkdir(exist_ok=True)
    number = 0
    for shard, size in enumerate(SIZES):
        with tarfile.open(folder / f'pairs-{shard:03d}.tar', 'w') as tar:
            for _ in range(size):
                word = WORDS[number % 5]
                members = {'png': png(number % 7), 'txt': f'a {word} near the water'.encode()}
                if number == 6:
                    members['png'] = b'broken'
                for ending, data in members.items():
                    info = tarfile.TarInfo(f'd/{number:03d}.{ending}')
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                number += 1
    return folder


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / 'data')


@pytest.fixture
def run(capsys):
    """Runs a tool; returns its status and what it printed."""

    def call(tool, *words):
        status = load(tool).main([str(word) for word in words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def read_keys(folder, pattern='*.tar'):
    return [
        [sample.key for sample in read_shard_range(ShardRange(str(path), 0, None), 'x')]
        for path in sorted(folder.glob(pattern))
    ]


def test_parts_are_every_nth_shard():
    assert [Part.parse(f'{k}/3').of('abcdefg') for k in (1, 2, 3)] == [
        ['a', 'd', 'g'],
        ['b', 'e'],
        ['c', 'f'],
    ]
    for text in ('0/3', '4/3', '3', 'a/b', '1/0', '-1/2'):
        with pytest.raises(ValueError, match='write K/N with K from 1 to N'):
            Part.parse(text)


CASES = {
    'check_shards': ['--ranks', '1', '--workers', '1', '--batch-size', '2'],
    'count_shards': [],
}


@pytest.mark.parametrize('tool', CASES)
@pytest.mark.parametrize('processes', [1, pytest.param(3, marks=pytest.mark.slow)])
def test_merged_parts_print_and_write_the_same(shards, run, tmp_path, monkeypatch, tool, processes):
    monkeypatch.setattr(shard_passes, 'SECONDS_BETWEEN_LINES', float('inf'))
    files, options = shards / '*.tar', CASES[tool]
    expected = run(tool, files, *options, '--processes', 1)
    sizes = (shards / 'sizes.json').read_bytes()
    assert sum(json.loads(sizes).values()) == sum(SIZES)
    (shards / 'sizes.json').unlink()
    parts = ['--parts', tmp_path / 'parts', '--processes', processes]
    for k in (3, 1, 2):
        status, printed, _ = run(tool, files, *options, *parts, '--part', f'{k}/3')
        assert status == 0
        assert f'-{k}-of-3.json: ' in printed
        assert not (shards / 'sizes.json').exists()
    assert run(tool, files, *options, *parts) == expected
    assert (shards / 'sizes.json').read_bytes() == sizes


def test_processes_give_what_one_gives(shards, run):
    one, several = (run('check_shards', shards / '*.tar', '--processes', count) for count in (1, 4))
    assert one == several
    assert 'unusable         1' in one[1]


@pytest.fixture
def cluster(monkeypatch):
    """A Ray cluster of two processes, which the tools find running."""
    ray = pytest.importorskip('ray', reason='needs pip install ray')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), *sys.path]))
    monkeypatch.setenv('RAY_AUTH_MODE', 'disabled')
    ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.usefixtures('cluster')
def test_ray_gives_what_one_process_gives(shards, run, tmp_path, keys):
    expected = run('check_shards', shards / '*.tar', '--processes', 1)
    assert run('check_shards', shards / '*.tar', '--ray')[:2] == expected[:2]
    words = [shards / '*.tar', *keys, '--per-shard', 2]
    run('filter_shards', *words, '--out', tmp_path / 'one', '--processes', 1)
    run('filter_shards', *words, '--out', tmp_path / 'ray', '--ray')
    assert tree(tmp_path / 'ray') == tree(tmp_path / 'one')
    (shards / 'pairs-002.tar').write_bytes(b'<html>' * 200)
    status, _, error = run('count_shards', shards / '*.tar', '--ray')
    assert status == 2
    assert 'pairs-002.tar" is no readable tar' in error


def test_without_ray_the_option_is_one_sentence(shards, run, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    status, _, error = run('count_shards', shards / '*.tar', '--ray')
    assert (status, error) == (2, "error: --ray needs Ray: pip install 'groupvit-mmseg[ray]'\n")


def test_a_part_that_died_is_named_and_done_again_alone(shards, run, tmp_path, monkeypatch):
    parts = ['--parts', tmp_path / 'parts', '--processes', '1']
    run('count_shards', shards / '*.tar', *parts, '--part', '1/2')
    tool = load('count_shards')

    def dies(shard):
        if shard.endswith('003.tar'):
            raise MemoryError
        return {'samples': 1, 'remarks': []}

    monkeypatch.setattr(tool, 'count', dies)
    with pytest.raises(MemoryError):
        tool.main([str(shards / '*.tar'), *map(str, parts), '--part', '2/2'])
    assert [path.name for path in (tmp_path / 'parts').iterdir()] == ['count-1-of-2.json']
    status, _, error = run('count_shards', shards / '*.tar', *parts)
    assert (status, error) == (2, 'error: Part 2/2 is missing: run it again with --part 2/2.\n')
    run('count_shards', shards / '*.tar', *parts, '--part', '2/2')
    assert run('count_shards', shards / '*.tar', *parts)[0] == 0
    assert list(json.loads((shards / 'sizes.json').read_text()).values()) == SIZES


def test_parts_of_other_shards_or_options_are_refused(shards, run, tmp_path):
    parts, files = ['--parts', tmp_path / 'parts', '--processes', '1'], shards / '*.tar'
    assert 'holds no part of check' in run('check_shards', files, *parts)[2]
    assert 'needs --parts FOLDER' in run('check_shards', files, '--part', '1/1')[2]
    run('check_shards', files, *parts, '--part', '1/1')
    status, _, error = run('check_shards', files, *parts, '--captions', 'json')
    assert status == 2
    assert 'of other shards or with other options: remove it and run --part 1/1 again' in error
    assert 'of other shards' in run('check_shards', shards / 'pairs-00[12].tar', *parts)[2]
    run('check_shards', files, *parts, '--part', '1/2')
    assert 'parts of 2 divisions of check' in run('check_shards', files, *parts)[2]


def test_two_tools_may_share_a_folder_of_parts(shards, run, tmp_path):
    words = [shards / '*.tar', '--parts', tmp_path / 'parts', '--processes', 1]
    assert run('count_shards', *words, '--part', '1/1')[0] == 0
    for _ in range(2):  # counts, then writes
        assert run('filter_shards', *words, '--out', tmp_path / 'out', '--part', '1/1')[0] == 0
    assert run('count_shards', *words)[0] == 0
    assert run('filter_shards', *words, '--out', tmp_path / 'out')[0] == 0


def test_a_filter_of_shards_that_have_changed_is_refused(shards, run, tmp_path):
    words = ['filter_shards', shards / '*.tar', '--out', tmp_path / 'out', '--processes', 1]
    assert run(*words)[0] == run(*words)[0] == 0
    before = tree(tmp_path / 'out')
    changed = shards / 'pairs-001.tar'
    changed.write_bytes(changed.read_bytes().replace(b'water', b'grass'))
    status, _, error = run(*words)
    assert status == 2
    assert 'holds "filtered" of other shards or options: choose another --out' in error
    assert tree(tmp_path / 'out') == before


def tree(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def keys(tmp_path):
    (tmp_path / 'keep.txt').write_text(''.join(f'd/{n:03d}\n' for n in (0, 2, 3, 4, 7, 8, 9, 12)))
    (tmp_path / 'drop.txt').write_text('pairs-001.tar/d/004\npairs-000.tar/d/007\n')
    return ['--keep', tmp_path / 'keep.txt', '--drop', tmp_path / 'drop.txt']


def test_a_filter_keeps_the_listed_samples_in_shards_of_one_size(shards, run, tmp_path, keys):
    out = tmp_path / 'out'
    _, printed, _ = run('filter_shards', shards / '*.tar', '--out', out, *keys, '--per-shard', 3)
    assert '15 samples read, 7 kept' in printed
    numbers = [[0, 2, 3], [7, 8, 9], [12]]
    assert read_keys(out) == [[f'x/d/{n:03d}' for n in shard] for shard in numbers]
    assert list(json.loads((out / 'sizes.json').read_text()).values()) == [3, 3, 1]
    (first, *_) = read_shard_range(ShardRange(str(out / 'filtered-000001.tar'), 0, None), 'x')
    assert first.members == {'png': png(0), 'txt': b'a tree near the water'}


def test_a_filter_does_not_write_beside_what_it_reads(shards, run):
    before = sorted(path.name for path in shards.iterdir())
    status, _, said = run('filter_shards', shards / '*.tar', '--out', shards)
    assert status == 2
    assert 'which is read: choose a folder of its own' in said
    assert sorted(path.name for path in shards.iterdir()) == before


SLOW = pytest.mark.slow


@pytest.mark.parametrize('count', [pytest.param(1, marks=SLOW), 2, pytest.param(4, marks=SLOW)])
def test_parts_of_a_filter_are_the_same_bytes(shards, run, tmp_path, keys, count):
    words = [shards / '*.tar', *keys, '--per-shard', 2, '--name', 'new']
    run('filter_shards', *words, '--out', tmp_path / 'one', '--processes', 1)
    out = tmp_path / 'several'
    several = [*words, '--out', out, '--processes', 2, '--parts', tmp_path / 'parts']
    for _ in range(2):
        for k in range(1, count + 1):
            assert run('filter_shards', *several, '--part', f'{k}/{count}')[0] == 0
    assert not (out / 'sizes.json').exists()
    assert run('filter_shards', *several)[0] == 0
    assert tree(out) == tree(tmp_path / 'one')
    assert len(read_keys(tmp_path / 'one')) == 4


def test_a_part_of_a_filter_that_died_is_done_again_alone(shards, run, tmp_path):
    words = [shards / '*.tar', '--per-shard', 4, '--processes', 1]
    run('filter_shards', *words, '--out', tmp_path / 'one')
    several = [*words, '--out', tmp_path / 'out', '--parts', tmp_path / 'parts']
    for k in (1, 2):
        run('filter_shards', *several, '--part', f'{k}/2')
    run('filter_shards', *several, '--part', '1/2')
    error = run('filter_shards', *several)[2]
    assert error == 'error: Part 2/2 is missing: run it again with --part 2/2.\n'
    run('filter_shards', *several, '--part', '2/2')
    (tmp_path / 'out/filtered-000001.tar').unlink()
    assert 'lacks 1 shards that the parts have written' in run('filter_shards', *several)[2]
    run('filter_shards', *several, '--part', '2/2')
    assert run('filter_shards', *several)[0] == 0
    assert tree(tmp_path / 'out') == tree(tmp_path / 'one')
    assert 'needs --parts FOLDER' in run('filter_shards', *words, '--out', 'x', '--part', '1/2')[2]


def test_shards_are_cut_anew_without_a_list(shards, run, tmp_path):
    run('filter_shards', shards / '*.tar', '--out', tmp_path / 'out', '--per-shard', 6)
    assert list(map(len, read_keys(tmp_path / 'out'))) == [6, 6, 3]
    new, old = read_keys(tmp_path / 'out'), read_keys(shards)
    assert list(chain(*new)) == list(chain(*old))


def test_a_filter_refuses_what_it_cannot_do(shards, run, tmp_path, keys):
    out = ['--out', tmp_path / 'out', '--processes', '1']
    (tmp_path / 'none.txt').write_text('nobody\n')
    assert (
        'No sample is kept'
        in run('filter_shards', shards / '*.tar', *out, '--keep', tmp_path / 'none.txt')[2]
    )
    run('filter_shards', shards / '*.tar', *out, *keys)
    assert (
        'holds "filtered" of other shards or options'
        in run('filter_shards', shards / '*.tar', *out)[2]
    )
    (shards / 'pairs-004.tar').write_bytes(b'<html>' * 200)
    status, _, error = run('filter_shards', shards / '*.tar', *out, '--name', 'n')
    assert status == 2
    assert 'pairs-004.tar" is damaged' in error
    assert not list((tmp_path / 'out').glob('n-*.tar'))


def test_words_of_captions(shards, run, tmp_path):
    words = ['caption_words', shards / '*.tar', '--processes', '1']
    _, printed, _ = run(*words, '--out', tmp_path / 'one.tsv')
    lines = (tmp_path / 'one.tsv').read_text().splitlines()
    assert lines[0] == 'water\t15'
    assert sorted(lines[1:]) == sorted(f'{word}\t3' for word in WORDS)
    assert '6 words of 15 captions of 15 samples; 0 captions have none' in printed
    parts = ['--parts', tmp_path / 'parts']
    for k in (1, 2):
        run(*words, '--out', tmp_path / 'two.tsv', *parts, '--part', f'{k}/2')
        assert not (tmp_path / 'two.tsv').exists()
    run(*words, '--out', tmp_path / 'two.tsv', *parts)
    assert (tmp_path / 'two.tsv').read_bytes() == (tmp_path / 'one.tsv').read_bytes()
    run(*words, '--out', tmp_path / 'frequent.tsv', '--min-count', 4)
    assert (tmp_path / 'frequent.tsv').read_text() == 'water\t15\n'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(ROOT / 'tests/data/configs/tiny_zeroshot.py').model)
    path = tmp_path_factory.mktemp('embed') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def test_embeddings_of_captions(shards, run, tmp_path, checkpoint):
    config = ROOT / 'tests/data/configs/tiny_zeroshot.py'
    words = ['embed_captions', shards / '*.tar', '--checkpoint', checkpoint, '--config', config]
    words += ['--device', 'cpu']
    _, printed, _ = run(*words, '--out', tmp_path / 'one')
    assert '15 captions of 15 samples in 5 files' in printed
    several = [*words, '--out', tmp_path / 'several', '--parts', tmp_path / 'parts']
    run(*several, '--part', '2/2')
    assert 'Part 1/2 is missing' in run(*several)[2]
    run(*several, '--part', '1/2')
    assert '15 captions of 15 samples in 5 files' in run(*several)[1]
    assert tree(tmp_path / 'several') == tree(tmp_path / 'one')
    content = np.load(tmp_path / 'one/pairs-001.npz')
    assert content['keys'].tolist() == [f'd/{n:03d}' for n in range(3, 8)]
    assert content['counts'].tolist() == [1] * 5
    assert np.allclose(np.linalg.norm(content['embeds'].astype(np.float32), axis=1), 1, atol=2e-3)
    # Samples 3 and 8 have one caption, in two shards.
    other = np.load(tmp_path / 'one/pairs-002.npz')
    assert np.allclose(content['embeds'][0], other['embeds'][0], atol=1e-3)
    assert not np.allclose(content['embeds'][0], content['embeds'][1], atol=1e-3)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'one').iterdir()}
    (tmp_path / 'one/pairs-003.npz').unlink()
    run(*words, '--out', tmp_path / 'one')
    same = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert len(same) == 4
    assert tree(tmp_path / 'several') == tree(tmp_path / 'one')
    (tmp_path / 'several/pairs-003.npz').unlink()
    assert 'lacks 1 files' in run(*several)[2]
    # The same shards elsewhere are the same; others of their names are not, nor other captions.
    moved = shutil.copytree(shards, tmp_path / 'moved')
    words[1] = moved / '*.tar'
    assert '15 captions of 15 samples in 5 files' in run(*words, '--out', tmp_path / 'one')[1]
    others = [*words, '--out', tmp_path / 'one', '--captions', 'json']
    assert 'of its other captions' in run(*others)[2]
    shutil.copy(moved / 'pairs-001.tar', moved / 'pairs-002.tar')
    assert 'pairs-002.npz" has embeddings of another' in run(*words, '--out', tmp_path / 'one')[2]
