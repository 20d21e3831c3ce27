"""A companion to a training: each checkpoint once, whatever happens to the files or to itself."""

import csv
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from groupvit_mmseg.benchmark.watch import CheckpointWatch, follow
from groupvit_mmseg.benchmark.watch_report import CurveReport
from groupvit_mmseg.benchmark.watched_checkpoints import is_complete, last_checkpoint_name
from groupvit_mmseg.checkpoints.loading import NotFiniteError


class Training:
    """A work directory, and an evaluation that reads the score off the weights."""

    def __init__(self, root):
        self.work_dir, self.out, self.evaluated = root / 'run', root / 'out', []
        self.work_dir.mkdir()
        (self.work_dir / 'config.py').write_text('train_cfg = dict(max_epochs=4)')

    def save(self, epoch, score):
        torch.save(dict(score=score), self.work_dir / f'epoch_{epoch}.pth')

    def evaluate(self, checkpoint, out):
        self.evaluated.append(checkpoint.name)
        score = torch.load(checkpoint, weights_only=True)['score']
        (out / 'voc21.json').write_text(json.dumps(dict(metrics=dict(mIoU=score))))

    def watch(self, **changes):
        options = dict(evaluate=self.evaluate, options=['--sets', 'voc21']) | changes
        return CheckpointWatch(self.work_dir, self.out, **options)

    def best(self):
        return torch.load(self.out / 'best.pth', weights_only=True)['score']


@pytest.fixture
def training(tmp_path):
    return Training(tmp_path)


def test_each_checkpoint_is_evaluated_once_in_order_and_the_best_is_kept(training):
    for epoch, score in ((10, 30.0), (2, 50.0), (1, 20.0)):
        training.save(epoch, score)
    (training.work_dir / 'best_mIoU_epoch_2.pth').write_bytes(b'')
    watch = training.watch()
    assert [each.step for each in watch.run_pending()] == [1, 2, 10]
    assert list(watch.run_pending()) == []
    assert training.evaluated == ['epoch_1.pth', 'epoch_2.pth', 'epoch_10.pth']
    (training.work_dir / 'epoch_2.pth').unlink()  # training keeps the newest only
    assert training.best() == 50.0
    assert list(training.out.glob('checkpoints/*/*.pth')) == []


