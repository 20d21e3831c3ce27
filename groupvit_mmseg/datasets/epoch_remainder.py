"""The remainder of an epoch that other processes began, and which slot reads which part of it.

A run that is resumed in the middle of an epoch with another number of ranks or workers has to read
the samples that the earlier processes did not. The remainders of their slots, one after the other,
are cut into equal parts for the slots of the resumed run.
"""

from collections.abc import Sequence
from typing import NamedTuple

from groupvit_mmseg.datasets.epoch_plan import WorkerGrid


class GridProgress(NamedTuple):
    """Steps of an epoch that processes of some grid have done.

    Attributes:
        world_size (int): Ranks.
        num_workers (int): Loader workers of each rank, or its streams, at least 1.
        batch_size (int): Samples per step and rank.
        steps (int): Steps done.
    """

    world_size: int
    num_workers: int
    batch_size: int
    steps: int

    def same_grid(self, other: 'GridProgress') -> bool:
        """Return whether both were done by equally many ranks and workers with equal batches."""
        return self[:3] == other[:3]


class SlotRange(NamedTuple):
    """Samples ``first`` to ``stop`` (excluded) of a slot of an earlier grid."""

    slot: int
    first: int
    stop: int


def samples_left(num_samples: int, history: Sequence[GridProgress]) -> int:
    """Count the samples of an epoch that remain for all ranks of the next grid.

    Args:
        num_samples (int): Samples of the whole epoch over all ranks.
        history (Sequence[GridProgress]): Steps done of it, grid after grid.

    Returns:
        int: Samples over all ranks.
    """
    for grid, steps in grids_in_turn(num_samples, history):
        num_samples = grid.world_size * max(grid.num_samples - steps * grid.batch_size, 0)
    return num_samples


def grids_in_turn(
    num_samples: int, history: Sequence[GridProgress]
) -> list[tuple[WorkerGrid, int]]:
    """List the grids that read an epoch and the steps of each.

    Args:
        num_samples (int): Samples of the whole epoch over all ranks.
        history (Sequence[GridProgress]): Steps done of it, grid after grid.

    Returns:
        list[tuple[WorkerGrid, int]]: Grids, whose samples per rank are those that remained.
    """
    grids = []
    for world_size, num_workers, batch_size, steps in history:
        grid = WorkerGrid(world_size, num_workers, batch_size, num_samples // world_size)
        grids.append((grid, steps))
        num_samples = world_size * max(grid.num_samples - steps * batch_size, 0)
    return grids


def slot_ranges(earlier: WorkerGrid, steps: int, grid: WorkerGrid, slot: int) -> list[SlotRange]:
    """List the samples of an earlier grid's slots that a slot reads.

    Args:
        earlier (WorkerGrid): The earlier grid.
        steps (int): Steps that it did.
        grid (WorkerGrid): The grid that continues.
        slot (int): A slot of it: ``rank * num_workers + worker``.

    Returns:
        list[SlotRange]: Ranges in reading order.
    """
    quotas = grid.worker_quotas() * grid.world_size
    start, stop = sum(quotas[:slot]), sum(quotas[: slot + 1])
    earlier_quotas = earlier.worker_quotas() * earlier.world_size
    counts_read = _samples_read(earlier, steps) * earlier.world_size
    offset, ranges = 0, []
    for index, (quota, num_read) in enumerate(zip(earlier_quotas, counts_read, strict=True)):
        first, last = max(start - offset, 0), min(stop - offset, quota - num_read)
        if first < last:
            ranges.append(SlotRange(index, num_read + first, num_read + last))
        offset += quota - num_read
    return ranges


def _samples_read(grid: WorkerGrid, steps: int) -> list[int]:
    """Count the samples that each worker of a rank has read after some steps."""
    return grid._replace(num_samples=min(steps * grid.batch_size, grid.num_samples)).worker_quotas()
