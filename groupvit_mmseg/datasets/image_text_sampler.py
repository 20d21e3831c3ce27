"""Hands out the places of an epoch to the workers of a rank."""

from collections.abc import Iterator, Sequence, Sized

from mmengine.dist import get_dist_info, sync_random_seed
from mmseg.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from groupvit_mmseg.datasets.epoch_plan import EpochPosition
from groupvit_mmseg.datasets.epoch_remainder import GridProgress, samples_left


@DATA_SAMPLERS.register_module()
class ImageTextSampler(Sampler[EpochPosition]):
    """Places of an epoch for :class:`ImageTextDataset`, equally many for every rank.

    The seed and the epoch travel with each place, so that they reach workers that are kept alive
    between epochs, and so that mmengine's loops and ``DistSamplerSeedHook`` set the epoch as they
    do for any sampler.

    Args:
        dataset (Sized): The dataset; its length is an epoch of all ranks.
        seed (int, optional): The same on every rank; mmengine passes ``randomness.seed``. Defaults
            to a random number that the ranks agree on.

    Raises:
        ValueError: If there are fewer samples than ranks.
    """

    def __init__(self, dataset: Sized, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.whole = len(dataset)
        self.num_samples = self.whole // self.world_size
        if self.num_samples == 0:
            raise ValueError(
                f'{len(dataset)} samples cannot be shared by {self.world_size} ranks: use fewer '
                'ranks or more data.'
            )
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0
        self.start = 0
        self.taken: tuple[GridProgress, ...] = ()

    def __iter__(self) -> Iterator[EpochPosition]:
        """Places from ``start`` to the end of this rank's epoch, or of what is left of it."""
        num_samples = samples_left(self.whole, self.taken) // self.world_size
        first = EpochPosition(
            seed=self.seed,
            epoch=self.epoch,
            offset=self.start,
            start=self.start,
            num_samples=num_samples,
            rank=self.rank,
            world_size=self.world_size,
            taken=self.taken,
        )
        return (first._replace(offset=place) for place in range(self.start, num_samples))

    def __len__(self) -> int:
        """Samples of this rank in a whole epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int, start: int = 0, taken: Sequence[GridProgress] = ()) -> None:
        """Choose the epoch that the next iteration reads.

        Args:
            epoch (int): Epoch, from 0.
            start (int): Samples of this rank to pass over, a multiple of the batch size, for a run
                that goes on in the middle of an epoch. Defaults to 0.
            taken (Sequence[GridProgress]): Steps that other numbers of ranks or workers
                did of the epoch before; ``start`` counts from there. Defaults to nothing.
        """
        self.epoch = epoch
        self.start = start
        self.taken = tuple(taken)
