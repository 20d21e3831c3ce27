"""The reader of one slot, on samples in memory: order, replacements, and when it stops a run."""

import random
from collections import deque

import numpy as np
import pytest
import torch

from groupvit_mmseg.datasets.epoch_plan import EpochPosition, WorkerGrid
from groupvit_mmseg.datasets.shard_stream import BadSample, RawSample
from groupvit_mmseg.datasets.slot_reader import (
    Failures,
    SlotReader,
    too_many_failures,
)


def raw(key, error=None):
    return RawSample(key, {'txt': key.encode()}, error)


def keep(results):
    """A pipeline that refuses samples with an error or an x in their key."""
    if results['error'] is not None or 'x' in results['key']:
        raise BadSample(results['error'] or 'has an x')
    return {'key': results['key'], 'text': results['members']['txt']}


def reader(stream='', *, pipeline=keep, spare='', reserve='', limit=1.0, stop=100):
    return SlotReader(
        map(raw, stream) if isinstance(stream, str) else iter(stream),
        pipeline,
        Failures(limit, 0, stop),
        WorkerGrid(1, 1, 1, stop),
        deque(map(raw, spare), maxlen=4),
        map(raw, reserve),
    )


def position(offset=0, **changes):
    values = dict(seed=3, epoch=1, offset=offset, start=0, num_samples=9, rank=0, world_size=1)
    return EpochPosition(**{**values, **changes})


def read(slot, count, **changes):
    return [slot.load(position(offset, **changes)) for offset in range(count)]


def test_good_samples_come_in_their_order_and_are_kept_as_spare():
    slot = reader('abc')
    expected = [dict(key=k, text=k.encode(), skipped=[]) for k in 'abc']
    assert read(slot, 3) == expected
    assert [sample.key for sample in slot.spare] == list('abc')
    assert (slot.failures.num_samples, slot.failures.num_bad) == (3, 0)


def test_a_bad_sample_is_named_and_replaced_by_one_read_before():
    slot = reader('axb')
    results = read(slot, 3)
    assert [r['key'] for r in results] == ['a', 'a', 'b']
    assert [r['skipped'] for r in results] == [[], ['x: has an x'], []]
    assert (slot.failures.num_samples, slot.failures.num_bad) == (3, 1)


def test_a_sample_that_could_not_be_read_is_no_spare_one_that_was_is():
    slot = reader([raw('a'), raw('b', 'cut off'), raw('x'), raw('c')])
    results = read(slot, 4)
    assert [r['skipped'] for r in results] == [[], ['b: cut off'], ['x: has an x'], []]
    assert [sample.key for sample in slot.spare] == ['a', 'x', 'c']


def test_a_first_bad_sample_is_replaced_by_the_next_which_still_comes_in_its_turn():
    slot = reader('xxabc')
    assert [r['key'] for r in read(slot, 5)] == ['a', 'a', 'a', 'b', 'c']
    with pytest.raises(StopIteration):
        slot.load(position())


def test_samples_of_other_shards_replace_bad_ones_of_a_slot_without_good_ones():
    slot = reader('xxx', reserve='xpq')
    keys = [r['key'] for r in read(slot, 3)]
    assert set(keys) <= {'p', 'q'}
    again = reader('xxx', reserve='xpq')
    assert [r['key'] for r in read(again, 3)] == keys


def test_the_replacement_depends_on_the_place_alone():
    """A resumed run, of another version too, takes the same replacements."""

    def replacement(**changes):
        return reader('x', spare='abcd').load(position(**changes))['key']

    assert [replacement(offset=offset) for offset in range(6)] == list('addbbb')
    for name in ('seed', 'epoch', 'rank'):
        keys = {replacement(**{name: value}) for value in range(9)}
        assert len(keys) > 1


def test_transforms_draw_by_the_place_alone():
    def draw(results):
        return {'drawn': (random.random(), np.random.rand(), float(torch.rand(1)))}

    def drawn(**changes):
        return reader('a', pipeline=draw).load(position(**changes))['drawn']

    first = drawn(offset=2)
    torch.rand(3)
    assert drawn(offset=2) == first
    for name in ('seed', 'epoch', 'rank', 'offset'):
        assert drawn(**{'offset': 2, name: 5}) != first


def test_a_transform_that_gives_nothing_makes_a_bad_sample():
    slot = reader('ab', pipeline=lambda r: None if r['key'] == 'b' else dict(r))
    assert [r['skipped'] for r in read(slot, 2)] == [[], ['b: a transform gave nothing for it']]


def test_no_good_sample_is_one_sentence_with_the_cause():
    with pytest.raises(RuntimeError, match='No sample within reach of "x: has an x"') as caught:
        reader('xx').load(position())
    assert caught.value.__cause__ is None

    def fail(results):
        raise ZeroDivisionError('by nothing')

    with pytest.raises(RuntimeError, match='ZeroDivisionError') as caught:
        reader('ab', pipeline=fail).load(position())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(RuntimeError, match='1 of 100 samples could not be used') as caught:
        reader('ab', pipeline=fail, limit=0.0).load(position())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_no_more_is_read_ahead_than_is_needed():
    slot = reader('xxabc')
    slot.load(position())
    assert [sample.key for sample in slot.ahead] == ['x', 'a']
    assert next(slot.stream).key == 'b'


def test_more_bad_samples_than_the_share_of_the_epoch_stop_it():
    failures = Failures(0.25, 3, 8)
    failures.add('a: bad')
    failures.add('b: bad')
    failures.add()
    cause = ValueError('the third')
    with pytest.raises(
        RuntimeError, match=r'^3 of 8 samples .*=0\.25.* a: bad; b: bad; c: bad\.$'
    ) as caught:
        failures.add('c: bad', cause)
    assert caught.value.__cause__ is cause
    assert (failures.num_samples, failures.num_bad) == (4, 3)


def test_the_first_samples_stop_nothing_and_five_examples_are_kept():
    failures = Failures(0.0, 8, 100)
    for index in range(7):
        failures.add(f'{index}: bad')
    assert failures.examples == [f'{index}: bad' for index in range(5)]
    with pytest.raises(RuntimeError, match=too_many_failures(7, 100, 0.0, failures.examples)[:20]):
        failures.add()
