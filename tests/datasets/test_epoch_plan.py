from collections import Counter
from itertools import islice

import numpy as np

from groupvit_mmseg.datasets.epoch_plan import WorkerGrid, allocate, counted_ranges, whole_shards


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
