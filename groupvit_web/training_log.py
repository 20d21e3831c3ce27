"""A pretraining as its work directory shows it while it runs: curves, pictures, time left.

A work directory has a folder for every run. A resumed run repeats the steps after its checkpoint;
its values replace those of earlier runs from there on. A run that begins a training replaces all.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groupvit_web.training_run import SCALARS, STAMP, Picture, Series, TrainingRun, Validation

MIN_ENTROPY, MAX_SIMILARITY = 0.1, 0.99
"""tuple[float, float]: Limits of a collapse, the defaults of ``GroupUsageHook``."""

LARGEST_VALUE = 1e100
"""float: Larger values are errors of a run, and cannot be drawn beside others."""


class Progress(NamedTuple):
    """How far a training is.

    Attributes:
        step (int): The last step that was logged.
        total_steps (int, optional): Steps of the training, if the run has logged them.
        seconds_left (int, optional): mmengine's estimate at that step.
        seconds_since_entry (float): Since the last entry of the log.
        is_finished (bool): Whether no entry is to come.
    """

    step: int
    total_steps: int | None
    seconds_left: int | None
    seconds_since_entry: float
    is_finished: bool


class Piece(NamedTuple):
    """A run, and the steps ``[0, stop)`` of it that no later run replaces."""

    run: TrainingRun
    stop: float


def is_work_dir(folder: Path) -> bool:
    """Return whether a folder has the log of a run.

    Raises:
        OSError: If the folder cannot be listed.
    """
    return any((run / SCALARS).is_file() for run in run_folders(folder))


def run_folders(folder: Path) -> list[Path]:
    """Return the folders of runs by their time stamps, the earliest first.

    Raises:
        OSError: If the folder cannot be listed.
    """
    return sorted(path for path in folder.iterdir() if STAMP.fullmatch(path.name))


class TrainingLog:
    r"""Reads a work directory incrementally; :meth:`update` reads what was appended.

    Args:
        folder (Path): The work directory of ``tools/train.py``.

    Example:
        >>> run = Path('work_dir/20260102_030405/vis_data')
        >>> run.mkdir(parents=True)
        >>> _ = (run / 'scalars.json').write_text('{"loss": 8.5, "iter": 10, "step": 10}\n')
        >>> log = TrainingLog(Path('work_dir'))
        >>> log.update()
        True
        >>> log.series('loss').values.tolist(), log.update()
        ([8.5], False)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runs: dict[str, TrainingRun] = {}
        self._num_pictures = 0

    def update(self) -> bool:
        """Read what was appended since the last call, at most 16 MiB of each run.

        Returns:
            bool: Whether anything changed, pictures included.

        Raises:
            OSError: If a file or the folder cannot be read.
        """
        folders = run_folders(self.folder)
        changed = False
        for folder in folders:
            run = self._runs.setdefault(folder.name, TrainingRun(folder))
            changed |= run.update()
        removed = set(self._runs) - {folder.name for folder in folders}
        for name in removed:
            del self._runs[name]
        before, self._num_pictures = self._num_pictures, len(self.pictures())
        return changed or bool(removed) or before != self._num_pictures

    @property
    def runs(self) -> list[TrainingRun]:
        """The runs that have logged a step, the earliest first."""
        runs = (self._runs[name] for name in sorted(self._runs))
        return [run for run in runs if run.last_step]

    def pieces(self) -> list[Piece]:
        """Return the runs that still count, each with its steps that no later one replaces."""
        pieces: list[Piece] = []
        stop = float('inf')
        for run in reversed(self.runs):
            if stop <= 0:
                break
            pieces.append(Piece(run, stop))
            stop = min(stop, run.first_own_step or 0)
        return pieces[::-1]

    @property
    def names(self) -> list[str]:
        """Names of the logged values of all runs that count."""
        return list(dict.fromkeys(name for run, _ in self.pieces() for name in run.names))

    def series(self, name: str) -> Series:
        """Return a logged value over all runs that count; empty if there is none."""
        pieces = [(run.series(name), stop) for run, stop in self.pieces()]
        parts = [(each.steps < stop, each) for each, stop in pieces]
        if not parts:
            return Series(np.zeros(0, np.int64), np.zeros(0))
        steps = np.concatenate([each.steps[keep] for keep, each in parts])
        return Series(steps, np.concatenate([each.values[keep] for keep, each in parts]))

    def validations(self) -> list[Validation]:
        """Return the validations of all runs that count, in their order."""
        return [v for run, stop in self.pieces() for v in run.validations() if v.step < stop]

    def pictures(self) -> list[Picture]:
        """Return the pictures of groups of all runs that count, by step and name."""
        return [p for run, stop in self.pieces() for p in run.pictures() if p.step < stop]

    @property
    def unread(self) -> int:
        """Bytes of the logs that the next updates will read."""
        return sum(run.unread for run in self._runs.values())

    @property
    def unreadable_lines(self) -> int:
        """Lines of the logs that are no entries."""
        return sum(run.unreadable_lines for run in self._runs.values())

    def progress(self, now: float | None = None) -> Progress | None:
        """Return how far the last run is; None before its first entry.

        Args:
            now (float, optional): Seconds of the epoch; None for the present. Defaults to None.
        """
        if not self.runs:
            return None
        run = self.runs[-1]
        now = time.time() if now is None else now
        total = run.total_steps
        return Progress(
            step=run.last_step,
            total_steps=total,
            seconds_left=run.seconds_left,
            seconds_since_entry=max(0.0, now - (run.modified() or now)),
            is_finished=total is not None and run.last_step + max(run.interval, 1) > total,
        )

    def warnings(self) -> list[str]:
        """Return what is wrong at present: collapsed groups, values that are not finite.

        The warnings that the last run has logged follow.
        """
        signs = [*self._collapses(), *self._not_finite()]
        if self.unreadable_lines:
            count = self.unreadable_lines
            signs.append(f'Lines of the log that are damaged and left out: {count}.')
        logged = self.runs[-1].warnings if self.runs else ()
        return [*signs, *(f'Logged: {text}' for text in logged)]

    def _latest(self, *prefixes: str) -> dict[str, tuple[int, float]]:
        """Return step and value of the last entry of each value whose name begins so."""
        names = [name for name in self.names if name.startswith(prefixes)]
        series = {name: self.series(name) for name in names}
        return {
            name: (int(each.steps[-1]), float(each.values[-1]))
            for name, each in series.items()
            if len(each.steps)
        }

    def _collapses(self) -> list[str]:
        """Return a sentence for each sign of a collapse in the latest measurement."""
        signs = [
            f'{name} is {value:.2f}, below {MIN_ENTROPY}: one group of stage '
            f'{name.rpartition("_")[2]} owns nearly all patches.'
            for name, (_, value) in self._latest('group_entropy').items()
            if value < MIN_ENTROPY
        ]
        signs += [
            f'{name} is {value:.3f}, above {MAX_SIMILARITY}: the segments of an image are nearly '
            'equal.'
            for name, (_, value) in self._latest('segment_similarity').items()
            if value > MAX_SIMILARITY
        ]
        return [f'The groups collapse: {sign}' for sign in signs]

    def _not_finite(self) -> list[str]:
        """Return a sentence for each loss whose last value is NaN, infinite or as good as that."""
        return [
            f'{name} is {value} at step {step}.'
            for name, (step, value) in self._latest('loss', 'grad_norm').items()
            if not abs(value) < LARGEST_VALUE
        ]


def thin_out(series: Series, count: int) -> Series:
    """Average neighbouring values until there are at most ``count``.

    Args:
        series (Series): Any values; NaN and those of 1e100 or more are left out.
        count (int): Number of values to keep, at least 1.

    Returns:
        Series: Means of bins of equal numbers of entries, at the last step of each bin.

    Example:
        >>> thin_out(Series(np.arange(4), np.array([1.0, 3.0, 5.0, 9.0])), 2).values.tolist()
        [2.0, 7.0]
    """
    drawable = np.abs(series.values) < LARGEST_VALUE
    steps, values = series.steps[drawable], series.values[drawable]
    if len(steps) <= count:
        return Series(steps, values)
    edges = np.linspace(0, len(steps), count + 1).astype(int)
    sums = np.add.reduceat(values, edges[:-1])
    return Series(steps[edges[1:] - 1], sums / np.diff(edges))
