from collections import Counter
from itertools import islice

import numpy as np

from groupvit_mmseg.datasets import image_text_sampler
from groupvit_mmseg.datasets.epoch_plan import (
    EpochPosition,
    WorkerGrid,
    allocate,
    counted_ranges,
    slot_plan,
    whole_shards,
)
from groupvit_mmseg.datasets.epoch_remainder import (
    GridProgress,
    grids_in_turn,
    samples_left,
    slot_ranges,
)
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler
from groupvit_mmseg.datasets.shards import ShardSource


def test_worker_quotas_worked_out_by_hand():
    # 11 samples in batches of 2 for 3 workers: batches 0-5 have 2 2 2 2 2 1 samples
    assert WorkerGrid(1, 3, 2, 11).worker_quotas() == [4, 4, 3]
    assert WorkerGrid(4, 3, 8, 5).worker_quotas() == [5, 0, 0]


def test_allocate_keeps_both_margins_and_is_fair_on_average():
    slots, sources = [4, 4, 2], [9, 3]
    dealt = np.stack([allocate(slots, sources, seed=1, epoch=e) for e in range(400)])
    assert (dealt.sum(axis=2) == slots).all()
    assert (dealt.sum(axis=1) <= sources).all()
    np.testing.assert_allclose(dealt[..., 0].mean(axis=0), np.array(slots) * 9 / 12, atol=0.15)


def places(pieces):
    return [(p.shard, i) for p in pieces for i in range(p.first, p.stop)]


def test_ranges_of_a_source_fit_together_whatever_the_cut():
    shards, sizes, entropy = ['a', 'b', 'c', 'd'], [5, 0, 1, 7], (3, 1, 0)
    whole = places(counted_ranges(shards, sizes, 0, 30, entropy=entropy))
    assert len(whole) == 30
    assert set(Counter(whole[:13]).values()) == set(Counter(whole[13:26]).values()) == {1}
    for cut in range(31):
        parts = [(0, cut), (cut, 30)]
        joined = [
            place
            for start, stop in parts
            for place in places(counted_ranges(shards, sizes, start, stop, entropy=entropy))
        ]
        assert joined == whole


def test_whole_shards_are_disjoint_and_start_over():
    shards = list('abcdefg')
    mine = [
        [p.shard for p in islice(whole_shards(shards, slot, 3, entropy=(0,)), 9)]
        for slot in range(3)
    ]
    assert sorted(set(mine[0]) | set(mine[1]) | set(mine[2])) == shards
    assert sum(len(set(part)) for part in mine) == 7
    assert mine[0][:3] == mine[0][3:6]


def pairs_of(plan):
    """Sample numbers of every source, from a plan whose ranges end."""
    taken = []
    for source, (need, ranges) in enumerate(plan):
        found = [(source, *place) for place in places(ranges)]
        assert len(found) == need
        taken += found
    return taken


SOURCES = [
    ShardSource('one', ('a', 'b'), (5, 4), 9),
    ShardSource('two', ('c', 'd', 'e'), (2, 2, 3), 7),
]


def position(**changes):
    values = dict(seed=3, epoch=1, offset=0, start=0, num_samples=8, rank=0, world_size=2)
    return EpochPosition(**{**values, **changes})


def test_the_slots_of_a_plan_share_all_pairs():
    grid = WorkerGrid(2, 3, 2, 8)
    plans = [slot_plan(SOURCES, (9, 7), position(), slot, grid) for slot in range(6)]
    taken = [pair for plan in plans for pair in pairs_of(plan)]
    every = [(0, 'a', i) for i in range(5)] + [(0, 'b', i) for i in range(4)]
    every += [(1, shard, i) for shard, size in (('c', 2), ('d', 2), ('e', 3)) for i in range(size)]
    assert sorted(taken) == sorted(every)
    needs = [sum(need for need, _ in plan) for plan in plans]
    assert needs == [4, 2, 2] * 2


def test_the_order_of_a_plan_is_that_of_earlier_versions():
    """A checkpoint records steps, not pairs: another order would repeat some and miss others."""
    assert allocate([4, 4, 2], [9, 3], seed=1, epoch=2).tolist() == [[3, 1], [3, 1], [1, 1]]
    ranges = counted_ranges(list('abcd'), [5, 0, 1, 7], 3, 17, entropy=(3, 1, 0))
    assert list(ranges) == [('a', 3, 5), ('c', 0, 1), ('d', 0, 7), ('d', 0, 4)]
    whole = whole_shards(list('abcdefg'), 1, 3, entropy=(3, 1, 0))
    assert list(islice(whole, 3)) == [('b', 0, None), ('f', 0, None), ('b', 0, None)]
    grid = WorkerGrid(2, 3, 2, 8)
    plan = [
        (need, list(ranges)) for need, ranges in slot_plan(SOURCES, (9, 7), position(), 3, grid)
    ]
    assert plan == [(3, [('a', 4, 5), ('b', 0, 2)]), (1, [('e', 2, 3)])]


