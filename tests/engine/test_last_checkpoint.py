"""A damaged last_checkpoint, damaged newest checkpoints, and a clock that was set back."""

import os
import time

import pytest
import torch

from groupvit_mmseg.engine.runner import find_checkpoint
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


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that the search logs."""
    texts = []
    monkeypatch.setattr(find_checkpoint, '_warn', texts.append)
    return texts


def test_a_whole_folder_gives_no_warning(tmp_path, warnings):
    assert latest_complete_checkpoint(tmp_path) is None
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    assert latest_complete_checkpoint(str(tmp_path)) == newest
    (tmp_path / 'last_checkpoint').unlink()
    assert latest_complete_checkpoint(tmp_path).endswith('epoch_2.pth')
    assert warnings == []


@pytest.mark.parametrize(
    'content, sentence',
    [
        (
            '/nowhere/epoch_9.pth',
            'names /nowhere/epoch_9.pth, which is not in the folder: ignored.',
        ),
        ('x' * 255, f'names {"x" * 255}, which is not in the folder: ignored.'),
        ('ä' * 128, 'is damaged: ignored.'),
        ('x' * 256, 'is damaged: ignored.'),
        ('a\tb', 'is damaged: ignored.'),
        ('', 'is damaged: ignored.'),
        (f'{"x/" * 2047}xy', f'names {"x/" * 2047}xy, which is not in the folder: ignored.'),
        (f'{"x/" * 2048}y', 'is damaged: ignored.'),
    ],
    ids=['path', '255', '256 bytes', '256', 'tab', 'empty', '4096', '4097'],
)
def test_what_is_wrong_with_a_pointer_is_said(tmp_path, warnings, content, sentence):
    newest = save(tmp_path, 1)
    (tmp_path / 'last_checkpoint').write_text(content, encoding='utf-8')
    assert latest_complete_checkpoint(tmp_path) == newest
    assert warnings == [f'{tmp_path / "last_checkpoint"} {sentence}']


def test_a_pointer_to_another_folder_that_exists_is_said_to_be_there(tmp_path):
    (tmp_path / 'old').mkdir()
    (tmp_path / 'new').mkdir()
    (tmp_path / 'new' / 'last_checkpoint').write_text(save(tmp_path / 'old', 1))
    with pytest.raises(FileNotFoundError) as error:
        latest_complete_checkpoint(tmp_path / 'new')
    message = str(error.value)
    assert 'which is in another folder, and' in message
    assert f'{tmp_path / "new"} holds no checkpoint: name the one to resume from' in message


def test_a_moved_folder_is_searched_by_name(tmp_path, warnings):
    newest = save(tmp_path, 1)
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_1.pth')
    assert latest_complete_checkpoint(tmp_path) == newest
    assert warnings == []


def test_a_torn_checkpoint_is_named_with_its_reason(tmp_path, warnings):
    good, torn = save(tmp_path, 1), save(tmp_path, 2)
    with open(torn, 'wb') as stream:
        stream.write(b'x')
    assert latest_complete_checkpoint(tmp_path) == good
    (text,) = warnings
    assert text.startswith(f'{torn} cannot be resumed from, the one before is tried (')


def test_checkpoints_of_an_abandoned_run_are_tried_last_and_named(tmp_path, warnings):
    for step in (8, 9):
        save(tmp_path, step, '20261128_100000')
    chosen = save(tmp_path, 3, '20261128_110000')
    unknown = save(tmp_path, 7, '')
    (tmp_path / 'last_checkpoint').write_text(chosen)
    assert latest_complete_checkpoint(tmp_path) == unknown
    (text,) = warnings
    assert text.startswith('epoch_8.pth, epoch_9.pth: of an abandoned run, because written before')
    for path in (unknown, chosen):
        (tmp_path / path).write_bytes(b'x')
    (tmp_path / 'last_checkpoint').write_text(chosen)
    assert latest_complete_checkpoint(tmp_path).endswith('epoch_9.pth')


def test_iterations_count_before_epochs(tmp_path):
    def write(name, iteration, epoch):
        meta = dict(iter=iteration, epoch=epoch)
        torch.save(dict(meta=meta, state_dict=dict(w=torch.ones(3))), tmp_path / name)

    write('epoch_9.pth', 5, 9)
    write('iter_6.pth', 6, 1)
    assert latest_complete_checkpoint(tmp_path).endswith('iter_6.pth')
    write('epoch_2.pth', 6, 2)
    assert latest_complete_checkpoint(tmp_path).endswith('epoch_2.pth')
    write('best_epoch_3.pth', 9, 3)
    assert latest_complete_checkpoint(tmp_path).endswith('epoch_2.pth')
    best = latest_complete_checkpoint(tmp_path, patterns=['best_*.pth', 'iter_*.pth'])
    assert best.endswith('best_epoch_3.pth')


def test_another_folder_of_checkpoints_is_searched_too(tmp_path, warnings):
    run, other = tmp_path / 'run', tmp_path / 'other'
    run.mkdir()
    other.mkdir()
    newest = save(other, 2)
    (run / 'last_checkpoint').write_text(newest)
    with pytest.raises(FileNotFoundError):
        latest_complete_checkpoint(run)
    assert latest_complete_checkpoint(run, folder=str(other)) == newest
    assert latest_complete_checkpoint(run, folder=other) == newest
    assert warnings == []


def test_files_of_the_legacy_format_have_their_place_in_the_order(tmp_path):
    for step in (2, 10, 9):
        save(tmp_path, step)
    content = torch.load(tmp_path / 'epoch_10.pth', weights_only=True)
    torch.save(content, tmp_path / 'epoch_10.pth', _use_new_zipfile_serialization=False)
    assert latest_complete_checkpoint(tmp_path).endswith('epoch_10.pth')


def test_only_the_main_process_searches(tmp_path, monkeypatch):
    """The others get its result: all ranks resume from one file."""
    newest = save(tmp_path, 1)
    monkeypatch.setattr(find_checkpoint, 'is_main_process', lambda: False)
    assert latest_complete_checkpoint(tmp_path) is None
    found = find_checkpoint._Result(path=newest)
    monkeypatch.setattr(
        find_checkpoint, 'broadcast_object_list', lambda results: results.__setitem__(0, found)
    )
    assert latest_complete_checkpoint(tmp_path) == newest
