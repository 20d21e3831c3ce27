"""Processes of a training are killed at random moments; the resumed run is the undisturbed one.

Real processes: ranks over gloo, started by ``tools/dist_train.sh``, with loader workers. A run is
killed and resumed up to twelve times, each time a rank, the launcher, a loader worker or all
processes; then it is left to finish and compared. ``FAULT_MOMENTS=200 pytest -s -m faults
tests/faults/test_training_kills.py`` kills until 200 kills ended a run early, and prints a table.
"""

import itertools
import os
import random
import time

import pytest
import torch

from loading import load_file

KILLS = int(os.environ.get('FAULT_MOMENTS', '6'))
FIRST = int(os.environ.get('FAULT_FIRST_RUN', '0'))
KILLS_A_RUN = 12
STEPS = 32
INTERVAL = 8  # steps between validations
killing = load_file('tests/faults/killing.py')


@pytest.fixture(scope='module')
def folder(tiny_config, tmp_path_factory):
    """A config of 32 steps on two ranks with two workers each, and the module that it imports."""
    cfg = tiny_config.copy()
    cfg.merge_from_dict(
        dict(
            train_cfg=dict(max_epochs=STEPS // 4, val_interval=INTERVAL // 4),
            train_dataloader=dict(batch_size=4, num_workers=2, persistent_workers=True),
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=2)),
            custom_hooks=[dict(type='RecorderHook'), dict(type='EMAHook', momentum=0.3)],
            custom_imports=dict(imports=['groupvit_mmseg', 'recorder'], allow_failed_imports=False),
        )
    )
    folder = tmp_path_factory.mktemp('kills')
    (folder / 'recorder.py').write_text(killing.RECORDER)
    for name in ('transformers', 'sklearn'):  # a third of all imports; mmengine and NLTK try them
        (folder / f'{name}.py').write_text("raise ImportError('not needed here')\n")
    cfg.dump(folder / 'config.py')
    return folder


def last_checkpoint(training):
    return torch.load(training.work_dir / f'iter_{STEPS}.pth', weights_only=True)


@pytest.fixture(scope='module')
def undisturbed(folder):
    """Checkpoint and samples of a run in which nothing is killed, and seconds to its first step."""
    training = killing.Training(folder, 'whole', STEPS)
    run, began = training.start(), time.monotonic()
    killing.wait_until(lambda: run.poll() is not None or training.step(), 300)
    scale = time.monotonic() - began
    assert run.wait(300) == 0, training.log.read_text()[-3000:]
    return last_checkpoint(training), training.read(), scale


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


def assert_undisturbed(training, expected, samples):
    """Compare a finished run with the undisturbed one."""
    content = last_checkpoint(training)
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        assert_same(content[part], expected[part], part)
    curves = [c['message_hub']['log_scalars'] for c in (content, expected)]
    for curve in ('train/loss', 'train/lr', 'train/grad_norm', 'val/mIoU'):
        assert_same(curves[0][curve], curves[1][curve], curve)
    infos = [c['message_hub']['runtime_info'] for c in (content, expected)]
    assert infos[0]['best_score'] == infos[1]['best_score']
    assert training.read() == samples
    assert not training.torn()


@pytest.mark.faults
def test_killed_and_resumed_is_undisturbed(folder, undisturbed):
    expected, samples, scale = undisturbed
    kills = []
    for number in itertools.count(FIRST):
        rng, training = random.Random(number), killing.Training(folder, f'run{number}', STEPS)
        for victim in rng.sample(killing.VICTIMS * 3, KILLS_A_RUN):
            moment = rng.choices(killing.MOMENTS, killing.WEIGHTS)[0]
            kill = training.kill(moment, victim, rng, scale)
            if kill is None:  # it ended by itself
                break
            kills.append(kill)
            print(f'run {number}: {kill}', flush=True)
            if len(kills) >= KILLS:
                break
        assert training.finish() == 0, (number, training.log.read_text()[-3000:])
        assert_undisturbed(training, expected, samples)
        if len(kills) >= KILLS:
            break
    print(killing.table(kills))