def test_a_source_without_sizes_is_read_in_whole_shards():
    sources = [SOURCES[0], ShardSource('many', tuple('cdefgh'), None, 7)]
    grid = WorkerGrid(2, 1, 2, 8)
    plans = [slot_plan(sources, (9, 7), position(), slot, grid) for slot in (0, 1)]
    shards = [[r.shard for r in islice(plan[1][1], 3)] for plan in plans]
    assert sorted(shards[0] + shards[1]) == list('cdefgh')
    expected = whole_shards(tuple('cdefgh'), 1, 2, entropy=(3, 1, 1))
    assert shards[1] == [r.shard for r in islice(expected, 3)]


def test_the_remainder_of_an_epoch_by_hand():
    # 2 ranks of 10 samples in batches of 2: 3 steps leave 4 of each, 8 for 3 ranks: 2 each.
    first, second = GridProgress(2, 2, 2, 3), GridProgress(3, 1, 1, 1)
    assert samples_left(20, []) == 20
    assert samples_left(20, [first]) == 8
    assert samples_left(20, [first, second]) == 3
    assert samples_left(20, [first._replace(steps=9)]) == 0
    grids = grids_in_turn(20, [first, second])
    assert grids == [(WorkerGrid(2, 2, 2, 10), 3), (WorkerGrid(3, 1, 1, 2), 1)]
    done = grids_in_turn(20, [first._replace(steps=9), GridProgress(1, 1, 1, 0)])
    assert done[1] == (WorkerGrid(1, 1, 1, 0), 0)


def test_slots_continue_where_earlier_ones_stopped():
    # Batches of 2 for workers 0, 1, 0, 1, 0: 6 and 4 samples, of which 3 steps read 4 and 2.
    earlier, grid = WorkerGrid(2, 2, 2, 10), WorkerGrid(4, 1, 1, 2)
    ranges = [slot_ranges(earlier, 3, grid, slot) for slot in range(4)]
    assert ranges == [[(0, 4, 6)], [(1, 2, 4)], [(2, 4, 6)], [(3, 2, 4)]]
    one = WorkerGrid(1, 1, 1, 8)
    assert slot_ranges(earlier, 3, one, 0) == [(0, 4, 6), (1, 2, 4), (2, 4, 6), (3, 2, 4)]
    uneven = [slot_ranges(earlier, 3, WorkerGrid(1, 2, 3, 8), slot) for slot in (0, 1)]
    assert uneven == [[(0, 4, 6), (1, 2, 4), (2, 4, 5)], [(2, 5, 6), (3, 2, 4)]]
    assert slot_ranges(earlier, 5, one._replace(num_samples=0), 0) == []


def test_grids_are_the_same_without_regard_to_steps():
    grid = GridProgress(2, 2, 2, 3)
    assert grid.same_grid(grid._replace(steps=5))
    for name in ('world_size', 'num_workers', 'batch_size'):
        assert not grid.same_grid(grid._replace(**{name: 9}))


def test_positions_of_a_sampler():
    sampler = ImageTextSampler(range(9), seed=4)
    assert len(sampler) == 9
    assert next(iter(sampler)) == (4, 0, 0, 0, 9, 0, 1, (), None)
    history = [GridProgress(2, 1, 2, 1)]
    sampler.set_epoch(5, 2, history, 2)
    positions = list(sampler)
    assert [p.offset for p in positions] == [2, 3]  # 2 ranks had 4 each, and read 2 each
    assert positions[0] == (4, 5, 2, 2, 4, 0, 1, tuple(history), 2)
    sampler.set_epoch(6)
    assert [p.offset for p in sampler] == list(range(9))
    assert {(p.history, p.batch_size) for p in sampler} == {((), None)}


def test_a_sampler_without_a_seed_draws_one():
    assert len({ImageTextSampler(range(3)).seed for _ in range(8)}) > 1


def test_samplers_of_ranks_read_equal_parts(monkeypatch):
    monkeypatch.setattr(image_text_sampler, 'get_dist_info', lambda: (1, 2))
    sampler = ImageTextSampler(range(9), seed=4)
    assert len(sampler) == 4
    assert [(p.offset, p.rank, p.world_size) for p in sampler] == [(i, 1, 2) for i in range(4)]
    sampler.set_epoch(0, 0, [GridProgress(1, 1, 1, 3)])
    assert [p.offset for p in sampler] == [0, 1, 2]  # 6 are left
