"""As many epochs as fit into a time, on a tiny training."""

import multiprocessing

import pytest
from mmengine.config import Config

from groupvit_mmseg.benchmark import fitted_length
from groupvit_mmseg.benchmark.fitted_length import StepClock, fit_epochs


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = Config(tiny_config.to_dict())
    cfg.work_dir = str(tmp_path / 'run')
    cfg.launcher = 'none'
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=1),
        dict(type='CosineAnnealingLR', T_max=3, end=3, convert_to_iter_based=True),
    ]
    return cfg


@pytest.mark.parametrize(
    'seconds,minutes,epochs',
    [
        (0.5, 9, 3),  # more time than the recipe's three epochs of four steps need
        (0.5, 5.9 / 60, 2),
        (0.5, 0, 1),
    ],
)
def test_epochs_fit_into_the_time_and_the_schedule_ends_with_them(
    cfg, tmp_path, monkeypatch, seconds, minutes, epochs
):
    monkeypatch.setattr(StepClock, 'seconds_per_step', lambda _: seconds)
    length = fit_epochs(cfg, minutes, steps=4)
    minutes = epochs * 4 * seconds * fitted_length.MARGIN / 60
    assert length == (seconds, epochs, pytest.approx(minutes))
    assert str(length) == f'0.50 s a step: {epochs} epoch{"s" * (epochs > 1)}, 0 minutes'
    assert cfg.train_cfg.max_epochs == epochs
    assert (cfg.param_scheduler[1].end, cfg.param_scheduler[1].T_max) == (epochs, epochs)
    assert not (tmp_path / 'run').exists()  # the trial leaves nothing


def test_steps_are_timed_without_their_first_half(monkeypatch):
    now = iter([9, 12, 14, 17])
    monkeypatch.setattr(fitted_length.time, 'monotonic', lambda: next(now))
    clock = StepClock()
    for _ in range(4):
        clock.after_train_iter()
    assert clock.seconds_per_step() == 2.5  # from the end of the second step to that of the last


def test_a_training_that_counts_steps_is_refused_before_any_step(cfg, monkeypatch):
    monkeypatch.setattr(fitted_length.RUNNERS, 'build', lambda _: pytest.fail('built a runner'))
    cfg.train_cfg = dict(by_epoch=False, max_iters=10)
    with pytest.raises(ValueError, match='trains for iterations'):
        fit_epochs(cfg, 9)


def test_workers_and_the_log_end_with_the_trial(cfg):
    before = {process.pid for process in multiprocessing.active_children()}
    cfg.train_dataloader.update(num_workers=1, persistent_workers=True, prefetch_factor=2)
    fit_epochs(cfg, 60, steps=4)
    assert {process.pid for process in multiprocessing.active_children()} <= before


def test_real_steps_are_timed(cfg):
    before = cfg.train_dataloader.to_dict()
    assert 0 < fit_epochs(cfg, 60, steps=4).seconds_per_step < 60
    assert cfg.train_dataloader.to_dict() == before
    assert cfg.train_cfg.max_epochs == 3
