"""Shards appear whole or not at all, and replace only what an earlier run has written."""

import json

import pytest

from groupvit_mmseg.datasets.shard_writing import ShardSet


def write(folder, name='mine', count=3, **options):
    with ShardSet(folder, name, per_shard=1, **options) as shards:
        for number in range(count):
            shards.write(f'{number:03d}', {'txt': f'a {name}'})
        shards.finish()


def files_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_shards_of_several_names_share_a_folder(tmp_path):
    write(tmp_path, 'mine', 2)
    write(tmp_path, 'my', 1)
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {
        'mine-000000.tar': 1,
        'mine-000001.tar': 1,
        'my-000000.tar': 1,
    }


def test_a_second_conversion_does_not_mix_with_the_first(tmp_path):
    write(tmp_path, count=3)
    before = (tmp_path / 'mine-000000.tar').read_bytes()
    with pytest.raises(FileExistsError, match='lists 3 shards called mine'):
        write(tmp_path, count=1)
    assert (tmp_path / 'mine-000000.tar').read_bytes() == before
    (tmp_path / 'notes.txt').write_text('mine')
    write(tmp_path, count=1, overwrite=True)
    assert files_in(tmp_path) == ['mine-000000.tar', 'notes.txt', 'sizes.json']
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'mine-000000.tar': 1}


def test_shards_of_another_origin_are_never_replaced(tmp_path):
    (tmp_path / 'mine-000001.tar').write_bytes(b'precious')
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r'mine-000001\.tar, which its sizes\.json'):
            write(tmp_path, overwrite=overwrite)
    assert (tmp_path / 'mine-000001.tar').read_bytes() == b'precious'


def test_an_interrupted_run_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path, count=2)
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}

    def interrupted():
        with ShardSet(tmp_path, 'mine', overwrite=True) as shards:
            shards.write('0', {'txt': 'half'})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


def test_what_a_killed_run_leaves_is_named_and_no_shard(tmp_path):
    (tmp_path / '.mine.unfinished').mkdir()
    (tmp_path / '.mine.unfinished' / 'mine-000000.tar').write_bytes(b'half')
    with pytest.raises(FileExistsError, match='left from an interrupted run'):
        write(tmp_path)
    write(tmp_path, count=1, overwrite=True)
    assert files_in(tmp_path) == ['mine-000000.tar', 'sizes.json']


def test_while_shards_are_replaced_none_of_them_is_listed(tmp_path, monkeypatch):
    write(tmp_path, 'other', 1)
    write(tmp_path, count=2)

    def fail(source, target):
        raise OSError('the disk is gone')

    with ShardSet(tmp_path, 'mine', overwrite=True) as shards:
        shards.write('0', {'txt': 'new'})
        monkeypatch.setattr('groupvit_mmseg.datasets.shard_writing._move', fail)
        with pytest.raises(OSError, match='gone'):
            shards.finish()
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'other-000000.tar': 1}


@pytest.mark.parametrize('first', [True, False])
def test_shards_that_an_interrupted_run_was_moving_are_replaced(tmp_path, monkeypatch, first):
    if not first:
        write(tmp_path, count=3)
    kept = files_in(tmp_path)

    def fail(*_, **__):
        raise OSError('the disk is gone')

    with monkeypatch.context() as patch, ShardSet(tmp_path, 'mine', overwrite=True) as shards:
        shards.write('0', {'txt': 'new'})
        patch.setattr('groupvit_mmseg.datasets.shard_writing.write_sizes', fail)
        with pytest.raises(OSError, match='gone'):
            shards.finish()
    assert set(files_in(tmp_path)) >= set(kept)
    with pytest.raises(FileExistsError, match=r'use --overwrite|replace them with --overwrite'):
        write(tmp_path)
    write(tmp_path, count=1, overwrite=True)
    assert files_in(tmp_path) == ['mine-000000.tar', 'sizes.json']


def test_an_interrupted_run_loses_nothing_to_another_one_that_fails(tmp_path, monkeypatch):
    write(tmp_path, count=1)
    before = (tmp_path / 'mine-000000.tar').read_bytes()

    def fail(*_):
        raise OSError('the disk is gone')

    with monkeypatch.context() as patch:
        patch.setattr('groupvit_mmseg.datasets.shard_writing._move', fail)
        with pytest.raises(OSError, match='gone'):
            write(tmp_path, count=2, overwrite=True)
    assert (tmp_path / 'mine-000000.tar').read_bytes() == before
    for _ in range(2):
        with ShardSet(tmp_path, 'mine', overwrite=True) as shards:  # without finish()
            shards.write('0', {'txt': 'new'})
        assert (tmp_path / 'mine-000000.tar').read_bytes() == before
        with pytest.raises(FileExistsError, match=r'unless one is running: use --overwrite\.'):
            write(tmp_path)
    write(tmp_path, count=3, overwrite=True)
    assert files_in(tmp_path) == [*(f'mine-00000{n}.tar' for n in range(3)), 'sizes.json']


@pytest.mark.parametrize('name', ['', '../x', 'a b', '.x', 'a*'])
def test_names_that_no_shard_can_have(tmp_path, name):
    with pytest.raises(ValueError, match='is no name for shards'):
        ShardSet(tmp_path, name)


def test_impossible_folders_and_numbers(tmp_path):
    with pytest.raises(ValueError, match='at least one'):
        ShardSet(tmp_path, 'x', per_shard=0)
    (tmp_path / 'file').write_text('')
    with pytest.raises(FileExistsError, match='is a file'):
        ShardSet(tmp_path / 'file', 'x')
    (tmp_path / 'sizes.json').write_text('{"x')
    with pytest.raises(ValueError, match='not valid JSON'):
        ShardSet(tmp_path, 'x')


def test_folders_with_percent_signs(tmp_path):
    write(tmp_path / '100%d', count=1)
    assert files_in(tmp_path / '100%d') == ['mine-000000.tar', 'sizes.json']
