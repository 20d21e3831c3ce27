"""Raw samples out of tar shards, read with ``webdataset``."""

import random
from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from webdataset.filters import shuffle
from webdataset.gopen import gopen

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.shard_members import Sample, group_members, read_members

# What is said of a shard in which no sample begins, and of one with too few of them.
EMPTY = 'the shard is empty'
_TOO_FEW = 'the shard holds fewer samples than its size says'


class BadSample(ValueError):
    """A sample that cannot be used; it is skipped and counted, and training goes on."""


class RawSample(NamedTuple):
    """One sample as it lies in its shard.

    Attributes:
        key (str): ``source/key in the shard``.
        members (dict[str, bytes]): Contents by extension, lower case, without the dot.
        error (str | None): Why the sample could not be read.
    """

    key: str
    members: dict[str, bytes]
    error: str | None = None


def read_shard_range(piece: ShardRange, source_name: str) -> Iterator[RawSample]:
    """Read a stretch of a shard.

    A shard that is damaged or shorter than its size says still gives as many samples as the piece
    has: those that are lost carry an ``error``.

    Args:
        piece (ShardRange): The shard, and which of its samples.
        source_name (str): Begins the keys.

    Yields:
        RawSample: The samples in the order of the shard.
    """
    place, damage = 0, None
    try:
        with gopen(piece.shard) as stream:
            for sample in group_members(read_members(stream)):
                if piece.stop is not None and place >= piece.stop:
                    return
                if place >= piece.first:
                    yield _raw_sample(sample, source_name)
                place += 1
    except Exception as error:  # decompression and addresses have errors of their own
        damage = f'the shard is damaged ({_first_words(error)})'
    if piece.stop is None and place > 0 and damage is None:
        return
    # A shard of unknown size lost an unknown number of samples: one stands for them.
    stop = place + 1 if piece.stop is None else piece.stop
    reason = damage or (EMPTY if place == 0 else _TOO_FEW)
    for lost in range(max(place, piece.first), stop):
        yield RawSample(f'{source_name}/{Path(piece.shard).name}#{lost}', {}, reason)


def describe_error(error: Exception) -> str:
    """The reason why a sample cannot be used, as logs give it.

    Args:
        error (Exception): A ``BadSample``, which is its own reason, or whatever a transform raised:
            its type and place are added, since it may be a mistake in the transform.
    """
    if isinstance(error, BadSample):
        return str(error)
    text = ' '.join(str(error).split())[:200]
    return f'{type(error).__name__}{_place_of(error)}: {text}'


def _place_of(error: Exception) -> str:
    """File and line that raised an error."""
    place, trace = '', error.__traceback__
    while trace is not None:
        place = f' at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}'
        trace = trace.tb_next
    return place


def _first_words(error: Exception) -> str:
    """What went wrong, without addresses."""
    text = getattr(error, 'strerror', None) or (error.args[0] if error.args else repr(error))
    return str(text).split(' @ ')[0]


def _raw_sample(sample: Sample, source_name: str) -> RawSample:
    """A sample under its source's name; a member that is there twice makes it a bad one."""
    key, error = f'{source_name}/{sample.key}', None
    if sample.repeated:
        error = f'the member "{sample.repeated[0]}" is there twice: give samples different names'
    return RawSample(key, sample.members, error)


def mixed_stream(
    plan: Sequence[tuple[int, Iterator[ShardRange]]],
    names: Sequence[str],
    *,
    shuffle_buffer: int,
    rng: np.random.Generator,
) -> Iterator[RawSample]:
    """All samples of a slot, sources mixed evenly over the epoch, shuffled through a buffer.

    Args:
        plan (Sequence[tuple[int, Iterator[ShardRange]]]): Samples and ranges of each source.
        names (Sequence[str]): Source names.
        shuffle_buffer (int): Samples held back to be drawn from; below 2 keeps the order.
        rng (np.random.Generator): Decides the order.

    Yields:
        RawSample: As many as the plan says.
    """
    streams = [
        chain.from_iterable(map(read_shard_range, pieces, repeat(name)))
        for (_, pieces), name in zip(plan, names, strict=True)
    ]
    needs = [need for need, _ in plan]
    turns = rng.permutation(np.repeat(np.arange(len(plan), dtype=np.uint16), needs))
    samples = (next(streams[turn]) for turn in turns)
    if shuffle_buffer < 2:
        return samples
    # The buffer starts a tenth full, so that the first batch does not wait for all of it.
    order = random.Random(int(rng.integers(2**62)))
    return shuffle(shuffle_buffer, initial=max(shuffle_buffer // 10, 2), rng=order)(samples)
