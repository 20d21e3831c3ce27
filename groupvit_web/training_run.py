"""One run of a pretraining: what mmengine has logged in the folder of a time stamp so far."""

from __future__ import annotations

import json
import re
from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_web.growing_file import GrowingFile

STAMP = re.compile(r'\d{8}_\d{6}')
SCALARS = 'vis_data/scalars.json'
PICTURES = 'vis_data/vis_image'
POSITION = ('step', 'iter', 'epoch')
TIMES = ('time', 'data_time')
"""tuple[str, ...]: Entries of a validation that are no scores."""
READ_AT_ONCE = 16 << 20
"""int: Bytes of each file that an update reads, about a second's work."""
LARGEST = 1 << 53
"""int: Integers below are exact as floats; no step is larger."""

_TOTAL_STEPS = re.compile(r'\btotal_steps: (\d+)$')
_STEPS_PER_EPOCH = re.compile(r'\bsteps_per_epoch: (\d+)$')
_TIME_LEFT = re.compile(r'\((?:train)\).* eta: (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)\b')
_WARNING = re.compile(r' - WARNING - (.+)$')
_PICTURE = re.compile(r'(group_map_\d+)_(\d+)\.png')


class Series(NamedTuple):
    """A logged value over the steps.

    Attributes:
        steps (NDArray): int64 ``(N,)``, in ascending order.
        values (NDArray): float64 ``(N,)``; may be NaN or infinite.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


class Validation(NamedTuple):
    """Scores of a validation after a training step, by name, in the units of the evaluator."""

    step: int
    scores: dict[str, float]


class Picture(NamedTuple):
    """A picture of ``GroupMapHook``: the step it was drawn after, its name and its file."""

    step: int
    name: str
    path: Path


class TrainingRun:
    """Reads one run incrementally; :meth:`update` reads what was appended.

    Args:
        folder (Path): Folder of the run, ``WORK_DIR/TIMESTAMP``.

    Attributes:
        unreadable_lines (int): Complete lines of the log that are no JSON objects.
        total_steps (int, optional): Steps of the whole training, once the run has logged it.
        steps_per_epoch (int, optional): The same for an epoch.
        seconds_left (int, optional): mmengine's latest estimate.
        warnings (dict[str, None]): Different warnings in the order in which they were logged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scalars = GrowingFile(folder / SCALARS)
        self._text = GrowingFile(folder / f'{folder.name}.log')
        self._clear_scalars()
        self.total_steps: int | None = None
        self.steps_per_epoch: int | None = None
        self.seconds_left: int | None = None
        self.warnings: dict[str, None] = {}

    def _clear_scalars(self) -> None:
        """Forget what was read."""
        self._steps: dict[str, array[int]] = {}
        self._values: dict[str, array[float]] = {}
        self._validations: list[tuple[int, int, dict[str, float]]] = []  # position, step before
        self._positions: list[int] = []  # the first two logged steps and the last
        self._counts_epochs = False
        self.unreadable_lines = 0

    @property
    def name(self) -> str:
        """The time stamp."""
        return self.folder.name

    @property
    def names(self) -> list[str]:
        """Names of the logged values, in the order in which they appeared."""
        return list(self._values)

    @property
    def unread(self) -> int:
        """Bytes of the log that the next updates will read."""
        return self._scalars.unread

    @property
    def last_step(self) -> int:
        """The last step that was logged, 0 before the first."""
        return self._positions[-1] if self._positions else 0

    @property
    def interval(self) -> int:
        """Steps between the first two entries, 0 before the second."""
        return self._positions[1] - self._positions[0] if len(self._positions) > 1 else 0

    @property
    def first_own_step(self) -> int | None:
        """The step from which this run replaces earlier ones; None before its first entry.

        That is 0 for a run that began a training: its first entry comes no later than the
        distance to its second. A resumed run begins later.
        """
        if not self._positions:
            return None
        return self._positions[0] if self._positions[0] > max(self.interval, 1) else 0

    def modified(self) -> float | None:
        """Return the time of the last entry in seconds of the epoch; None without a log."""
        try:
            return (self.folder / SCALARS).stat().st_mtime
        except FileNotFoundError:
            return None

    def series(self, name: str) -> Series:
        """Return a logged value; empty if there is none of this name."""
        steps, values = self._steps.get(name, ()), self._values.get(name, ())
        return Series(np.array(steps, np.int64), np.array(values, np.float64))

    def validations(self) -> list[Validation]:
        """Return the validations in their order.

        Runs by epochs log the epoch: its last step is known once the length of an epoch is.
        """
        if not self._counts_epochs:
            return [Validation(step, scores) for step, _, scores in self._validations]
        length = self.steps_per_epoch
        return [
            Validation(epoch * length if length else step_before, scores)
            for epoch, step_before, scores in self._validations
        ]

    def pictures(self) -> list[Picture]:
        """Return the pictures of groups by step and name."""
        try:
            paths = list((self.folder / PICTURES).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        matches = ((path, _PICTURE.fullmatch(path.name)) for path in paths)
        return sorted(Picture(int(m[2]), m[1], path) for path, m in matches if m)

    def update(self) -> bool:
        """Read what was appended since the last call, at most 16 MiB of each file.

        Returns:
            bool: Whether there was anything.

        Raises:
            OSError: If a file exists and cannot be read.
        """
        before = self._scalars.offset, self._text.offset
        if self._text.path.is_file():
            for line in self._text.new_lines(READ_AT_ONCE):
                self._add_text(line)
        if self._scalars.path.is_file():
            if self._scalars.was_replaced():
                self._clear_scalars()
            for line in self._scalars.new_lines(READ_AT_ONCE):
                self._add_scalars(line)
        return before != (self._scalars.offset, self._text.offset)

    def _add_text(self, line: str) -> None:
        """Take the length of the training, the time left and warnings from a line of the log."""
        if match := _TIME_LEFT.search(line):
            days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
            self.seconds_left = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        elif match := _TOTAL_STEPS.search(line):
            self.total_steps = int(match[1])
        elif match := _STEPS_PER_EPOCH.search(line):
            self.steps_per_epoch = int(match[1])
        elif match := _WARNING.search(line):
            self.warnings[match[1]] = None

    def _add_scalars(self, line: str) -> None:
        """Add an entry of the log: values after a training step, or scores of a validation."""
        if not line.strip():
            return
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        position = _position(entry)
        if position is None:
            self.unreadable_lines += 1
            return
        numbers = {name: float(value) for name, value in entry.items() if _is_number(value)}
        for name in POSITION:
            numbers.pop(name, None)
        if 'iter' in entry:
            self._add_values(position, numbers)
            self._counts_epochs |= 'epoch' in entry
        elif scores := {name: value for name, value in numbers.items() if name not in TIMES}:
            self._validations.append((position, self.last_step, scores))

    def _add_values(self, step: int, values: dict[str, float]) -> None:
        """Add the values of a training step."""
        self._positions = [*self._positions[:2], step]
        for name, value in values.items():
            self._steps.setdefault(name, array('q')).append(step)
            self._values.setdefault(name, array('d')).append(value)


def _position(entry: object) -> int | None:
    """Return the step or epoch of an entry; None if it has none."""
    step = entry.get('step') if isinstance(entry, dict) else None
    return step if isinstance(step, int) and 0 <= step < LARGEST else None


def _is_number(value: object) -> bool:
    """Return whether a value of JSON is a number that a float can hold."""
    return isinstance(value, float) or (
        isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST
    )
