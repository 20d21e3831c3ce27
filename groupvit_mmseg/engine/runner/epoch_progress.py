"""EpochProgress: the steps of an epoch that are done, written to and read from checkpoints."""

from torch.utils.data import DataLoader

from groupvit_mmseg.checkpoints.types import CheckpointMeta
from groupvit_mmseg.datasets.epoch_remainder import GridProgress
from groupvit_mmseg.datasets.image_text_hook import image_text_dataset_of
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler


class EpochProgress:
    """Progress of a run in its current epoch, which its training loop updates.

    Args:
        loader (DataLoader): Loader of the batches of an epoch.
        world_size (int): Number of ranks of this run.

    Attributes:
        history (tuple[GridProgress, ...]): Steps of this epoch that were done before this process
            began it, by each grid of processes.
        first_iter (int): Iteration at which this process began the epoch.
    """

    def __init__(self, loader: DataLoader, *, world_size: int) -> None:
        self.loader = loader
        self.world_size = world_size
        self.history: tuple[GridProgress, ...] = ()
        self.first_iter = 0

    @property
    def sampler(self) -> ImageTextSampler | None:
        """The sampler, which can begin an epoch at any step; None if it is of another kind."""
        sampler = getattr(self.loader, 'sampler', None)
        return sampler if isinstance(sampler, ImageTextSampler) else None

    @property
    def steps_before(self) -> int:
        """Number of steps of this epoch that were done before this process began it."""
        return sum(grid.steps for grid in self.history)

    def enter(self, iteration: int, history: tuple[GridProgress, ...] = ()) -> None:
        """Begin an epoch at an iteration, possibly after steps that others have done."""
        self.first_iter, self.history = iteration, history

    def state_dict(self, iteration: int) -> CheckpointMeta:
        """Return the progress as entries of a checkpoint's ``meta``.

        Args:
            iteration (int): Iterations done by the run at the time of the checkpoint.

        Returns:
            CheckpointMeta: ``taken``, the steps done by each grid of processes in order (see
            :class:`~groupvit_mmseg.datasets.epoch_remainder.GridProgress`), and ``data_seed``, the
            seed of the order of samples, None if the sampler is of another kind.
        """
        seed = None if self.sampler is None else self.sampler.seed
        return {'taken': [list(grid) for grid in self._grids_at(iteration)], 'data_seed': seed}

    def resume(self, meta: CheckpointMeta, iteration: int, steps: int) -> None:
        """Restore the progress from a checkpoint.

        Args:
            meta (CheckpointMeta): Entries of :meth:`state_dict`, which checkpoints of mmengine's
                own Runner do not have.
            iteration (int): Iterations done by the run at the time of the checkpoint.
            steps (int): Those in the current epoch, for checkpoints without these entries.

        Raises:
            ValueError: If a part of the epoch was done in steps with another number of pairs.
        """
        if 'taken' in meta:
            history = tuple(GridProgress(*fields) for fields in meta['taken'])
        else:
            history = (self._own_grid(steps),) if steps > 0 else ()
        self.enter(iteration, history)
        seed = meta.get('data_seed')
        if self.sampler is not None and seed is not None:
            self.sampler.seed = int(seed)
        self._check_step_size()

    def batches(self, epoch: int) -> DataLoader:
        """Return the loader, set to begin after the steps that are done.

        Args:
            epoch (int): The epoch, counted from 0.

        Returns:
            DataLoader: Loader of the remaining batches of the epoch.

        Raises:
            ValueError: If steps are done and the sampler cannot begin after them.
        """
        if self.sampler is not None:
            own = self._own_grid(0)
            *before, last = self.history or [own]
            if last.same_grid(own):
                self.sampler.set_epoch(epoch, last.steps * own.batch_size, before, own.batch_size)
            else:
                self.sampler.set_epoch(epoch, 0, self.history, own.batch_size)
        elif self.steps_before:
            raise ValueError(
                f'A {type(self.loader.sampler).__name__} cannot begin in the middle of an epoch: '
                'use an ImageTextSampler, or resume from a checkpoint of the end of an epoch.'
            )
        return self.loader

    def _grids_at(self, iteration: int) -> tuple[GridProgress, ...]:
        """Return the steps of the epoch done by each grid up to an iteration."""
        now = self._own_grid(iteration - self.first_iter)
        if self.history and self.history[-1].same_grid(now):
            *before, last = self.history
            return (*before, now._replace(steps=now.steps + last.steps))
        return (*self.history, now) if now.steps else self.history

    def _own_grid(self, steps: int) -> GridProgress:
        """Make the progress of this run's processes."""
        workers, dataset = max(self.loader.num_workers, 1), image_text_dataset_of(self.loader)
        if dataset is not None:
            workers = dataset.count_streams(workers)
        return GridProgress(self.world_size, workers, self.loader.batch_size or 1, steps)

    def _check_step_size(self) -> None:
        """Refuse steps of another size in the epoch: steps count samples only if all are equal."""
        own = self._own_grid(0)
        for grid in self.history:
            if grid.world_size * grid.batch_size != own.world_size * own.batch_size:
                raise ValueError(
                    'The checkpoint is from the middle of an epoch with steps of '
                    f'{grid.world_size} x {grid.batch_size} pairs, this run has '
                    f'{own.world_size} x {own.batch_size}: choose '
                    '`train_dataloader.batch_size` so that the product is the same.'
                )
