"""Workers of data loaders end with the run and not with the process, which reports them killed."""

import multiprocessing

import pytest
from mmengine.hooks import Hook

from groupvit_mmseg.engine.hooks.loader_workers_hook import stop_workers

WITH_WORKERS = {
    f'{part}_dataloader.{key}': value
    for part in ('train', 'val')
    for key, value in (('num_workers', 1), ('persistent_workers', True))
}


class WorkersHook(Hook):
    """Notes the processes that live after each epoch."""

    def __init__(self):
        self.alive = []

    def after_train_epoch(self, runner):
        self.alive.append(set(multiprocessing.active_children()))


@pytest.fixture
def runner(make_runner):
    return make_runner(**WITH_WORKERS, train_cfg=dict(max_epochs=2))


def test_a_run_leaves_no_workers_behind(runner):
    before = set(multiprocessing.active_children())
    hook = WorkersHook()
    runner.register_hook(hook)
    runner.train()
    # Those of training, then those of validation as well: they live through all epochs.
    assert [len(alive - before) for alive in hook.alive] == [1, 2]
    assert set(multiprocessing.active_children()) <= before


def test_a_loader_whose_workers_were_stopped_starts_new_ones(runner):
    loader = runner.build_dataloader(runner._train_dataloader, seed=0)
    before = set(multiprocessing.active_children())
    first = len(list(loader))
    stop_workers(loader)
    assert set(multiprocessing.active_children()) <= before
    assert len(list(loader)) == first > 0
    stop_workers(loader)
