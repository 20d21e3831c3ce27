"""A run that was killed at any moment resumes bit for bit."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook

from groupvit_mmseg.engine import AtomicCheckpointHook

EVERYTHING = dict(
    optim_wrapper=dict(type='MixedPrecisionOptimWrapper', dtype='bfloat16'),
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=5, end=12, T_max=7),
    ],
    custom_hooks=[dict(type='EMAHook', momentum=0.3)],
    default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1)),
    model=dict(backbone=dict(drop_path_rate=0.3)),
)

EPOCHS = dict(max_epochs=3, val_interval=1)
# 12 steps as well, with validations within the passes over the data and at the end.
ITERATIONS = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=12, val_interval=5)
LOOPS = (EPOCHS, ITERATIONS)


def train_until_killed(runner):
    """Raises an error in the middle of writing its sixth checkpoint."""
    save, written = torch.save, []

    def torn_save(content, stream):
        written.append(1)
        if len(written) == 6:
            stream.write(b'PK half a file')
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        save(content, stream)

    torch.save = torn_save
    runner.train()


def content(path):
    return torch.load(path, weights_only=True)


def assert_same(first, second, where=''):
    """Equal in every tensor and value of every depth."""
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_same(first[key], second[key], f'{where}.{key}')
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), where
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f'{where}.{index}')
    else:
        assert first == second, where


def assert_same_run(first, second):
    """Equal weights, averages, optimiser, schedules, curves and best score."""
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert_same(first[part], second[part], part)
    hubs = [checkpoint['message_hub'] for checkpoint in (first, second)]
    for curve in ('train/loss', 'train/loss_multi_label', 'train/lr', 'train/grad_norm'):
        assert_same(*(hub['log_scalars'][curve] for hub in hubs), curve)
    assert hubs[0]['log_scalars']['train/loss']['values'].shape == (12,)
    assert_same(*(hub['log_scalars']['val/mIoU'] for hub in hubs), 'val/mIoU')
    assert hubs[0]['runtime_info']['best_score'] == hubs[1]['runtime_info']['best_score']


@pytest.fixture(scope='module')
def whole_runs():
    """Work dirs of uninterrupted runs by number of workers and loop."""
    return {}


@pytest.fixture
def whole_run(make_runner, whole_runs, tmp_path_factory):
    """Work dir of an uninterrupted run that keeps a checkpoint of every step."""

    def run(num_workers, loop=EPOCHS):
        key = num_workers, loop.get('type')
        if key not in whole_runs:
            whole_runs[key] = tmp_path_factory.mktemp('whole')
            make_runner(**settings(num_workers, whole_runs[key], loop)).train()
        return whole_runs[key]

    return run


def settings(num_workers, work_dir, loop=EPOCHS):
    """Arguments of ``make_runner``; a ``name`` that is a whole path is the work dir."""
    loader = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
    return dict(EVERYTHING, train_dataloader=loader, train_cfg=dict(loop), name=str(work_dir))


@pytest.mark.parametrize(
    'num_workers, step, loop',
    [
        (0, 1, EPOCHS),
        (0, 4, EPOCHS),
        (0, 7, EPOCHS),
        pytest.param(2, 6, EPOCHS, marks=pytest.mark.slow),
        (0, 4, ITERATIONS),  # the end of a pass
        # written before its validation
        pytest.param(2, 5, ITERATIONS, marks=pytest.mark.slow),
    ],
)
def test_resumed_at_any_step_equals_the_uninterrupted_run(
    make_runner, whole_run, tmp_path, num_workers, step, loop
):
    whole = whole_run(num_workers, loop)
    runner = make_runner(
        **settings(num_workers, tmp_path / 'rest', loop),
        resume=True,
        load_from=str(whole / f'iter_{step}.pth'),
    )
    runner.train()
    assert not (tmp_path / 'rest' / f'iter_{step}.pth').exists()
    assert_same_run(content(whole / 'iter_12.pth'), content(tmp_path / 'rest' / 'iter_12.pth'))


def test_iterations_read_what_epochs_read(whole_run):
    folders = [whole_run(0, loop) for loop in LOOPS]
    epochs, iterations = (content(folder / 'iter_12.pth') for folder in folders)
    assert_same(epochs['state_dict'], iterations['state_dict'])
    curves = [c['message_hub']['log_scalars'] for c in (epochs, iterations)]
    assert_same(*(curve['train/loss'] for curve in curves))
    # The file is written before the third validation, and again after it if that is the best.
    validations = [len(curve['val/mIoU']['values']) for curve in curves]
    assert validations == [2 + (f / 'best_mIoU_iter_12.pth').exists() for f in folders]


def test_other_workers_read_the_rest_of_the_epoch(make_runner, whole_run, tmp_path):
    """Two steps by one worker, then two; the union of an epoch is every sample once."""
    seen = []

    class Recorder(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            seen.append((runner.iter, data_batch['keys']))

    def record(steps, **changes):
        changes['train_cfg'] = dict(max_epochs=1)
        runner = make_runner(**changes)
        runner.register_hook(Recorder())
        runner.train()
        found, seen[:] = [key for step, keys in seen if step in steps for key in keys], []
        return found

    before = record((0, 1), **settings(0, tmp_path / 'before'))
    checkpoint = str(whole_run(0) / 'iter_2.pth')
    changes = settings(2, tmp_path / 'after')
    after = record((2, 3), **changes, resume=True, load_from=checkpoint)
    assert len(before) == len(after) == 16
    assert len(set(before + after)) == 32
    taken = content(tmp_path / 'after' / 'iter_3.pth')['meta']['taken']
    assert taken == [[1, 1, 8, 2], [1, 2, 8, 1]]


def test_killed_while_writing_resumes_from_the_newest_whole_checkpoint(
    make_runner, whole_run, tmp_path
):
    runner = make_runner(**settings(0, tmp_path / 'run'))
    killed = get_context('fork').Process(target=train_until_killed, args=(runner,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    run = tmp_path / 'run'
    assert len(list(run.glob('.iter_*.pth.*'))) == 1  # what was being written
    newest = Path((run / 'last_checkpoint').read_text())
    # A disk that lost the end of the newest file as well: the one before it is whole.
    newest.write_bytes(newest.read_bytes()[:-5000])
    before = int(newest.stem.split('_')[1]) - 1
    runner = make_runner(**settings(0, run), resume=True)
    assert not runner._has_loaded
    runner.train()
    assert not list(run.glob('.*'))
    assert runner._load_from == str(run / f'iter_{before}.pth')
    assert_same_run(content(whole_run(0) / 'iter_12.pth'), content(run / 'iter_12.pth'))


@pytest.mark.slow
def test_a_kill_before_validation_does_not_lose_the_best_score(make_runner, monkeypatch):
    changes = dict(default_hooks=dict(checkpoint=dict(max_keep_ckpts=-1)))
    whole = make_runner('whole', **changes)
    whole.train()
    first = make_runner('parts', **changes)

    def killed():
        raise KeyboardInterrupt

    monkeypatch.setattr(first.val_loop, 'run', killed)
    with pytest.raises(KeyboardInterrupt):
        first.train()
    rest = make_runner('parts', resume=True, **changes)
    rest.train()
    one, two = (content(Path(run.work_dir) / 'epoch_3.pth') for run in (whole, rest))
    assert_same(
        one['message_hub']['log_scalars']['val/mIoU'], two['message_hub']['log_scalars']['val/mIoU']
    )
    assert one['state_dict'].keys() == two['state_dict'].keys()
    best = [sorted(p.name for p in Path(r.work_dir).glob('best_*')) for r in (whole, rest)]
    assert best[0] == best[1]


def test_resuming_in_mid_epoch_with_other_steps_is_refused(make_runner, whole_run, tmp_path):
    changes = settings(0, tmp_path / 'rest')
    changes['train_dataloader'] = dict(batch_size=4)
    runner = make_runner(**changes, resume=True, load_from=str(whole_run(0) / 'iter_2.pth'))
    with pytest.raises(ValueError, match=r'steps of 1 x 8 pairs, this run has 1 x 4'):
        runner.train()


def test_only_torn_checkpoints_are_not_a_new_start(make_runner, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'epoch_1.pth').write_bytes(b'PK half a file')
    with pytest.raises(FileNotFoundError, match=r'None of the checkpoints in .* can be read'):
        make_runner('run', resume=True).train()


@pytest.mark.parametrize('settings', [dict(interval=3), dict(interval=2, save_begin=3)])
def test_checkpoints_between_accumulated_gradients_are_refused(make_runner, settings):
    runner = make_runner(
        optim_wrapper=dict(accumulative_counts=2),
        default_hooks=dict(checkpoint=dict(by_epoch=False, **settings)),
    )
    with pytest.raises(ValueError, match='choose a multiple'):
        runner.train()


@pytest.mark.parametrize(
    'settings, count, warns',
    [
        (dict(by_epoch=True, interval=1), 3, True),
        (dict(by_epoch=True, interval=3), 3, False),
        (dict(by_epoch=True, interval=1), 2, False),
        (dict(by_epoch=False, interval=-1), 3, False),
        (dict(by_epoch=True, interval=-1), 3, False),
    ],
)
def test_epochs_that_end_between_accumulated_gradients_are_told_of(settings, count, warns):
    """Epochs of four steps; an interval of -1 writes none."""
    logger = SimpleNamespace(warning=lambda line: lines.append(line))
    lines, runner = [], SimpleNamespace(max_iters=12, max_epochs=3, logger=logger)
    AtomicCheckpointHook(**settings)._check_accumulation(runner, count)
    assert [line.startswith('The epochs end between the 3') for line in lines] == [True] * warns


@pytest.mark.slow
def test_a_run_without_a_seed_resumes_with_its_random_one(make_runner, tmp_path):
    whole, rest = tmp_path / 'whole', tmp_path / 'rest'
    unseeded = dict(randomness=dict(seed=None))
    make_runner(**settings(0, whole), **unseeded).train()
    checkpoint = str(whole / 'iter_6.pth')
    make_runner(**settings(0, rest), **unseeded, resume=True, load_from=checkpoint).train()
    first, second = (content(work_dir / 'iter_12.pth') for work_dir in (whole, rest))
    assert first['meta']['data_seed'] == second['meta']['data_seed'] == first['meta']['seed']
    assert_same_run(first, second)


@pytest.mark.slow
def test_augmentation_on_the_device_resumes_within_an_epoch(make_runner, tmp_path):
    settings = dict(
        model=dict(data_preprocessor=dict(type='AugmentingPreprocessor')),
        default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1)),
        randomness=dict(seed=2),
    )
    make_runner('whole', **settings).train()
    start = str(tmp_path / 'whole' / 'iter_6.pth')
    make_runner('rest', **settings, resume=True, load_from=start).train()
    whole, rest = (content(tmp_path / name / 'iter_12.pth') for name in ('whole', 'rest'))
    assert_same(whole['state_dict'], rest['state_dict'])
    plain = make_runner('plain', **{**settings, 'model': {}})
    plain.train()
    losses = [
        content(tmp_path / name / 'iter_12.pth')['message_hub']['log_scalars']['train/loss'][
            'values'
        ]
        for name in ('whole', 'plain')
    ]
    assert (losses[0] != losses[1]).all()
