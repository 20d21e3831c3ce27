"""Studies of tiny variants on a handful of scenes: run, skipped, resumed, refused."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from groupvit_mmseg.benchmark import study_process, study_queue
from groupvit_mmseg.benchmark.study_types import Run

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    'train_dataloader.batch_size': 16,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'val_dataloader.num_workers': 0,
    'val_dataloader.persistent_workers': False,
}
VARIANTS = {
    'hard': TINY,
    'soft': {**TINY, 'model.backbone.assignment.kind': 'soft'},
    'top-1': {'weights_of': 'hard', 'val_cfg.segmentor.decode_head.top_k': 1},
}
METRICS = [
    'mIoU',
    'oracle/mIoU',
    'boundary/mIoU',
    'tag/mIoU',
    'background: mIoU',
    'background: foreground/mIoU',
    'background: tag_foreground/mIoU',
    'background: probing/jaccard',
]


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/study.py')


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('scenes')
    counts = ['--num-train', '48', '--num-val', '7', '--num-calib', '4']
    make_scenes = load_file('tools/dataset_converters/make_scenes.py')
    assert not make_scenes.main(['--out', str(out), *counts])
    return out


class Here:
    """A run in this process, which has everything imported."""

    started = []  # noqa: RUF012

    def __init__(self, run, threads):
        self.started.append(run.name)
        self.status = study_process.main([str(run.folder)])

    def poll(self):
        return self.status


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(study_queue, 'start_process', Here)
    monkeypatch.setattr(Here, 'started', [])
    return Here.started


@pytest.fixture
def write(tmp_path):
    def write(variants=VARIANTS, metrics=METRICS):
        fields = dict(title='Tiny', question='Does it run?', variants=variants, metrics=metrics)
        lines = [f'_base_ = {str(ROOT / "configs/_base_/studies/scenes.py")!r}']
        config = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
        fields.update(config=str(config), seeds=[0, 1])
        lines += [f'{key} = {value!r}' for key, value in fields.items()]
        (tmp_path / 'tiny.py').write_text('\n'.join(lines))
        return tmp_path / 'tiny.py'

    return write


@pytest.fixture
def run(tool, scenes, tmp_path, write):
    def run(*options, study=None):
        arguments = [str(study or write()), f'--data-root={scenes}', f'--out={tmp_path / "out"}']
        return tool.main([*arguments, '--max-epochs=2', *options])

    return run


def test_a_study_from_begin_to_end(run, write, here, tmp_path, capsys):
    assert run() == 0
    names = [f'{name}/seed-{seed}' for seed in (0, 1) for name in VARIANTS]
    assert here == names
    out = tmp_path / 'out'
    check_files(out)
    printed = capsys.readouterr().out
    assert 'run 6 of 6: top-1/seed-1, mIoU ' in printed
    assert 'about 0 minutes left' in printed

    # Finished runs are skipped, and a seed is a choice.
    here.clear()
    table = (out / 'table.md').read_text()
    assert run() == 0
    assert not here
    assert '6 of 6 runs are finished already' in capsys.readouterr().out
    assert (out / 'table.md').read_text() == table
    # A part of the study leaves the report whole.
    assert run('--variants', 'soft', '--seeds', '0', '0') == 0
    assert (out / 'table.md').read_text() == table

    # Other metrics are measured with the weights that are there.
    kept = (out / 'hard/seed-0/progress.json').stat().st_mtime_ns
    assert run('--variants', 'hard', '--seeds', '0', study=write(metrics=METRICS[:2])) == 0
    assert here == ['hard/seed-0']
    assert (out / 'hard/seed-0/progress.json').stat().st_mtime_ns == kept
    others = ', '.join(name for name in names if name != 'hard/seed-0')
    assert f'not in the tables, as evaluated with other settings: {others}\n' in (
        capsys.readouterr().out
    )
    assert list(json.loads((out / 'result.json').read_text())['runs']) == ['hard']

    # Other settings are refused before anything runs.
    here.clear()
    other = {**VARIANTS, 'soft': {**VARIANTS['soft'], 'optim_wrapper.optimizer.lr': 1.0}}
    capsys.readouterr()
    for options in ((), ('--variants', 'hard')):  # one table has all variants
        assert run(*options, study=write(other)) == 2
        sentence = 'soft/seed-0 was trained with other settings: choose another'
        assert sentence in capsys.readouterr().err
    assert run('--max-epochs=1', '--seeds', '7') == 2
    assert 'hard/seed-0 was trained with other settings' in capsys.readouterr().err
    assert not here


def test_a_training_starts_from_the_weights_of_another(run, write, here, tmp_path):
    standing = {**TINY, 'optim_wrapper.optimizer.lr': 0.0, 'starts_from': 'hard', 'max_epochs': 1}
    variants = {'hard': TINY, 'standing': standing}
    assert run('--seeds', '1', '--max-epochs=1', study=write(variants, METRICS[:2])) == 0
    assert here == ['hard/seed-1', 'standing/seed-1']
    before, after = (
        torch.load(tmp_path / f'out/{name}/seed-1/train/epoch_1.pth', weights_only=True)
        for name in variants
    )
    learned = [name for name in before['state_dict'] if name.endswith('qkv.weight')]
    assert learned
    for name in learned:
        torch.testing.assert_close(after['state_dict'][name], before['state_dict'][name])


def check_files(out):
    """The results of a study of three variants and two seeds."""
    result = json.loads((out / 'result.json').read_text())
    assert list(result['runs']) == list(VARIANTS)
    one = result['runs']['hard']['0']
    assert set(METRICS) <= set(one['metrics'])
    assert one['class_iou']['IoU'].keys() >= {'ball', 'snow'}
    assert 0 <= one['bg_thresh']['background'] <= 1
    assert list(one['curve']) == ['1', '2']
    assert one['curve']['2']['mIoU'] == pytest.approx(one['metrics']['mIoU'], abs=1e-3)
    assert one['steps'] == 6
    assert one['pairs_per_s'] > 0
    assert result['runs']['top-1']['0']['steps'] == 0
    # Groups are those of the weights, which both have; names are not.
    oracles = [result['runs'][name]['0']['metrics']['oracle/mIoU'] for name in ('hard', 'top-1')]
    assert oracles[0] == oracles[1]
    mious = {
        name: [each[s]['metrics']['mIoU'] for s in '01'] for name, each in result['runs'].items()
    }
    assert mious['hard'][0] != mious['hard'][1]
    assert mious['hard'] != mious['soft']
    numbers = result['statistics']['soft']['mIoU']
    assert numbers['mean'] == pytest.approx(np.mean(mious['soft']))
    differences = np.subtract(mious['soft'], mious['hard'])
    assert numbers['difference'] == pytest.approx(differences.mean())
    assert numbers['standard_error'] == pytest.approx(differences.std(ddof=1) / 2**0.5)
    assert f'{mious["soft"][1]:.2f} |\n' in (out / 'table.md').read_text()
    pictures = np.asarray(Image.open(out / 'pictures.png'))
    assert pictures.shape[0] > 6 * 160
    assert pictures.shape[1] > 8 * 160
    assert np.asarray(Image.open(out / 'curves.png')).std() > 5
    assert not list(out.glob('.*'))


def test_a_killed_run_goes_on_from_its_checkpoint(run, tmp_path, monkeypatch, here, capsys):
    options = ['--variants', 'hard', '--seeds', '0', '--max-epochs=5']
    started = []

    def no_process(run, threads):
        started.append(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_queue, 'start_process', no_process)
    assert run(*options) == 130  # everything is prepared
    (one,) = started
    monkeypatch.undo()
    process = study_queue.start_process(one, threads=1)
    checkpoint = one.folder / 'train/epoch_2.pth'
    deadline = time.monotonic() + 300
    while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, (one.folder / 'log.txt').read_text()
    assert one.result() is None
    assert one.folder.parent.name == 'hard'
    monkeypatch.setattr(study_queue, 'start_process', Here)
    assert run(*options) == 0
    resumed = Run('hard', 0, one.folder).result()
    assert run(*options, f'--out={tmp_path / "whole"}') == 0
    whole = Run('hard', 0, tmp_path / 'whole/hard/seed-0').result()
    assert resumed['metrics'] == whole['metrics']
    assert resumed['steps'] == whole['steps'] == 15
    logs = ''.join(path.read_text() for path in one.folder.glob('train/*/*.log'))
    assert 'resumed epoch: 2, iter: 6' in logs


def test_a_failed_run_ends_no_other(run, tmp_path, monkeypatch, capsys):
    def fails(run, threads):
        (run.folder / 'log.txt').write_text('error: There is no room.\n\n')
        return type('Process', (), dict(poll=lambda self: 2))()

    monkeypatch.setattr(study_queue, 'start_process', fails)
    assert run('--seeds', '0') == 2
    printed = capsys.readouterr()
    assert '3 of 3 runs failed: hard/seed-0: error: There is no room.; ' in printed.err
    assert 'top-1/seed-0: the run that gives its weights failed' in printed.err
    assert not (tmp_path / 'out/table.md').exists()


def test_modules_beside_the_config_are_found_by_the_process(write, run, tmp_path, monkeypatch):
    """Those of ``custom_imports``: in the process of the tool they are found anyway."""
    own, path = tmp_path / 'own', list(sys.path)
    own.mkdir()
    (own / 'beside_the_config.py').write_text('')
    base = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
    imports = "custom_imports = dict(imports=['beside_the_config'])"
    (own / 'own.py').write_text(f'_base_ = {str(base)!r}\n{imports}\n')
    started = []

    def no_process(run, threads):
        started.append(run.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(study_queue, 'start_process', no_process)
    monkeypatch.setattr(sys, 'path', path)
    study = write({'hard': {**TINY, 'config': str(own / 'own.py')}})
    assert run('--seeds', '0', study=study) == 130
    monkeypatch.setattr(sys, 'path', [folder for folder in path if folder != str(own)])
    sys.modules.pop('beside_the_config')
    monkeypatch.setattr(study_process, 'train', lambda cfg, run: None)
    monkeypatch.setattr(study_process, 'evaluate_run', lambda cfg, run, task: sys.exit(3))
    with pytest.raises(SystemExit):
        study_process.main([str(started[0])])
    assert sys.modules.pop('beside_the_config')


@pytest.mark.parametrize('option', ['--jobs', '--threads', '--max-epochs'])
def test_counts_are_positive(tool, option, capsys):
    with pytest.raises(SystemExit):
        tool.main(['assignment', option, '0'])
    assert 'give at least 1' in capsys.readouterr().err


def test_list_and_wrong_names(run, tool, capsys):
    assert run('--list', '--seeds', '0') == 0
    printed = capsys.readouterr().out
    assert 'Tiny: Does it run?' in printed
    assert 'top-1/seed-0 (weights of hard): not begun' in printed
    assert run('--variants', 'soft-ish') == 2
    assert 'no variant soft-ish: it has hard, soft, top-1' in capsys.readouterr().err
    assert tool.main(['nothing']) == 2
    assert 'no configs/studies/nothing.py' in capsys.readouterr().err


def test_two_processes_do_not_share_a_folder(tmp_path):
    with study_process.only_process(tmp_path):
        with pytest.raises(RuntimeError, match='is in use by another process'):
            with study_process.only_process(tmp_path):
                pass


def test_minutes_left():
    results = {
        Run('a', 0, Path('a0')): dict(minutes=4.0, evaluation_minutes=1.0),
        Run('b', 0, Path('b0'), Path('a0')): dict(minutes=0.0, evaluation_minutes=2.0),
    }
    unfinished = [Run('a', 1, Path('a1')), Run('c', 0, Path('c0')), Run('d', 0, Path(), Path('a0'))]
    # a as a, c as what trains, d as what evaluates only: 5 + 5 + 2 on two cores.
    assert study_queue.minutes_left(results, unfinished, num_jobs=2) == 6.0
