"""Hooks that log a run's settings and its speed, and seed every step."""

import resource
import sys
from collections.abc import Sized

import torch
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from groupvit_mmseg.engine.optimizers.optimizer_check import built_optim_wrapper


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Logs the settings that determine a result: seed, batch, sample counts, steps, learning rate.

    Compare them before the results of two runs: GroupViT loses about 5 mIoU at half the batch.

    Example:
        >>> custom_hooks = [dict(type='RunSummaryHook')]
    """

    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        """Log the settings and store them in the message hub as ``run_summary``."""
        summary = self.summary(runner)
        runner.message_hub.update_info('run_summary', summary)
        lines = '\n'.join(f'    {name}: {value}' for name, value in summary.items())
        runner.logger.info(f'Settings that determine the result:\n{lines}')

    @staticmethod
    def summary(runner: Runner) -> dict[str, int | float | str | None]:
        """Return the settings that determine a run's result.

        Args:
            runner (Runner): A runner about to train.

        Returns:
            dict: ``seed``; ``ranks``, ``batch_per_rank``, ``accumulated_steps`` and their product
            ``effective_batch`` (contrastive negatives come from ``ranks * batch_per_rank``);
            ``samples_per_epoch`` (None if the data set has no length), ``steps_per_epoch``,
            ``total_steps``, ``total_samples``; ``peak_lr``, ``precision``, ``parameters``.
        """
        loader, wrapper = runner.train_dataloader, built_optim_wrapper(runner)
        accumulated = wrapper._accumulative_counts
        batch = loader.batch_size * runner.world_size
        return {
            'seed': runner.seed,
            'ranks': runner.world_size,
            'batch_per_rank': loader.batch_size,
            'accumulated_steps': accumulated,
            'effective_batch': batch * accumulated,
            'samples_per_epoch': _length(loader.dataset),
            'steps_per_epoch': _length(loader),
            'total_steps': runner.max_iters,
            'total_samples': runner.max_iters * batch,
            'peak_lr': max(g.get('initial_lr', g['lr']) for g in wrapper.optimizer.param_groups),
            'precision': str(getattr(wrapper, 'dtype', 'float32')).removeprefix('torch.'),
            'parameters': sum(p.numel() for p in runner.model.parameters() if p.requires_grad),
        }


def _length(sized: Sized) -> int | None:
    """Return the length of a loader or a data set, None if it has none."""
    try:
        return len(sized)
    except TypeError:
        return None


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``samples_per_s`` over all ranks, data loading included, and ``host_memory``.

    ``host_memory`` is the peak memory of this process in MiB, without its loader workers; mmengine
    logs the memory of a GPU as ``memory``.

    Args:
        window (int): Steps over which the time is averaged. Defaults to 20.

    Example:
        >>> custom_hooks = [dict(type='ThroughputHook', window=50)]
    """

    # After IterTimerHook (50) has measured, before LoggerHook (60) prints.
    priority = 55  # type: ignore[assignment]  # mmengine infers str, and accepts an int

    def __init__(self, window: int = 20) -> None:
        self.window = window

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Convert the timer's seconds per step to samples per second; log the memory."""
        assert isinstance(data_batch, dict)
        batch = len(data_batch['inputs']) * runner.world_size
        seconds = runner.message_hub.get_scalar('train/time').mean(self.window)
        runner.message_hub.update_scalar('train/samples_per_s', batch / float(seconds))
        runner.message_hub.update_scalar('train/host_memory', peak_host_memory())


def peak_host_memory() -> float:
    """Return the peak resident size of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Makes a step's random numbers a function of (seed, rank, iteration).

    Gumbel noise and drop path then differ between ranks, which mmengine seeds alike, do not depend
    on the random numbers that an evaluation used, and are the same in a resumed run as in an
    uninterrupted one.

    Example:
        >>> custom_hooks = [dict(type='StepSeedHook')]
    """

    priority = 'VERY_HIGH'

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Seed torch's generators on all devices."""
        torch.manual_seed(step_seed(runner.seed, runner.rank, runner.iter))


def step_seed(seed: int, rank: int, iteration: int) -> int:
    """Compute a seed of 63 bits that is different for each rank and iteration.

    Args:
        seed (int): The run's seed.
        rank (int): Rank, below 65,536.
        iteration (int): Iterations done.
    """
    return ((seed * 1_000_003 + iteration) * 65_536 + rank) % 2**63
