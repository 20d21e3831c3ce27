"""What a run is (once, at its start), how fast it goes, and its random numbers (every step)."""

import resource
import sys
from typing import Any

import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Log what determines a result: seed, effective batch, sample counts, steps, learning rate.

    GroupViT loses about 5 mIoU at half the batch; whoever compares two runs looks here first.
    """

    priority = 'LOWEST'

    def before_train(self, runner: Any) -> None:
        """Log the summary and keep its numbers in the message hub."""
        summary = self.summary(runner)
        runner.message_hub.update_info('run_summary', summary)
        lines = '\n'.join(f'    {name}: {value}' for name, value in summary.items())
        runner.logger.info(f'This run:\n{lines}')

    @staticmethod
    def summary(runner: Any) -> dict[str, Any]:
        """Numbers of a run.

        Args:
            runner (Runner): A runner about to train.

        Returns:
            dict: ``seed``; ``ranks``, ``batch_per_rank``, ``accumulated_steps`` and their product
            ``effective_batch`` (contrastive negatives come from ``ranks * batch_per_rank``);
            ``samples_per_epoch`` (None if the data set does not know), ``steps_per_epoch``,
            ``total_steps``, ``total_samples``; ``peak_lr``, ``precision``, ``parameters``.
        """
        loader, wrapper = runner.train_dataloader, runner.optim_wrapper
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


def _length(sized: Any) -> int | None:
    """``len``, or None where there is none."""
    try:
        return len(sized)
    except TypeError:
        return None


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs ``samples_per_s`` over all ranks, data loading included, and ``host_memory``.

    ``host_memory`` is the most that this process has held, in MiB, without its loader workers;
    mmengine logs a GPU's memory as ``memory``.

    Args:
        window (int): Steps over which the time is averaged. Defaults to 20.
    """

    priority = 55  # after IterTimerHook (50) has measured, before LoggerHook (60) prints

    def __init__(self, window: int = 20) -> None:
        self.window = window

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Turn the timer's seconds per step into samples per second; note the memory."""
        batch = len(data_batch['inputs']) * runner.world_size
        seconds = runner.message_hub.get_scalar('train/time').mean(self.window)
        runner.message_hub.update_scalar('train/samples_per_s', batch / float(seconds))
        runner.message_hub.update_scalar('train/host_memory', peak_host_memory())


def peak_host_memory() -> float:
    """Largest resident size of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Makes a step's random numbers a function of (seed, rank, iteration).

    Gumbel noise and drop path then differ between ranks, which mmengine seeds alike, do not depend
    on what an evaluation drew, and a resumed run draws what the uninterrupted one would have.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Seed torch's generators on all devices."""
        torch.manual_seed(step_seed(runner.seed, runner.rank, runner.iter))


def step_seed(seed: int, rank: int, iteration: int) -> int:
    """A seed of 63 bits, another one for each rank and iteration.

    Args:
        seed (int): The run's seed.
        rank (int): Rank, below 65,536.
        iteration (int): Steps done so far.

    Returns:
        int: The seed.
    """
    return ((seed * 1_000_003 + iteration) * 65_536 + rank) % 2**63
