"""What is left of an epoch that other processes began, and who reads it now.

A run that goes on in the middle of an epoch with another number of ranks or workers has to read
those samples that the earlier processes did not. Their slots are replayed: what is left of them,
one behind the other, is cut into equal parts for the slots of today.
"""

from collections.abc import Sequence
from typing import NamedTuple

from groupvit_mmseg.datasets.epoch_plan import WorkerGrid


class GridProgress(NamedTuple):
    """Steps of an epoch that processes of some grid have done.

    Attributes:
        world_size (int): Ranks.
        num_workers (int): Loader workers of each rank, at least 1.
        batch_size (int): Samples per step and rank.
        steps (int): Steps done.
    """

    world_size: int
    num_workers: int
    batch_size: int
    steps: int

    def same_grid(self, other: 'GridProgress') -> bool:
        """Whether both were done by equally many ranks and workers with equal batches."""
        return self[:3] == other[:3]


class SlotRange(NamedTuple):
    """Samples ``first`` to ``stop`` (excluded) of what a slot of an earlier grid reads."""

    slot: int
    first: int
    stop: int


def samples_left(num_samples: int, taken: Sequence[GridProgress]) -> int:
    """Samples of an epoch that are left to all ranks of the next grid.

    Args:
        num_samples (int): Samples of the whole epoch over all ranks.
        taken (Sequence[GridProgress]): What was done of it, in turn.

    Returns:
        int: Samples over all ranks.
    """
    for grid, steps in grids_in_turn(num_samples, taken):
        num_samples = grid.world_size * max(grid.num_samples - steps * grid.batch_size, 0)
    return num_samples


def grids_in_turn(num_samples: int, taken: Sequence[GridProgress]) -> list[tuple[WorkerGrid, int]]:
    """The grids that an epoch was read by and the steps that each did.

    Args:
        num_samples (int): Samples of the whole epoch over all ranks.
        taken (Sequence[GridProgress]): What was done of it, in turn.

    Returns:
        list[tuple[WorkerGrid, int]]: Grids with the samples that each rank had before it.
    """
    grids = []
    for world_size, num_workers, batch_size, steps in taken:
        grid = WorkerGrid(world_size, num_workers, batch_size, num_samples // world_size)
        grids.append((grid, steps))
        num_samples = world_size * max(grid.num_samples - steps * batch_size, 0)
    return grids


def stretches(before: WorkerGrid, steps: int, grid: WorkerGrid, slot: int) -> list[SlotRange]:
    """What a slot reads of the slots of the grid before.

    Args:
        before (WorkerGrid): The grid before.
        steps (int): Steps that it did.
        grid (WorkerGrid): The grid that goes on.
        slot (int): A slot of it: ``rank * num_workers + worker``.

    Returns:
        list[SlotRange]: Stretches in reading order.
    """
    quotas = grid.worker_quotas() * grid.world_size
    start, stop = sum(quotas[:slot]), sum(quotas[: slot + 1])
    all_of_them = before.worker_quotas() * before.world_size
    read = _read_per_worker(before, steps) * before.world_size
    place, found = 0, []
    for index, (whole, done) in enumerate(zip(all_of_them, read, strict=True)):
        first, last = max(start - place, 0), min(stop - place, whole - done)
        if first < last:
            found.append(SlotRange(index, done + first, done + last))
        place += whole - done
    return found


def _read_per_worker(grid: WorkerGrid, steps: int) -> list[int]:
    """Samples that each worker of a rank has given after some steps."""
    return grid._replace(num_samples=min(steps * grid.batch_size, grid.num_samples)).worker_quotas()
