"""A run changes only files in its folder that it wrote itself, and never the user's file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from groupvit_mmseg.atomic_files import remove_unfinished
from groupvit_mmseg.engine import AtomicCheckpointHook
from groupvit_mmseg.engine.hooks.run_files import RunFiles, rebase_paths
from groupvit_mmseg.engine.runner.find_checkpoint import latest_complete_checkpoint


def digests(folder):
    """Names and bytes of all checkpoints of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob('*.pth'))}


def hub(path):
    return torch.load(path, weights_only=True)['message_hub']['runtime_info']


SHORT = dict(train_dataloader=dict(batch_size=16))


def keep(count):
    return dict(checkpoint=dict(max_keep_ckpts=count))


@pytest.fixture
def train(make_runner, monkeypatch):
    """Train to an epoch, each validation with a score of the list; return the work dir."""

    def run(name, *, epochs, scores, **changes):
        left = iter(scores)
        monkeypatch.setattr(
            Evaluator, 'evaluate', lambda self, size: {'mIoU': np.float64(next(left))}
        )
        runner = make_runner(name, train_cfg=dict(max_epochs=epochs), **SHORT, **changes)
        runner.train()
        return Path(runner.work_dir)

    return run


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    """Folder with a copy of the finished run."""
    return tmp_path_factory.mktemp('kept') / 'first'


@pytest.fixture
def finished(train, kept, tmp_path):
    """Work dir of a run of one epoch with a score of 40, trained for the first test."""
    folder = tmp_path / 'first'
    if not kept.exists():
        shutil.copytree(train('first', epochs=1, scores=[40.0]), kept)
        shutil.rmtree(folder)
    shutil.copytree(kept, folder)  # also a copy: its state names the folder of another test
    return folder


def test_resuming_into_another_folder_leaves_the_first_one_as_it_was(train, finished):
    before = digests(finished)
    assert before.keys() == {'epoch_1.pth', 'best_mIoU_epoch_1.pth'}
    told = dict(resume=True, load_from=str(finished / 'epoch_1.pth'))
    second = train('second', epochs=3, scores=[35.0, 50.0], **told)
    assert digests(finished) == before
    # 35 did not exceed the 40 of the first folder, 50 did.
    assert digests(second).keys() == {'epoch_2.pth', 'epoch_3.pth', 'best_mIoU_epoch_3.pth'}
    assert hub(second / 'epoch_3.pth')['best_ckpt'] == str(second / 'best_mIoU_epoch_3.pth')
    assert hub(second / 'epoch_2.pth')['best_score'] == 40.0
    assert 'best_ckpt' not in hub(second / 'epoch_2.pth')


def test_a_copied_folder_is_resumed_at_its_new_path(train, finished, tmp_path):
    (finished / 'last_checkpoint').write_text(str(finished / 'epoch_1.pth'))
    moved = tmp_path / 'moved'
    shutil.copytree(finished, moved)
    before = digests(finished)
    assert train('moved', epochs=2, scores=[50.0], resume=True) == moved
    assert digests(finished) == before
    assert digests(moved).keys() == {'epoch_1.pth', 'epoch_2.pth', 'best_mIoU_epoch_2.pth'}
    assert hub(moved / 'epoch_2.pth')['best_ckpt'] == str(moved / 'best_mIoU_epoch_2.pth')
    assert (moved / 'last_checkpoint').read_text() == str(moved / 'epoch_2.pth')


def test_the_users_file_is_neither_removed_nor_written_again(train, finished):
    named = finished / 'epoch_1.pth'
    before = named.read_bytes()
    told = dict(resume=True, load_from=str(named))
    train('first', epochs=3, scores=[45.0, 50.0], **told, default_hooks=keep(1))
    assert named.read_bytes() == before
    assert digests(finished).keys() == {'epoch_1.pth', 'epoch_3.pth', 'best_mIoU_epoch_3.pth'}


def test_a_run_does_not_begin_from_a_file_that_it_would_replace(train, make_runner, tmp_path):
    best = tmp_path / 'run' / 'best_mIoU_epoch_1.pth'
    best.parent.mkdir()
    torch.save(make_runner('run').unwrapped_model.state_dict(), best)
    before = best.read_bytes()
    with pytest.raises(ValueError, match=r'best_mIoU_epoch_1\.pth, which is in the folder of t'):
        train('run', epochs=1, scores=[10.0], load_from=str(best))
    assert best.read_bytes() == before


def test_other_names_than_those_of_its_checkpoints_stay_where_a_run_cleans_up(tmp_path):
    theirs = ['.env.pth', '.notes.pth.backup1x', '.model.pth.abcdefgh', '.epoch_1.pth.bak']
    ours = ['.epoch_3.pth.a_1bcdef', '.best_mIoU_epoch_3.pth.abcdefgh', '.last_checkpoint.abcdefgh']
    for name in (*theirs, *ours):
        (tmp_path / name).touch()
    files = RunFiles(tmp_path, 'epoch_{}.pth')
    remove_unfinished(tmp_path, files.has_name_of_checkpoint)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


