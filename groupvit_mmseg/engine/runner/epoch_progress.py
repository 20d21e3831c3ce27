"""Which steps of an epoch are done: what a checkpoint notes, and where a resumed run begins."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader

from groupvit_mmseg.datasets.epoch_remainder import GridProgress
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler


class EpochProgress:
    """The place of a run in its current epoch, kept by a training loop.

    Args:
        loader (DataLoader): Gives the steps of an epoch.
        world_size (int): Ranks of this run.
    """

    def __init__(self, loader: DataLoader, *, world_size: int) -> None:
        self.loader = loader
        self.world_size = world_size
        self.taken: tuple[
            GridProgress, ...
        ] = ()  # done of this epoch before this process began on it
        self.first_iter = 0  # iteration at which this process began on it

    @property
    def sampler(self) -> ImageTextSampler | None:
        """The sampler that can begin an epoch at any step; None if the loader has another one."""
        sampler = getattr(self.loader, 'sampler', None)
        return sampler if isinstance(sampler, ImageTextSampler) else None

    @property
    def steps_before(self) -> int:
        """Steps of this epoch that were done before this process began on it."""
        return sum(steps.steps for steps in self.taken)

    def enter(self, iteration: int, taken: tuple[GridProgress, ...] = ()) -> None:
        """Begin on an epoch, of which something may be done already, at an iteration."""
        self.first_iter, self.taken = iteration, taken

    def state_dict(self, iteration: int) -> dict[str, Any]:
        """What a checkpoint says of the place.

        Args:
            iteration (int): Steps of the run that the checkpoint knows.

        Returns:
            dict: ``taken``, what was done of the epoch by which grids of processes in turn (see
            :class:`~groupvit_mmseg.datasets.epoch_remainder.GridProgress`), and ``data_seed``, that
            the order of samples depends on, None where a sampler of another kind decides it.
        """
        seed = None if self.sampler is None else self.sampler.seed
        return dict(taken=[list(steps) for steps in self._taken_at(iteration)], data_seed=seed)

    def resume(self, meta: Mapping[str, Any], iteration: int, steps: int) -> None:
        """Go on from what a checkpoint says.

        Args:
            meta (Mapping): What :meth:`state_dict` gave; older checkpoints lack it.
            iteration (int): Steps of the run that the checkpoint knows.
            steps (int): Steps of them in the current epoch, for older checkpoints.

        Raises:
            ValueError: If some of the epoch is done in steps of another number of pairs.
        """
        taken = meta.get('taken')
        if taken is None:
            taken = [self._here(steps)] if steps > 0 else []
        self.enter(iteration, tuple(GridProgress(*steps) for steps in taken))
        if self.sampler is not None and meta.get('data_seed') is not None:
            self.sampler.seed = int(meta['data_seed'])
        self._check_step_size()

    def batches(self, epoch: int) -> DataLoader:
        """The loader, set to begin behind the steps that are done.

        Args:
            epoch (int): The epoch, from 0.

        Returns:
            DataLoader: Gives the rest of the epoch.

        Raises:
            ValueError: If steps are done and the sampler cannot begin behind them.
        """
        if self.sampler is not None:
            *before, last = self.taken or [self._here(0)]
            if last.same_grid(self._here(0)):
                self.sampler.set_epoch(epoch, last.steps * last.batch_size, before)
            else:
                self.sampler.set_epoch(epoch, 0, self.taken)
        elif self.steps_before:
            raise ValueError(
                f'A {type(self.loader.sampler).__name__} cannot begin in the middle of an epoch: '
                'use an ImageTextSampler, or resume from a checkpoint of the end of an epoch.'
            )
        return self.loader

    def _taken_at(self, iteration: int) -> tuple[GridProgress, ...]:
        """What was done of the epoch up to an iteration."""
        now = self._here(iteration - self.first_iter)
        if self.taken and self.taken[-1].same_grid(now):
            *before, last = self.taken
            return (*before, now._replace(steps=now.steps + last.steps))
        return (*self.taken, now) if now.steps else self.taken

    def _here(self, steps: int) -> GridProgress:
        """Steps done by the processes of this run."""
        workers = max(self.loader.num_workers, 1)
        return GridProgress(self.world_size, workers, self.loader.batch_size or 1, steps)

    def _check_step_size(self) -> None:
        """In the middle of an epoch, steps count samples only if all steps are of one size."""
        here = self._here(0)
        for there in self.taken:
            if there.world_size * there.batch_size != here.world_size * here.batch_size:
                raise ValueError(
                    'The checkpoint is from the middle of an epoch with steps of '
                    f'{there.world_size} x {there.batch_size} pairs, this run has '
                    f'{here.world_size} x {here.batch_size}: choose '
                    '`train_dataloader.batch_size` so that the product stays.'
                )
