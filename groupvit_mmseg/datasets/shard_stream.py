"""Raw samples out of tar shards, read with ``webdataset``."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from webdataset.filters import shuffle

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.remote_shards import open_shard
from groupvit_mmseg.datasets.shard_members import Sample, group_members, read_members

# Reasons for a shard without samples, and for one with too few.
EMPTY = 'the shard is empty'
_TOO_FEW = 'the shard holds fewer samples than its size says'


class BadSample(ValueError):
    """A sample that cannot be used; it is skipped and counted, and training continues."""


class RawSample(NamedTuple):
    """One sample as it is stored in its shard.

    Attributes:
        key (str): ``source/key in the shard``.
        members (dict[str, bytes]): Contents by extension, lower case, without the dot.
        error (str | None): Why the sample could not be read.
    """

    key: str
    members: dict[str, bytes]
    error: str | None = None


def read_shard_range(shard_range: ShardRange, source_name: str) -> Iterator[RawSample]:
    """Read a range of a shard.

    A shard that is damaged or shorter than its size says still gives as many samples as the range
    has: those that are lost have an ``error``.

    Args:
        shard_range (ShardRange): The shard, and which of its samples.
        source_name (str): Begins the keys.

    Yields:
        RawSample: The samples in the order of the shard.
    """
    index, damage = 0, None
    try:
        with open_shard(shard_range.shard) as stream:
            for sample in group_members(read_members(stream)):
                if shard_range.stop is not None and index >= shard_range.stop:
                    return
                if index >= shard_range.first:
                    yield _raw_sample(sample, source_name)
                index += 1
    except Exception as error:  # decompression and addresses have errors of their own
        damage = f'the shard is damaged ({_first_words(error)})'
    if shard_range.stop is None and index > 0 and damage is None:
        return
    # A shard of unknown size lost an unknown number of samples: they are counted as one.
    stop = index + 1 if shard_range.stop is None else shard_range.stop
    reason = damage or (EMPTY if index == 0 else _TOO_FEW)
    for lost in range(max(index, shard_range.first), stop):
        yield RawSample(f'{source_name}/{Path(shard_range.shard).name}#{lost}', {}, reason)


def describe_error(error: Exception) -> str:
    """Return the reason why a sample cannot be used, as logs give it.

    Args:
        error (Exception): A ``BadSample``, whose message is the reason, or any error of a
            transform: its type and line are added, since it may be a mistake in the transform.
    """
    if isinstance(error, BadSample):
        return str(error)
    text = ' '.join(str(error).split())[:200]
    return f'{type(error).__name__}{_line_of(error)}: {text}'


def _line_of(error: Exception) -> str:
    """Return the file and line that raised an error."""
    line, trace = '', error.__traceback__
    while trace is not None:
        line = f' at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}'
        trace = trace.tb_next
    return line


def _first_words(error: Exception) -> str:
    """Return an error's message, without addresses."""
    text = getattr(error, 'strerror', None) or (error.args[0] if error.args else repr(error))
    return str(text).split(' @ ')[0]


def _raw_sample(sample: Sample, source_name: str) -> RawSample:
    """Put a sample under its source's name; refused and repeated members make it a bad one."""
    key, error = f'{source_name}/{sample.key}', sample.problem
    if sample.repeated:
        error = f'the member "{sample.repeated[0]}" is there twice: give samples different names'
    return RawSample(key, sample.members, error)


def mixed_stream(
    sources: Sequence[tuple[int, Iterator[RawSample]]],
    *,
    shuffle_buffer: int,
    rng: np.random.Generator,
) -> Iterator[RawSample]:
    """Read all samples of a slot, sources mixed evenly over the epoch, shuffled in a buffer.

    Args:
        sources (Sequence[tuple[int, Iterator[RawSample]]]): Of each source, how many samples are
            read, and the samples.
        shuffle_buffer (int): Samples held back to be drawn from; below 2 keeps the order.
        rng (np.random.Generator): Decides the order.

    Yields:
        RawSample: As many as ``sources`` says.
    """
    needs, streams = zip(*sources, strict=True)
    turns = rng.permutation(np.repeat(np.arange(len(needs), dtype=np.uint16), needs))
    samples = (next(streams[turn]) for turn in turns)
    if shuffle_buffer < 2:
        return samples
    # The buffer starts a tenth full, so that the first batch does not wait for all of it.
    order = random.Random(int(rng.integers(2**62)))
    return shuffle(shuffle_buffer, initial=max(shuffle_buffer // 10, 2), rng=order)(samples)