def test_paths_of_a_state_are_translated_or_forgotten(tmp_path):
    here, there = tmp_path / 'here', tmp_path / 'there'
    here.mkdir()
    for name in ('best_mIoU_epoch_2.pth', 'epoch_3.pth'):
        (here / name).touch()

    def state(folder):
        paths = dict(best_ckpt=str(folder / 'best_mIoU_epoch_2.pth'), last_ckpt=str(folder / 'x'))
        return dict(paths, best_score=40.0, keep_ckpt_ids=[2, 3])

    info = state(there)
    files = RunFiles(here, 'epoch_{}.pth', resume_file=here / 'epoch_3.pth')
    assert rebase_paths(info, files) == []
    expected = dict(best_ckpt=str(here / 'best_mIoU_epoch_2.pth'), best_score=40.0)
    assert info == dict(expected, keep_ckpt_ids=[3])
    # From another folder: a file of the same name here is somebody else's.
    info = state(there)
    (note,) = rebase_paths(info, files._replace(resume_file=there / 'epoch_3.pth'))
    assert info == dict(best_score=40.0, keep_ckpt_ids=[])
    assert f'40.0000 of {there / "best_mIoU_epoch_2.pth"}, remains the one to exceed' in note
    # Named: not to be touched, though it is the best so far.
    info = state(here)
    named = here / 'best_mIoU_epoch_2.pth'
    rebase_paths(info, files._replace(user_file=named))
    assert 'best_ckpt' not in info


def test_a_best_score_of_another_metric_is_forgotten(finished, make_runner, monkeypatch):
    monkeypatch.setattr(Evaluator, 'evaluate', lambda self, size: {'mIoU': 1.0, 'aAcc': 30.0})
    changes = dict(SHORT, train_cfg=dict(max_epochs=2))
    changes['default_hooks'] = dict(checkpoint=dict(save_best='aAcc'))
    make_runner('first', resume=True, **changes).train()
    best = {path.name for path in finished.glob('best_*')}
    assert best == {'best_mIoU_epoch_1.pth', 'best_aAcc_epoch_2.pth'}


def checkpoint(path, iteration, **meta):
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict={}, meta=dict(epoch=0, iter=iteration, **meta)), path)
    return path


def test_the_last_checkpoint_of_a_copy_is_not_looked_for_in_the_old_place(tmp_path):
    newer = checkpoint(tmp_path / 'old' / 'iter_9.pth', 9)
    own = checkpoint(tmp_path / 'new' / 'iter_5.pth', 5)
    (tmp_path / 'new' / 'last_checkpoint').write_text(str(newer))
    assert latest_complete_checkpoint(tmp_path / 'new') == str(own)


@pytest.mark.parametrize(
    'time_of_9, expected',
    [
        ('20260101_100000', 'iter_5.pth'),  # of the run that was given up
        ('20260101_120000', 'iter_9.pth'),  # killed before last_checkpoint was written
    ],
)
def test_a_run_restarted_from_an_earlier_step_is_the_one_to_resume(time_of_9, expected, tmp_path):
    checkpoint(tmp_path / 'iter_4.pth', 4, time='20260101_090000')
    named = checkpoint(tmp_path / 'iter_5.pth', 5, time='20260101_110000')
    checkpoint(tmp_path / 'iter_9.pth', 9, time=time_of_9)
    (tmp_path / 'last_checkpoint').write_text(str(named))
    assert latest_complete_checkpoint(tmp_path) == str(tmp_path / expected)


@pytest.mark.parametrize('exists, state', [(True, 'is in another folder'), (False, 'does not ex')])
def test_a_last_checkpoint_that_is_not_here_is_no_new_start(tmp_path, exists, state):
    named = tmp_path / 'old' / 'iter_9.pth'
    if exists:
        checkpoint(named, 9)
    (tmp_path / 'last_checkpoint').write_text(str(named))
    with pytest.raises(FileNotFoundError, match=rf'iter_9\.pth, which {state}.* --resume CHECKPOI'):
        latest_complete_checkpoint(tmp_path)


def test_checkpoints_of_other_names_and_folders_are_candidates(make_runner, tmp_path):
    own = checkpoint(tmp_path / 'out' / 'run' / 'step_7.pth', 7)
    hook = dict(out_dir=str(tmp_path / 'out'), filename_tmpl='step_{}.pth')
    runner = make_runner('run', resume=True, default_hooks=dict(checkpoint=hook))
    assert runner._newest_checkpoint() == str(own)


def test_a_folder_of_another_run_gives_a_warning(make_runner, tmp_path):
    checkpoint(tmp_path / 'run' / 'epoch_7.pth', 7)
    runner = make_runner('run')
    (hook,) = [h for h in runner.hooks if isinstance(h, AtomicCheckpointHook)]
    warnings = []
    runner.logger.warning = warnings.append
    hook.files = hook._files_of(runner)
    hook._rebase_state(runner)
    (warning,) = warnings
    assert f'{tmp_path / "run"} holds checkpoints of another run (epoch_7.pth)' in warning


def test_without_a_checkpoint_a_resumed_run_starts_from_its_weights(make_runner, tmp_path):
    source = str(tmp_path / 'weights.pth')
    runner = make_runner('run', resume='auto', load_from=source)
    weights = {k: torch.zeros_like(v) for k, v in runner.unwrapped_model.state_dict().items()}
    torch.save(weights, source)
    runner.load_or_resume()
    assert not runner.unwrapped_model.backbone.pos_embed.any()
    assert (runner._resume, runner.user_checkpoint) == (False, source)


def test_a_run_that_was_begun_prefers_its_checkpoint_to_its_weights(finished, make_runner):
    runner = make_runner('first', resume='auto', load_from='weights.pth')
    runner.load_or_resume()
    assert (runner._load_from, runner.user_checkpoint) == (str(finished / 'epoch_1.pth'), None)
    assert runner.epoch == 1
