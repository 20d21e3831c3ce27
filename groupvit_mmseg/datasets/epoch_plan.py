"""Which slot reads which samples of an epoch: a function of seed, epoch and process grid alone.

A *slot* is one loader worker of one rank, or one of the streams that its workers share
(``num_streams`` of ``ImageTextDataset``). The plan gives every slot a number of samples of every
source, and turns those numbers into ranges of shards, so that slots never overlap.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.datasets.shards import ShardSource


class EpochPosition(NamedTuple):
    """Position in an epoch: the sampler passes it to the data set instead of a sample's index.

    Attributes:
        seed (int): Seed of the run.
        epoch (int): Epoch, from 0.
        offset (int): Index of the sample in this rank's epoch, in ``[start, num_samples)``.
        start (int): Offset of the first sample of this iteration; 0 unless it was resumed.
        num_samples (int): Samples per rank in an epoch, or in the remainder of one.
        rank (int): This rank.
        world_size (int): Number of ranks.
        history (tuple[tuple[int, ...], ...]): Steps of this epoch that other processes have
            done, see :mod:`~groupvit_mmseg.datasets.epoch_remainder`; offsets count the samples
            that remain.
        batch_size (int, optional): Samples of this rank in a step; None takes them from the first
            batch, which is short if nothing follows it.
    """

    seed: int
    epoch: int
    offset: int
    start: int
    num_samples: int
    rank: int
    world_size: int
    history: tuple[tuple[int, ...], ...] = ()
    batch_size: int | None = None


class ShardRange(NamedTuple):
    """Samples ``first`` to ``stop`` (excluded) of a shard; a ``stop`` of None reads to its end."""

    shard: str
    first: int
    stop: int | None


class WorkerGrid(NamedTuple):
    """What shares an epoch: ranks, workers or streams per rank, samples per batch and rank."""

    world_size: int
    num_workers: int
    batch_size: int
    num_samples: int

    def worker_quotas(self) -> list[int]:
        """Return the samples of each worker; worker ``j mod num_workers`` loads batch ``j``."""
        quotas = [0] * self.num_workers
        for batch in range(-(-self.num_samples // self.batch_size)):
            first = batch * self.batch_size
            quotas[batch % self.num_workers] += min(self.batch_size, self.num_samples - first)
        return quotas


def random_generator(*entropy: int) -> np.random.Generator:
    """Make a generator that depends on these numbers only."""
    return np.random.default_rng(entropy)


def allocate(
    slot_quotas: Sequence[int], source_quotas: Sequence[int], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Distribute the samples of every source over the slots at random.

    Args:
        slot_quotas (Sequence[int]): Samples that each slot needs.
        source_quotas (Sequence[int]): Samples that each source has.
        seed (int): Seed of the run.
        epoch (int): Epoch.

    Returns:
        NDArray[np.int64]: Samples ``(slots, sources)``; rows add up to ``slot_quotas``,
            columns to at most ``source_quotas``.
    """
    rng = random_generator(seed, epoch)
    remaining = np.array(source_quotas, dtype=np.int64)
    counts = np.zeros((len(slot_quotas), len(remaining)), dtype=np.int64)
    for slot, quota in enumerate(slot_quotas):
        counts[slot] = rng.multivariate_hypergeometric(remaining, quota, method='marginals')
        remaining -= counts[slot]
    return counts


def counted_ranges(
    shards: Sequence[str], sizes: Sequence[int], start: int, stop: int, *, entropy: Sequence[int]
) -> Iterator[ShardRange]:
    """Yield the ranges of shards that hold samples ``start`` to ``stop`` of a shuffled source.

    The shards follow each other in a random order; after the last one comes another random order
    of all of them, for a source that an epoch reads more often than once.

    Args:
        shards (Sequence[str]): The source's shards.
        sizes (Sequence[int]): Samples of each.
        start (int): Index of the first sample.
        stop (int): Index after the last one.
        entropy (Sequence[int]): Numbers that the order depends on.

    Yields:
        ShardRange: Ranges in reading order.
    """
    total = sum(sizes)
    for lap in count(start // total):
        shard_start = lap * total
        if shard_start >= stop:
            return
        for index in random_generator(*entropy, lap).permutation(len(shards)):
            first, last = max(start - shard_start, 0), min(stop - shard_start, sizes[index])
            if first < last:
                yield ShardRange(shards[index], first, last)
            shard_start += sizes[index]


def whole_shards(
    shards: Sequence[str], slot: int, num_slots: int, *, entropy: Sequence[int]
) -> Iterator[ShardRange]:
    """Yield whole shards without end for one slot, from a source of unknown sizes.

    Slot ``k`` gets shards ``k, k + num_slots, ...`` of a random order, and starts over with the
    same ones when they are used up.

    Args:
        shards (Sequence[str]): The source's shards, at least as many as slots.
        slot (int): This slot.
        num_slots (int): Number of slots.
        entropy (Sequence[int]): Numbers that the order depends on.

    Yields:
        ShardRange: Whole shards in reading order.
    """
    order = random_generator(*entropy, 0).permutation(len(shards))
    own_indices = order[slot::num_slots]
    while True:
        yield from (ShardRange(shards[index], 0, None) for index in own_indices)


def slot_plan(
    sources: Sequence[ShardSource],
    quotas: Sequence[int],
    position: EpochPosition,
    slot: int,
    grid: WorkerGrid,
) -> list[tuple[int, Iterator[ShardRange]]]:
    """List the ranges that one worker reads of each source in one epoch.

    Args:
        sources (Sequence[ShardSource]): The mix.
        quotas (Sequence[int]): Samples that each source gives to the epoch.
        position (EpochPosition): Gives the seed and the epoch.
        slot (int): ``rank * num_workers + worker``.
        grid (WorkerGrid): All processes.

    Returns:
        list[tuple[int, Iterator[ShardRange]]]: Number of samples and their ranges, per source.
    """
    slot_quotas = grid.worker_quotas() * grid.world_size
    counts = allocate(slot_quotas, quotas, seed=position.seed, epoch=position.epoch)
    plan = []
    for index, source in enumerate(sources):
        need, start = int(counts[slot, index]), int(counts[:slot, index].sum())
        entropy = (position.seed, position.epoch, index)
        if source.sizes is None:
            ranges = whole_shards(source.shards, slot, len(slot_quotas), entropy=entropy)
        else:
            ranges = counted_ranges(
                source.shards, source.sizes, start, start + need, entropy=entropy
            )
        plan.append((need, ranges))
    return plan
