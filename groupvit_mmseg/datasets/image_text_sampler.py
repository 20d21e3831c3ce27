"""The positions of an epoch for the workers of a rank."""

from collections.abc import Iterator, Sequence, Sized

from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from groupvit_mmseg.datasets.epoch_plan import EpochPosition
from groupvit_mmseg.datasets.epoch_remainder import GridProgress, samples_left


@DATA_SAMPLERS.register_module()
class ImageTextSampler(Sampler[EpochPosition]):
    """Positions of an epoch for :class:`ImageTextDataset`, equally many for every rank.

    Each position holds the seed and the epoch, so that they reach persistent workers, and so that
    mmengine's loops and ``DistSamplerSeedHook`` set the epoch as they do for any sampler.

    Args:
        dataset (Sized): The dataset; its length is an epoch of all ranks.
        seed (int, optional): The same on every rank; mmengine passes ``randomness.seed``. Defaults
            to a random number that the ranks agree on.

    Raises:
        ValueError: If there are fewer samples than ranks.

    Example:
        >>> sampler = ImageTextSampler(range(8), seed=0)  # any data set of 8 samples
        >>> sampler.set_epoch(2, start=6)  # a run that resumes after six samples
        >>> [(position.epoch, position.offset) for position in sampler]
        [(2, 6), (2, 7)]
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.epoch_length = len(dataset)
        self.num_samples = self.epoch_length // self.world_size
        if self.num_samples == 0:
            raise ValueError(
                f'{len(dataset)} samples cannot be shared by {self.world_size} ranks: use fewer '
                'ranks or more data.'
            )
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.start = 0
        self.history: tuple[GridProgress, ...] = ()
        self.batch_size: int | None = None

    def __iter__(self) -> Iterator[EpochPosition]:
        """Yield positions from ``start`` to the end of this rank's epoch, or of its remainder."""
        num_samples = samples_left(self.epoch_length, self.history) // self.world_size
        first = EpochPosition(
            seed=self.seed,
            epoch=self.epoch,
            offset=self.start,
            start=self.start,
            num_samples=num_samples,
            rank=self.rank,
            world_size=self.world_size,
            history=self.history,
            batch_size=self.batch_size,
        )
        return (first._replace(offset=offset) for offset in range(self.start, num_samples))

    def __len__(self) -> int:
        """Count the samples of this rank in a whole epoch."""
        return self.num_samples

    def set_epoch(
        self,
        epoch: int,
        start: int = 0,
        history: Sequence[GridProgress] = (),
        batch_size: int | None = None,
    ) -> None:
        """Choose the epoch that the next iteration reads.

        Args:
            epoch (int): Epoch, from 0.
            start (int): Samples of this rank to skip, a multiple of the batch size, for a run that
                is resumed in the middle of an epoch. Defaults to 0.
            history (Sequence[GridProgress]): Steps of the epoch that other numbers of ranks or
                workers have done; ``start`` counts from there. Defaults to none.
            batch_size (int, optional): Samples of this rank in a step. Needed for an epoch that is
                resumed before its last, short step. Defaults to the samples of the first step.
        """
        self.epoch = epoch
        self.start = start
        self.history = tuple(history)
        self.batch_size = batch_size
