"""Who reads what in an epoch: a pure function of the seed, the epoch and the process grid.

A *slot* is one loader worker of one rank. The plan gives every slot a number of samples of every
source, and turns those numbers into stretches of shards, so that slots never overlap.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np

from groupvit_mmseg.datasets.shards import ShardSource


class EpochPosition(NamedTuple):
    """What a sampler hands to the dataset for one sample: a place in an epoch, not an identity.

    Attributes:
        seed (int): Seed of the run.
        epoch (int): Epoch, from 0.
        offset (int): Place in this rank's epoch, in ``[start, num_samples)``.
        start (int): Place that this iteration began with; 0 unless it was resumed.
        num_samples (int): Samples per rank in an epoch, or in what is left of it.
        rank (int): This rank.
        world_size (int): Number of ranks.
        taken (tuple[tuple[int, ...], ...]): What other processes did of this epoch before, see
            :mod:`~groupvit_mmseg.datasets.epoch_remainder`; places count what they left.
    """

    seed: int
    epoch: int
    offset: int
    start: int
    num_samples: int
    rank: int
    world_size: int
    taken: tuple[tuple[int, ...], ...] = ()


class ShardRange(NamedTuple):
    """Samples ``first`` to ``stop`` (excluded) of a shard; a ``stop`` of None reads to its end."""

    shard: str
    first: int
    stop: int | None


class WorkerGrid(NamedTuple):
    """The processes that share an epoch: ranks, workers per rank, samples per batch and rank."""

    world_size: int
    num_workers: int
    batch_size: int
    num_samples: int

    def worker_quotas(self) -> list[int]:
        """Samples per worker of a rank: batch ``j`` is loaded by worker ``j mod num_workers``."""
        quotas = [0] * self.num_workers
        for batch in range(-(-self.num_samples // self.batch_size)):
            first = batch * self.batch_size
            quotas[batch % self.num_workers] += min(self.batch_size, self.num_samples - first)
        return quotas


def random_generator(*entropy: int) -> np.random.Generator:
    """A generator that depends on the given numbers only."""
    return np.random.default_rng(entropy)


def allocate(slot_quotas: Sequence[int], source_quotas: Sequence[int], *, seed: int, epoch: int):
    """Deal the samples of every source to the slots at random, like cards.

    Args:
        slot_quotas (Sequence[int]): Samples that each slot needs.
        source_quotas (Sequence[int]): Samples that each source has.
        seed (int): Seed of the run.
        epoch (int): Epoch.

    Returns:
        np.ndarray: Samples ``(slots, sources)``; rows add up to ``slot_quotas``, columns to at most
            ``source_quotas``.
    """
    rng = random_generator(seed, epoch)
    left = np.array(source_quotas, dtype=np.int64)
    dealt = np.zeros((len(slot_quotas), len(left)), dtype=np.int64)
    for slot, quota in enumerate(slot_quotas):
        dealt[slot] = rng.multivariate_hypergeometric(left, quota, method='marginals')
        left -= dealt[slot]
    return dealt


def counted_ranges(
    shards: Sequence[str], sizes: Sequence[int], start: int, stop: int, *, entropy: Sequence[int]
) -> Iterator[ShardRange]:
    """Stretches that make up places ``start`` to ``stop`` of a source's shuffled shards.

    The shards follow each other in a random order; behind the last one comes another random order
    of all of them, for a source that an epoch draws from more often than once.

    Args:
        shards (Sequence[str]): The source's shards.
        sizes (Sequence[int]): Samples of each.
        start (int): First place.
        stop (int): Place behind the last one.
        entropy (Sequence[int]): Numbers that the order depends on.

    Yields:
        ShardRange: Stretches in reading order.
    """
    total = sum(sizes)
    for lap in count(start // total):
        place = lap * total
        if place >= stop:
            return
        for index in random_generator(*entropy, lap).permutation(len(shards)):
            first, last = max(start - place, 0), min(stop - place, sizes[index])
            if first < last:
                yield ShardRange(shards[index], first, last)
            place += sizes[index]


def whole_shards(shards: Sequence[str], slot: int, num_slots: int, *, entropy: Sequence[int]):
    """Endless whole shards for one slot, of a source whose shards have unknown sizes.

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
    mine = order[slot::num_slots]
    while True:
        yield from (ShardRange(shards[index], 0, None) for index in mine)


def slot_plan(
    sources: Sequence[ShardSource],
    quotas: Sequence[int],
    draw: EpochPosition,
    slot: int,
    grid: WorkerGrid,
) -> list[tuple[int, Iterator[ShardRange]]]:
    """What one worker reads of each source in one epoch.

    Args:
        sources (Sequence[ShardSource]): The mix.
        quotas (Sequence[int]): Samples that each source gives to the epoch.
        draw (EpochPosition): Names the seed and the epoch.
        slot (int): ``rank * num_workers + worker``.
        grid (WorkerGrid): All processes.

    Returns:
        list[tuple[int, Iterator[ShardRange]]]: Number of samples and pieces, for each source.
    """
    slot_quotas = grid.worker_quotas() * grid.world_size
    dealt = allocate(slot_quotas, quotas, seed=draw.seed, epoch=draw.epoch)
    plan = []
    for index, source in enumerate(sources):
        need, start = int(dealt[slot, index]), int(dealt[:slot, index].sum())
        entropy = (draw.seed, draw.epoch, index)
        if source.sizes is None:
            pieces = whole_shards(source.shards, slot, len(slot_quotas), entropy=entropy)
        else:
            pieces = counted_ranges(
                source.shards, source.sizes, start, start + need, entropy=entropy
            )
        plan.append((need, pieces))
    return plan
