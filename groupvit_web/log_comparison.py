"""Two trainings compared by what they have logged: the first value that differs, the speed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groupvit_web.training_log import TrainingLog
from groupvit_web.training_run import Series

BESIDE_LOSSES = ('grad_norm', 'lr')
"""tuple[str, ...]: Values that are compared beside the losses."""
WARM_UP = 5
"""int: First steps whose time is not counted, at most half of all."""


class Difference(NamedTuple):
    """Values of one step that differ.

    Attributes:
        step (int): The step after which they were logged.
        name (str): Their name.
        before (float): The value of the first training.
        after (float): The value of the second one.
    """

    step: int
    name: str
    before: float
    after: float


class Comparison(NamedTuple):
    """The runs of two trainings, compared by :func:`compare_runs`.

    Attributes:
        names (list[str]): Values that both trainings have logged.
        others (list[str]): Values that only one of them has logged.
        steps (int): Number of the compared steps.
        first (Difference, optional): The first difference between the trainings; None if equal.
        tolerance (float): Largest relative difference that counts as none.
        changes (list[Difference | None]): For each training, the first difference between its
            first run and a later one; None if it repeats itself.
    """

    names: list[str]
    others: list[str]
    steps: int
    first: Difference | None
    tolerance: float
    changes: list[Difference | None]

    @property
    def is_equal(self) -> bool:
        """Whether all runs of both trainings are equal."""
        return not any((self.first, *self.changes))

    def record(self) -> dict[str, object]:
        """Return the fields as JSON values; numbers that are not finite become texts."""
        first, *changes = (_record(each) for each in (self.first, *self.changes))
        fields = dict(
            names=self.names, others=self.others, steps=self.steps, tolerance=self.tolerance
        )
        return dict(is_equal=self.is_equal, **fields, first_difference=first, changes=changes)


def read_whole_log(folder: Path) -> TrainingLog:
    """Read all that was logged in a work directory.

    Raises:
        OSError: If a file or the folder cannot be read.
    """
    log = TrainingLog(folder)
    while log.update():
        pass
    return log


def compared_scalars(log: TrainingLog) -> dict[str, Series]:
    """Return the values with "loss" in their names, then ``BESIDE_LOSSES``; none without a loss."""
    losses = [name for name in log.names if 'loss' in name]
    beside = [name for name in BESIDE_LOSSES if name in log.names]
    return {name: log.series(name) for name in [*losses, *beside]} if losses else {}


def step_seconds(log: TrainingLog) -> float | None:
    """Return the median of the logged seconds of a step after ``WARM_UP``; None without any."""
    seconds = log.series('time').values
    later = seconds[min(WARM_UP, len(seconds) // 2) :]
    return float(np.median(later)) if len(later) else None


def common_names(before: Mapping[str, Series], after: Mapping[str, Series]) -> list[str]:
    """Return the names that both trainings have logged, in the order of the first.

    Raises:
        ValueError: If no loss is among them.
    """
    names = [name for name in before if name in after]
    if not any('loss' in name for name in names):
        raise ValueError('The two trainings logged no loss of the same name.')
    return names


def first_difference(
    before: Mapping[str, Series], after: Mapping[str, Series], tolerance: float = 0.0
) -> Difference | None:
    """Compare the values of two trainings step by step.

    Args:
        before (Mapping[str, Series]): Values of the first training by name.
        after (Mapping[str, Series]): Values of the second one. Names of only one are left out.
        tolerance (float): Largest difference, relative to the first value, that counts as none.
            NaN equals NaN. Defaults to 0, which accepts the same numbers only.

    Returns:
        Difference, optional: The difference at the earliest step; None if all values are equal.

    Raises:
        ValueError: If no loss is common, or a name was not logged at the same steps.

    Example:
        >>> steps = np.array([1, 2])
        >>> before = {'loss': Series(steps, np.array([8.5, 8.25]))}
        >>> after = {'loss': Series(steps, np.array([8.5, 8.0]))}
        >>> first_difference(before, after)
        Difference(step=2, name='loss', before=8.25, after=8.0)
        >>> first_difference(before, after, tolerance=0.1)
    """
    differences = []
    for name in common_names(before, after):
        one, other = before[name], after[name]
        if not np.array_equal(one.steps, other.steps):
            raise ValueError(
                f'{name} was logged at {len(one.steps)} steps, the last one {one.steps[-1]}, then '
                f'at {len(other.steps)}, the last one {other.steps[-1]}: only the same steps can '
                'be compared.'
            )
        equal = np.isclose(other.values, one.values, rtol=tolerance, atol=0, equal_nan=True)
        if not equal.all():
            at = int(equal.argmin())
            values = float(one.values[at]), float(other.values[at])
            differences.append(Difference(int(one.steps[at]), name, *values))
    return min(differences, key=lambda each: each.step, default=None)


def compare_runs(
    before: Sequence[Mapping[str, Series]],
    after: Sequence[Mapping[str, Series]],
    tolerance: float = 0.0,
) -> Comparison:
    """Compare the first runs of two trainings, and each other run with the first of its training.

    Args:
        before (Sequence[Mapping[str, Series]]): Values of each run of the first training.
        after (Sequence[Mapping[str, Series]]): Values of each run of the second one.
        tolerance (float): As of :func:`first_difference`. Defaults to 0.

    Raises:
        ValueError: As :func:`first_difference`.
    """
    names = common_names(before[0], after[0])
    changes = [
        [first_difference(runs[0], run, tolerance) for run in runs[1:]] for runs in (before, after)
    ]
    return Comparison(
        names,
        others=sorted(set(before[0]) ^ set(after[0])),
        steps=len(np.unique(np.concatenate([before[0][name].steps for name in names]))),
        first=first_difference(before[0], after[0], tolerance),
        tolerance=tolerance,
        changes=[next(filter(None, each), None) for each in changes],
    )


def _record(difference: Difference | None) -> dict[str, object] | None:
    """Return a difference as JSON values."""
    if difference is None:
        return None
    step, name, *values = difference
    numbers = [value if math.isfinite(value) else str(value) for value in values]
    return dict(step=step, name=name, before=numbers[0], after=numbers[1])
