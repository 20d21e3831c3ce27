"""Memory, open files and threads stay flat over a training, a loader and an inferencer.

``LONG_RUN_SECONDS=3600 pytest -s -m faults tests/faults/test_long_run.py`` runs each for an hour;
``LONG_RUN_EPOCHS=1000`` and ``LONG_RUN_IMAGES=100000`` give the loader and the inferencer a number
of steps instead of a time. The slope is that of Theil and Sen, which single outliers do not move.
"""

import mmap
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from scipy.stats import theilslopes

from groupvit_mmseg.inference import GroupViTInferencer

SECONDS = float(os.environ.get('LONG_RUN_SECONDS', '20'))
EPOCHS, IMAGES = (int(os.environ.get(f'LONG_RUN_{name}', '0')) for name in ('EPOCHS', 'IMAGES'))
CONFIG = Path(__file__).parents[1] / 'data' / 'configs' / 'tiny_zeroshot.py'
WARM_UP = 0.3
"""float: Share of a run in which caches and allocators fill."""
ALLOWED_MIB = 16.0
"""float: Growth after the warm-up, over the whole run, that allocators may cause."""
ALLOWED_BYTES = 2048
"""int: Growth per step beyond that; the history of the logged losses takes some hundreds."""


class Use(NamedTuple):
    """What a process has at a moment: memory in KiB, open files and threads."""

    memory: int
    files: int
    threads: int


def use(pid='self'):
    """Return what a process and those that it has started have."""
    everyone = [pid, *Path(f'/proc/{pid}/task/{os.getpid()}/children').read_text().split()]
    return Use(*map(sum, zip(*map(_use, everyone), strict=True)))


def _use(pid):
    status = Path(f'/proc/{pid}/status').read_text()
    fields = dict(line.split(':', 1) for line in status.splitlines())
    files = len(os.listdir(f'/proc/{pid}/fd'))
    memory = fields.get('VmRSS', '0 kB')  # a process that has ended and is waited for has none
    return Use(int(memory.split()[0]), files, int(fields['Threads']))


class Watch:
    """Records what this process has after each step, until the time or the steps are over."""

    def __init__(self, seconds=SECONDS, steps=0):
        self.end, self.uses, self.steps, self.total = time.monotonic() + seconds, [], [], 0
        self.limit = steps

    def __call__(self):
        self.total += 1
        if not self.steps or self.total >= self.steps[-1] + max(1, self.total // 500):
            self.steps.append(self.total)
            self.uses.append(use())
        return self.total < self.limit if self.limit else time.monotonic() < self.end

    def check(self, name):
        """Print the slopes; fail where one is too steep."""
        first = int(len(self.steps) * WARM_UP)
        steps, uses = np.array(self.steps[first:]), np.array(self.uses[first:])
        assert len(steps) >= 20, f'{name}: too short a run, {self.total} steps'
        bytes_a_step = 1024 * theilslopes(uses[:, 0], steps)[0]
        count = steps[-1] - steps[0]
        files, threads = (theilslopes(uses[:, i], steps)[0] * count for i in (1, 2))
        grown = bytes_a_step * count / 2**20
        print(
            f'{name}: {self.total:,} steps, {bytes_a_step:.0f} bytes a step ({grown:.2f} MiB after '
            f'the warm-up), {files:.1f} files and {threads:.1f} threads over the run, '
            f'{uses[-1, 0] / 1024:.0f} MiB at the end'
        )
        assert bytes_a_step * count <= ALLOWED_MIB * 2**20 + ALLOWED_BYTES * count, name
        assert files < 1, f'{name}: {files} files more at the end'
        assert threads < 1, f'{name}: {threads} threads more at the end'


class WatchHook(Hook):
    def __init__(self, watch):
        self.watch = watch

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.watch():
            runner.train_loop.stop_training = True


@pytest.mark.faults
def test_a_training_is_flat(make_runner):
    runner = make_runner(
        train_cfg=dict(_delete_=True, by_epoch=True, max_epochs=10**6, val_interval=10**6),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
        default_hooks=dict(checkpoint=dict(interval=50, max_keep_ckpts=1, save_best=None)),
    )
    watch = Watch()
    runner.register_hook(WatchHook(watch))
    runner.train()
    watch.check('training')


@pytest.mark.faults
@pytest.mark.parametrize('workers', [0, 1])
def test_epochs_of_a_loader_are_flat(tiny_config, workers):
    """The worker is kept from epoch to epoch, and counted."""
    config = {**tiny_config.train_dataloader, 'num_workers': workers}
    config['persistent_workers'] = workers > 0
    loader = Runner.build_dataloader(config, seed=0)
    watch, epoch, goes_on = Watch(steps=EPOCHS), 0, True
    while goes_on:
        loader.sampler.set_epoch(epoch)
        assert sum(len(batch['keys']) for batch in loader) == 32
        epoch, goes_on = epoch + 1, watch()
    watch.check(f'loader, {workers} workers, an epoch a step')


@pytest.mark.faults
def test_images_through_the_inferencer_are_flat():
    inferencer = GroupViTInferencer(Config.fromfile(CONFIG))
    rng, watch = np.random.default_rng(0), Watch(steps=IMAGES)
    image = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    goes_on = True
    while goes_on:
        size = rng.integers(32, 65, 2)
        assert inferencer(image[: size[0], : size[1]]).label_map.shape == tuple(size)
        goes_on = watch()
    watch.check('inferencer')


KEPT: list = []


def _leak_memory():
    block = mmap.mmap(-1, 200_000)  # of the system: the heap may have pages that were freed
    block.write(bytes(200_000))
    KEPT.append(block)


def _leak_file():
    KEPT.append(os.open(os.devnull, os.O_RDONLY))


def _leak_thread():
    event = threading.Event()
    thread = threading.Thread(target=event.wait, daemon=True)
    thread.start()
    KEPT.append(event)


@pytest.mark.parametrize('leak', [_leak_memory, _leak_file, _leak_thread])
def test_a_leak_is_noticed(leak):
    watch = Watch(60)
    try:
        for _ in range(200):
            leak()
            watch()
        with pytest.raises(AssertionError):
            watch.check('leaking')
    finally:
        for kept in KEPT:
            if isinstance(kept, threading.Event):
                kept.set()
            elif isinstance(kept, int):
                os.close(kept)
        KEPT.clear()


def test_a_flat_run_passes():
    watch = Watch(60)
    for _ in range(200):
        bytearray(100_000)
        watch()
    watch.check('flat')
