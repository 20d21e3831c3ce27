"""Loads the samples of one slot, replaces the bad ones, and judges how many there are."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from groupvit_mmseg.datasets.epoch_plan import EpochPosition, WorkerGrid, random_generator
from groupvit_mmseg.datasets.seeding import seeded
from groupvit_mmseg.datasets.shard_stream import BadSample, RawSample, describe_error

# What a pipeline is made of: takes and returns the results so far, None for a bad sample.
Transform = Callable[[dict[str, Any]], dict[str, Any] | None]

# Raw samples kept to stand in for bad ones, and how far to look ahead where none was good yet.
SPARE_SAMPLES = 256


@dataclass
class Failures:
    """Counts the bad samples of one worker in one epoch and stops at too large a share of it all.

    ``epoch`` counts the samples of all workers and ranks: a broken shard is a small part of the
    epoch, however large a part of one worker's.
    """

    max_share: float
    min_samples: int
    epoch: int
    seen: int = 0
    failed: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, problem: str | None = None, cause: Exception | None = None) -> None:
        """Count a sample, bad if it has a problem."""
        self.seen += 1
        if problem is not None:
            self.failed += 1
            self.first = (self.first + [problem])[:5]
        if self.seen >= self.min_samples and self.failed > self.max_share * self.epoch:
            raise RuntimeError(
                too_many_failures(self.failed, self.epoch, self.max_share, self.first)
            ) from cause


def too_many_failures(failed: int, epoch: int, max_share: float, first: Sequence[str]) -> str:
    """The sentence that stops a run.

    Args:
        failed (int): Bad samples met.
        epoch (int): Samples of the epoch over all ranks.
        max_share (float): ``max_failure_share``.
        first (Sequence[str]): ``'key: reason'`` of some.
    """
    return (
        f'{failed} of {epoch} samples could not be used in one epoch, more than '
        f'`max_failure_share={max_share}` allows: repair the shards or raise the limit; the first '
        f'were {"; ".join(first)}.'
    )


@dataclass
class SlotReader:
    """Loads the samples of one slot one after the other, replacing bad ones."""

    stream: Iterator[RawSample]
    pipeline: Transform
    failures: Failures
    grid: WorkerGrid
    spare: deque[RawSample]
    reserve: Iterator[RawSample]
    ahead: deque[RawSample] = field(default_factory=deque)
    opened_reserve: list[RawSample] | None = None

    def load(self, draw: EpochPosition) -> dict[str, Any]:
        """The next sample, transformed with random numbers of its place."""
        raw = self.ahead.popleft() if self.ahead else next(self.stream)
        skipped = []
        with seeded(draw.seed, draw.epoch, draw.rank, draw.offset):
            try:
                results = self._transform(raw)
            except Exception as error:  # whatever a decoder or a transform raises
                skipped = [f'{raw.key}: {describe_error(error)}']
                self.failures.add(skipped[0], _unexpected(error))
                results = self._replacement(draw, _unexpected(error))
            else:
                self.failures.add()
        if raw.error is None:
            self.spare.append(raw)
        results['skipped'] = skipped
        return results

    def _transform(self, raw: RawSample) -> dict[str, Any]:
        """The pipeline on one raw sample."""
        results = self.pipeline({'key': raw.key, 'members': raw.members, 'error': raw.error})
        if results is None:
            raise BadSample('a transform gave nothing for it')
        return results

    def _replacement(self, draw: EpochPosition, cause: Exception | None) -> dict[str, Any]:
        """A good sample of those read before, else of those to come, else of other shards."""
        rng = random_generator(draw.seed, draw.epoch, draw.rank, draw.offset)
        before = (self.spare[i] for i in rng.permutation(len(self.spare)))
        for raw in chain(before, self._look_ahead(), self._look_elsewhere(rng)):
            try:
                return self._transform(raw)
            except Exception:  # the next one will do
                continue
        raise RuntimeError(
            f'No sample within reach of "{self.failures.first[-1]}" could be used: look at the '
            'shards with tools/dataset_converters/check_shards.py, and at the transforms.'
        ) from cause

    def _look_ahead(self) -> Iterator[RawSample]:
        """Samples to come, equally many at any time; they stay in line for their turn."""
        for place in range(SPARE_SAMPLES):
            if place == len(self.ahead):
                self.ahead.extend(islice(self.stream, 1))
            if place == len(self.ahead):  # the end of the epoch
                return
            yield self.ahead[place]

    def _look_elsewhere(self, rng: np.random.Generator) -> Iterator[RawSample]:
        """Samples of other shards, read once; in an order that depends on the place alone."""
        if self.opened_reserve is None:
            self.opened_reserve = list(self.reserve)
        yield from (self.opened_reserve[i] for i in rng.permutation(len(self.opened_reserve)))


def _unexpected(error: Exception) -> Exception | None:
    """The error itself where its traceback tells more than its sentence."""
    return None if isinstance(error, BadSample) else error
