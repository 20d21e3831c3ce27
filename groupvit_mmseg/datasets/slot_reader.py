"""Loads the samples of one slot, replaces the bad ones, and checks their share."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np

from groupvit_mmseg.datasets.epoch_plan import EpochPosition, WorkerGrid, random_generator
from groupvit_mmseg.datasets.seeding import seed_generators
from groupvit_mmseg.datasets.shard_stream import BadSample, RawSample, describe_error

# What a pipeline is made of: takes and returns the results so far, None for a bad sample.
Transform = Callable[[dict[str, Any]], dict[str, Any] | None]

# Raw samples that may replace bad ones: those read before, or so many read ahead if none is good.
SPARE_SAMPLES = 256


class TooManyFailures(RuntimeError):
    """More bad samples than ``max_failure_share`` allows; the message is one sentence."""


@dataclass
class Failures:
    """Counts the bad samples of one worker in one epoch and stops the run at too many.

    The limit is a share of ``epoch_length``, the samples of all workers and ranks: a broken shard
    is a small part of the epoch, however large a part of one worker's.
    """

    max_share: float
    min_samples: int
    epoch_length: int
    num_samples: int = 0
    num_bad: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, problem: str | None = None, cause: Exception | None = None) -> None:
        """Count a sample, bad if it has a problem."""
        self.num_samples += 1
        if problem is not None:
            self.num_bad += 1
            self.examples = (self.examples + [problem])[:5]
        if self.num_samples < self.min_samples:
            return
        if self.num_bad > self.max_share * self.epoch_length:
            raise TooManyFailures(
                too_many_failures(self.num_bad, self.epoch_length, self.max_share, self.examples)
            ) from cause


def too_many_failures(
    num_bad: int, epoch_length: int, max_share: float, examples: Sequence[str]
) -> str:
    """Return the error message for too many bad samples.

    Args:
        num_bad (int): Bad samples.
        epoch_length (int): Samples of the epoch over all ranks.
        max_share (float): ``max_failure_share``.
        examples (Sequence[str]): ``'key: reason'`` of some bad samples.
    """
    return (
        f'{num_bad} of {epoch_length} samples could not be used in one epoch, more than '
        f'`max_failure_share={max_share}` allows: repair the shards or raise the limit; the first '
        f'were {"; ".join(examples)}.'
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

    def load(self, position: EpochPosition) -> dict[str, Any]:
        """Load the next sample, transformed with random numbers that depend on its position.

        The generators that the transforms draw from keep the seed.
        """
        raw = self.ahead.popleft() if self.ahead else next(self.stream)
        skipped = []
        seed_generators(position.seed, position.epoch, position.rank, position.offset)
        try:
            results = self._transform(raw)
        except Exception as error:  # whatever a decoder or a transform raises
            skipped = [f'{raw.key}: {describe_error(error)}']
            self.failures.add(skipped[0], _unexpected(error))
            results = self._replacement(position, _unexpected(error))
        else:
            self.failures.add()
        if raw.error is None:
            self.spare.append(raw)
        results['skipped'] = skipped
        return results

    def _transform(self, raw: RawSample) -> dict[str, Any]:
        """Apply the pipeline to one raw sample."""
        results = self.pipeline({'key': raw.key, 'members': raw.members, 'error': raw.error})
        if results is None:
            raise BadSample('a transform gave nothing for it')
        return results

    def _replacement(self, position: EpochPosition, cause: Exception | None) -> dict[str, Any]:
        """Load a good sample: one read before, else one of the next, else one of other shards."""
        rng = random_generator(position.seed, position.epoch, position.rank, position.offset)
        earlier = (self.spare[i] for i in rng.permutation(len(self.spare)))
        for raw in chain(earlier, self._look_ahead(), self._look_elsewhere(rng)):
            try:
                return self._transform(raw)
            except Exception:  # try the next one
                continue
        raise RuntimeError(
            f'No sample within reach of "{self.failures.examples[-1]}" could be used: look at the '
            'shards with tools/dataset_converters/check_shards.py, and at the transforms.'
        ) from cause

    def _look_ahead(self) -> Iterator[RawSample]:
        """Read up to ``SPARE_SAMPLES`` next samples, which are still loaded in their turn."""
        for index in range(SPARE_SAMPLES):
            if index == len(self.ahead):
                self.ahead.extend(islice(self.stream, 1))
            if index == len(self.ahead):  # the end of the epoch
                return
            yield self.ahead[index]

    def _look_elsewhere(self, rng: np.random.Generator) -> Iterator[RawSample]:
        """Read samples of other shards, once; their order depends on the position alone."""
        if self.opened_reserve is None:
            self.opened_reserve = list(self.reserve)
        yield from (self.opened_reserve[i] for i in rng.permutation(len(self.opened_reserve)))


def _unexpected(error: Exception) -> Exception | None:
    """Return the error if its traceback says more than its message; None for a bad sample."""
    return None if isinstance(error, BadSample) else error