def test_an_interrupted_watch_goes_on_with_the_same_result(training):
    for epoch, score in enumerate((20.0, 50.0, 30.0), start=1):
        training.save(epoch, score)
    watch = training.watch()
    list(zip(range(1), watch.run_pending(), strict=False))

    def stopped(checkpoint, out):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(training.watch(evaluate=stopped).run_pending())
    (training.work_dir / 'epoch_2.pth').unlink()  # deleted in the meantime: it is held
    report = CurveReport(training.out)
    again = training.watch()
    list(again.run_pending())
    report(again.scores())
    assert training.evaluated == ['epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert [each.mean for each in again.scores()] == [20.0, 50.0, 30.0]
    assert list(training.out.glob('checkpoints/*/*.pth')) == []
    assert training.best() == 50.0
    rows = list(csv.DictReader((training.out / 'curve.csv').open()))
    assert [row['voc21'] for row in rows] == ['20.0000', '50.0000', '30.0000']
    assert (training.out / 'curve.png').stat().st_size > 1000


def test_half_a_checkpoint_waits_until_it_is_whole(training):
    training.save(1, 20.0)
    path = training.work_dir / 'epoch_1.pth'
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    watch = training.watch()
    assert not is_complete(path)
    assert list(watch.run_pending()) == []
    path.write_bytes(content)
    assert [each.mean for each in watch.run_pending()] == [20.0]


def test_a_diverged_checkpoint_is_left_out(training, capsys):
    def evaluate(checkpoint, out):
        raise NotFiniteError('it diverged.')

    training.save(1, 20.0)
    assert list(CheckpointWatch(training.work_dir, training.out, evaluate).run_pending()) == []
    assert capsys.readouterr().out == 'epoch_1.pth is left out: it diverged.\n'
    assert [each.mean for each in training.watch().run_pending()] == [20.0]


def test_a_damaged_checkpoint_is_left_out_until_it_changes(training, capsys):
    shutil.make_archive(str(training.work_dir / 'epoch_1'), 'zip', training.work_dir)
    (training.work_dir / 'epoch_1.zip').rename(training.work_dir / 'epoch_1.pth')

    def evaluate(checkpoint, out):
        try:
            training.evaluate(checkpoint, out)
        except Exception as error:
            raise pickle.UnpicklingError('it is torn.') from error

    watch = CheckpointWatch(training.work_dir, training.out, evaluate)
    for _ in range(2):
        assert list(watch.run_pending()) == []
    assert training.evaluated == ['epoch_1.pth']
    assert capsys.readouterr().out == 'epoch_1.pth is left out: it is torn.\n'
    training.save(1, 20.0)
    assert len(list(watch.run_pending())) == 1


def test_a_deleted_checkpoint_is_passed_over(training, monkeypatch):
    training.save(1, 20.0)
    watch = training.watch()
    pending = watch.pending()
    (training.work_dir / 'epoch_1.pth').unlink()
    monkeypatch.setattr(watch, 'pending', lambda: pending)
    assert list(watch.run_pending()) == []


def test_without_hard_links_the_files_are_read_and_copied(training, monkeypatch):
    def refused(*_):
        raise OSError('another file system')

    monkeypatch.setattr(os, 'link', refused)
    training.save(1, 20.0)
    assert [each.mean for each in training.watch().run_pending()] == [20.0]
    (training.work_dir / 'epoch_1.pth').unlink()
    assert training.best() == 20.0


def test_errors_of_the_evaluation_end_it(training):
    training.save(1, 20.0)

    def evaluate(checkpoint, out):
        raise FileNotFoundError('data holds none of the sets.')

    watch = CheckpointWatch(training.work_dir, training.out, evaluate)
    with pytest.raises(FileNotFoundError, match='none of the sets'):
        list(watch.run_pending())


def test_other_weights_of_the_same_name_are_evaluated_anew(training):
    training.save(1, 20.0)
    list(training.watch().run_pending())
    path = training.work_dir / 'epoch_1.pth'
    os.utime(path, ns=(1, 1))
    assert training.watch().pending() == []  # the same content with another date
    training.save(1, 35.0)
    assert [each.mean for each in training.watch().run_pending()] == [35.0]
    assert [each.mean for each in training.watch().scores()] == [35.0]
    assert (training.out / 'checkpoints/epoch_1.replaced-1/voc21.json').is_file()


def test_it_ends_with_the_last_epoch_of_the_config(training):
    reports, waits = [], []

    def sleep(seconds):
        waits.append(seconds)
        training.save(len(waits), 10.0 * len(waits))

    watch = training.watch()
    text = follow(watch, lambda results: reports.append(len(results)), interval=5, sleep=sleep)
    assert text == 'The training has ended, and its checkpoints are evaluated.'
    assert (reports, waits) == ([1, 2, 3, 4], [5] * 4)
    again = follow(training.watch(), reports.append, sleep=sleep)
    assert again == text
    assert len(training.evaluated) == 4


def test_it_ends_after_a_time_without_a_checkpoint(training):
    waits = []
    text = follow(training.watch(), print, interval=5, idle=20, sleep=waits.append)
    assert text == 'There was no new checkpoint for 20 seconds.'
    assert len(waits) == 4


def test_the_last_checkpoint_of_a_config(tmp_path):
    assert last_checkpoint_name(tmp_path) is None
    (tmp_path / 'a.py').write_text('train_cfg = dict(max_iters=500)')
    assert last_checkpoint_name(tmp_path) == 'iter_500.pth'
    (tmp_path / 'a.py').write_text('model = dict()')
    assert last_checkpoint_name(tmp_path) is None


def test_folders_are_checked(training, tmp_path):
    training.watch(options=['--sets', 'typo'])  # without a result, options may be corrected
    training.save(1, 20.0)
    list(training.watch().run_pending())
    with pytest.raises(ValueError, match='begun with other options'):
        CheckpointWatch(training.work_dir, training.out, training.evaluate, ['--sets', 'ade150'])
    with pytest.raises(FileNotFoundError, match='no work directory'):
        CheckpointWatch(Path('nowhere'), training.out, training.evaluate)


def panel_of(each):
    """A figure of predictions where tools/evaluate.py draws one."""
    from PIL import Image

    path = each.folder / 'pictures/voc21_random.jpg'
    path.parent.mkdir()
    Image.new('RGB', (8, 4), 'red').save(path)


def test_scores_and_panels_go_to_tensorboard_once(training):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training.save(1, 20.0)
    training.save(2, 30.0)
    for _ in range(2):
        watch = training.watch()
        for each in watch.run_pending():
            panel_of(each)
        report = CurveReport(training.out, ['tensorboard'])
        report(watch.scores())
        report.close()
    events = EventAccumulator(str(training.out / 'tensorboard')).Reload()
    assert [(e.step, e.value) for e in events.Scalars('voc21/score')] == [(1, 20.0), (2, 30.0)]
    assert [e.step for e in events.Images('voc21/predictions')] == [1, 2]


def test_weights_and_biases_offline(training, monkeypatch):
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match='wandb is not installed'):
            CurveReport(training.out, ['wandb'])
        return
    monkeypatch.setenv('WANDB_SILENT', 'true')
    training.save(1, 20.0)
    watch = training.watch()
    for each in watch.run_pending():
        panel_of(each)
    report = CurveReport(training.out, ['wandb'])
    report(watch.scores())
    report.close()
    assert list((training.out / 'wandb').glob('wandb/offline-run-*/*.wandb'))
    assert json.loads((training.out / 'wandb/logged.json').read_text()) == {'epoch_1': 20.0}
