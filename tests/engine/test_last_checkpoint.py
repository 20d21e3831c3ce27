"""A damaged last_checkpoint, damaged newest checkpoints, and a clock that was set back."""

import os
import time

import pytest
import torch

from groupvit_mmseg.engine.runner.find_checkpoint import latest_complete_checkpoint


def save(folder, step, clock='20261128_120000'):
    meta = dict(iter=4 * step, epoch=step, time=clock)
    path = folder / f'epoch_{step}.pth'
    torch.save(dict(meta=meta, state_dict=dict(w=torch.ones(3))), path)
    (folder / 'last_checkpoint').write_text(str(path))
    return str(path)


DAMAGED = {
    'empty': b'',
    'spaces': b' \n',
    'zeros': bytes(4096),
    'binary': bytes(range(256)) * 8,
    'not UTF-8': b'\xff\xfe/epoch_2.pth',
    'a name that is too long': b'x' * 1000,
    'a path that is too long': b'x/' * 5_000_000,
    'two lines': b'epoch_1.pth\nepoch_2.pth',
    'another path': b'/nowhere/epoch_9.pth',
    'a folder': b'/tmp',
    'a checkpoint': None,
}


@pytest.mark.parametrize('content', DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pointer_does_not_hide_the_newest_checkpoint(tmp_path, content):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    if content is None:
        content = (tmp_path / 'epoch_2.pth').read_bytes()
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert latest_complete_checkpoint(tmp_path) == newest


@pytest.mark.parametrize('content', DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pointer_without_a_checkpoint_is_one_sentence(tmp_path, content):
    """No silent new run: the checkpoints may lie elsewhere."""
    (tmp_path / 'last_checkpoint').write_bytes(b'\x80\x00' if content is None else content)
    with pytest.raises(FileNotFoundError) as error:
        latest_complete_checkpoint(tmp_path)
    assert 'delete last_checkpoint to start a new run' in str(error.value)
    assert len(str(error.value)) < 1000


def test_any_space_may_be_in_a_path(tmp_path):
    elsewhere = tmp_path / 'my\u00a0runs\u3000' / 'epoch_9.pth'
    (tmp_path / 'last_checkpoint').write_text(str(elsewhere), encoding='utf-8')
    with pytest.raises(FileNotFoundError, match='which does not exist'):
        latest_complete_checkpoint(tmp_path)


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04', bytes(3000), None], ids=repr)
def test_damaged_newest_checkpoints_are_passed_over(tmp_path, content):
    good = save(tmp_path, 1)
    for step in (2, 3):
        path = save(tmp_path, step)
        with open(path, 'rb') as stream:
            whole = stream.read()
        with open(path, 'wb') as stream:
            stream.write(whole[:-200] if content is None else content)
    assert latest_complete_checkpoint(tmp_path) == good
    (tmp_path / 'epoch_1.pth').write_bytes(b'x')
    with pytest.raises(FileNotFoundError, match='None of the checkpoints'):
        latest_complete_checkpoint(tmp_path)


@pytest.mark.parametrize('clocks', [('12', '11', '10'), ('12', '12', '12'), ('01', '23', '02')])
@pytest.mark.parametrize('mtimes', [(0, 0, 0), (3, 2, 1), (10**6, 10**6, 0)])
def test_a_clock_that_was_set_back_hides_no_checkpoint(tmp_path, clocks, mtimes):
    """Times in the files and of the files decide nothing while the pointer is right."""
    for step, (clock, seconds) in enumerate(zip(clocks, mtimes, strict=True), start=1):
        newest = save(tmp_path, step, f'20261128_{clock}0000')
        at = time.time() + seconds
        os.utime(newest, (at, at))
    assert latest_complete_checkpoint(tmp_path) == newest


def test_killed_before_the_pointer_with_the_clock_set_back_repeats_an_epoch(tmp_path):
    """The newest looks abandoned, so the one before is taken: the same run, an epoch again."""
    before = save(tmp_path, 1, '20261128_120000')
    save(tmp_path, 2, '20261128_100000')
    (tmp_path / 'last_checkpoint').write_text(before)
    assert latest_complete_checkpoint(tmp_path) == before
