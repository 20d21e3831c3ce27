import pickle
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

from groupvit_mmseg.datasets import ImageTextDataset, ImageTextSampler, check_loader
from groupvit_mmseg.datasets.epoch_remainder import GridProgress
from groupvit_mmseg.engine.runner.epoch_progress import EpochProgress

GRIDS = [(ranks, workers) for ranks in range(1, 6) for workers in range(4)]


@pytest.fixture
def uneven(make_source, make_dataset):
    """47 samples in two sources with shards of very different sizes."""
    first, first_keys = make_source('first', [7, 1, 12, 5])
    second, second_keys = make_source('second', [3, 19])
    return make_dataset(first, second), first_keys + second_keys


@pytest.fixture
def make_loader(make_source):
    """A loader built as mmengine's runner builds it."""

    def make(source, *, pipeline, num_workers=0, batch_size=4, seed=0, **options):
        cfg = dict(
            batch_size=batch_size,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=True,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dict(
                type='ImageTextDataset',
                sources=[source],
                pipeline=pipeline,
                shuffle_buffer=6,
                **options,
            ),
        )
        return Runner.build_dataloader(cfg, seed=seed)

    return make


AUGMENTED = [
    dict(type='LoadImageText'),
    dict(type='mmpretrain.RandomResizedCrop', scale=8, crop_ratio_range=(0.08, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='CaptionPrompts', num_prompts=2),
    dict(type='PackImageText', context_length=12),
]


@pytest.mark.parametrize('grid', GRIDS, ids=str)
def test_every_sample_once_on_any_grid(uneven, read_epoch, monkeypatch, grid):
    dataset, keys = uneven
    ranks = read_epoch(dataset, monkeypatch, grid=grid)
    read = [[s['key'] for batch in batches for s in batch] for batches in ranks]
    assert [len(part) for part in read] == [47 // grid[0]] * grid[0]
    flat = [key for part in read for key in part]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(keys)
    assert len(keys) - len(flat) == 47 % grid[0]  # the exception: fewer than one per rank


@pytest.mark.parametrize('grid', GRIDS, ids=str)
def test_drop_last_leaves_out_less_than_a_batch_per_rank(uneven, read_epoch, monkeypatch, grid):
    dataset, keys = uneven
    ranks = read_epoch(dataset, monkeypatch, grid=grid, drop_last=True)
    assert {len(batch) for batches in ranks for batch in batches} == {3}
    assert len({len(batches) for batches in ranks}) == 1
    read = [s['key'] for batches in ranks for batch in batches for s in batch]
    assert len(set(read)) == len(read) >= len(keys) - 3 * grid[0]


def test_what_is_left_out_changes_with_the_epoch(uneven, read_epoch, keys_of, monkeypatch):
    dataset, keys = uneven
    left_out = [
        frozenset(keys) - set(keys_of(read_epoch(dataset, monkeypatch, grid=(5, 1), epoch=e)))
        for e in range(6)
    ]
    assert len(set(left_out)) > 1


def test_order_is_a_function_of_seed_and_epoch(uneven, read_epoch, keys_of, monkeypatch):
    dataset, _ = uneven
    first, again = (keys_of(read_epoch(dataset, monkeypatch, grid=(2, 2))) for _ in range(2))
    other = keys_of(read_epoch(dataset, monkeypatch, grid=(2, 2), epoch=1))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_sources_are_mixed_throughout_the_epoch(
    make_source, make_dataset, read_epoch, keys_of, monkeypatch
):
    sources = [make_source(name, [20] * 3)[0] for name in ('first', 'second')]
    dataset = make_dataset(*sources, shuffle_buffer=0)
    read = keys_of(read_epoch(dataset, monkeypatch, grid=(1, 1)))
    counts = [sum(key.startswith('first') for key in read[i : i + 30]) for i in range(0, 120, 30)]
    assert min(counts) >= 7  # 15 expected, 4.5 standard deviations at most 3.2 away


def test_weights_give_shares_and_whole_laps(
    make_source, make_dataset, read_epoch, keys_of, monkeypatch
):
    small, small_keys = make_source('small', [4, 6], weight=3)
    large, _ = make_source('large', [11, 19], weight=1)
    dataset = make_dataset(small, large)
    assert dataset.quotas == [30, 10]
    for grid in [(1, 0), (2, 2), (4, 1)]:
        counts = Counter(keys_of(read_epoch(dataset, monkeypatch, grid=grid)))
        assert {key: counts[key] for key in small_keys} == dict.fromkeys(small_keys, 3)
        large_counts = [count for key, count in counts.items() if key.startswith('large')]
        assert large_counts == [1] * 10


def test_length_alone_deals_whole_shards(
    make_source, make_dataset, read_epoch, keys_of, monkeypatch
):
    source, keys = make_source('plain', [6] * 4, with_sizes=False, length=24)
    dataset = make_dataset(source)
    assert sorted(keys_of(read_epoch(dataset, monkeypatch, grid=(2, 2)))) == sorted(keys)
    with pytest.raises(ValueError, match=r'"plain" has 4 shards for 6 workers \(3 ranks x 2\)'):
        read_epoch(dataset, monkeypatch, grid=(3, 2))


def test_length_larger_than_the_shards_repeats_them(
    make_source, make_dataset, read_epoch, keys_of, monkeypatch
):
    source, keys = make_source('plain', [3, 3], with_sizes=False, length=12)
    counts = Counter(keys_of(read_epoch(make_dataset(source), monkeypatch, grid=(1, 2))))
    assert counts == dict.fromkeys(keys, 2)


@pytest.mark.parametrize('workers', [0, 1, 2, 3])
@pytest.mark.parametrize('batches', [1, 4, -1])
def test_an_epoch_resumed_in_the_middle_goes_on_as_it_was(
    uneven, read_epoch, monkeypatch, workers, batches
):
    dataset, _ = uneven
    whole = read_epoch(dataset, monkeypatch, grid=(2, workers))
    batches %= len(whole[0])
    assert len(whole[0][-1]) == 2  # a short one
    rest = read_epoch(dataset, monkeypatch, grid=(2, workers), start=3 * batches)
    assert rest == [part[batches:] for part in whole]


@pytest.mark.parametrize('first', [(2, 2, 3, 3), (3, 1, 2, 2), (1, 3, 6, 1)])
@pytest.mark.parametrize('then', [(2, 0), (1, 2), (4, 1)])
def test_other_ranks_and_workers_read_what_was_left(
    uneven, read_epoch, keys_of, monkeypatch, first, then
):
    dataset, keys = uneven
    *grid, batch_size, steps = first
    whole = read_epoch(dataset, monkeypatch, grid=grid, batch_size=batch_size)
    seen = keys_of([part[:steps] for part in whole])
    rest = read_epoch(dataset, monkeypatch, grid=then, batch_size=2, history=[GridProgress(*first)])
    left = keys_of(rest)
    assert len(set(seen + left)) == len(seen + left)
    assert set(seen + left) <= set(keys)
    # What is left out: the ranks' remainders, before and now.
    assert (
        len(keys) - len(seen + left)
        == len(keys) % grid[0] + (len(keys) - len(keys) % grid[0] - len(seen)) % then[0]
    )
    # And once more with other ones, two steps later.
    history = [GridProgress(*first), GridProgress(then[0], max(then[1], 1), 2, 2)]
    last = keys_of(read_epoch(dataset, monkeypatch, grid=(2, 1), batch_size=4, history=history))
    seen += keys_of([part[:2] for part in rest])
    assert len(set(seen + last)) == len(seen + last)
    assert len(keys) - len(seen + last) < grid[0] + then[0] + 2


@pytest.fixture
def in_streams(make_source, make_dataset):
    """Makes a data set of 47 samples in two sources, one of them with a bad sample."""
    first, _ = make_source('first', [7, 1, 12, 5])
    second, _ = make_source('second', [3, 19])

    def read(results):
        if results['key'].endswith('2-003'):
            raise ValueError('it is bad')
        return {'key': results['key'], 'drawn': np.random.rand(), 'error': results['error']}

    return lambda **options: make_dataset(first, second, pipeline=[read], **options)


@pytest.mark.parametrize('start', [0, 6])
def test_streams_give_any_number_of_workers_the_same_samples(
    in_streams, read_epoch, monkeypatch, start
):
    by_six = read_epoch(in_streams(), monkeypatch, grid=(2, 6), start=start)
    assert any(s['skipped'] for batches in by_six for batch in batches for s in batch)
    for workers in (0, 1, 2, 3, 6):
        dataset = in_streams(num_streams=6)
        assert read_epoch(dataset, monkeypatch, grid=(2, workers), start=start) == by_six
    by_two = read_epoch(in_streams(), monkeypatch, grid=(2, 2), start=start)
    assert by_two != by_six


def test_a_pass_over_streams_can_be_left_and_begun_again(in_streams, monkeypatch):
    dataset = in_streams(num_streams=3)
    sampler = ImageTextSampler(dataset, seed=5)
    epochs = []
    for batches in (99, 2, 99):
        positions = BatchSampler(sampler, 3, drop_last=False)
        epochs.append([dataset.__getitems__(batch) for batch in islice(positions, batches)])
    whole, left, again = epochs
    assert whole == again
    assert left == whole[:2]


@pytest.mark.parametrize('num_streams', [0, -1])
def test_streams_are_one_or_more(in_streams, num_streams):
    with pytest.raises(ValueError, match=r'`num_streams` is .*: it must be 1 or more, or None'):
        in_streams(num_streams=num_streams)


def test_workers_that_cannot_share_the_streams_are_one_sentence(make_source, make_loader):
    source, _ = make_source('pairs', [5, 2, 9])
    loader = make_loader(source, pipeline=AUGMENTED, num_workers=2, num_streams=3)
    with pytest.raises(ValueError, match='2 workers cannot share num_streams=3 equally: choose'):
        check_loader(loader, 1)
    check_loader(make_loader(source, pipeline=AUGMENTED, num_workers=3, num_streams=3), 1)


def test_loaders_with_streams_are_equal_down_to_the_pixels(make_source, make_loader):
    source, _ = make_source('pairs', [5, 2, 9])
    loaders = [
        make_loader(source, pipeline=AUGMENTED, num_workers=workers, num_streams=2, batch_size=3)
        for workers in (0, 1, 2)
    ]
    for epoch in (0, 1, 1):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        for batches in zip(*loaders, strict=True):
            for other in batches[1:]:
                assert torch.equal(other['inputs'], batches[0]['inputs'])
                assert other['keys'] == batches[0]['keys']
                assert other['prompts'] == batches[0]['prompts']
    taken = [EpochProgress(loader, world_size=1).state_dict(3)['taken'] for loader in loaders]
    assert taken == [[[1, 2, 3, 3]]] * 3  # so that another number of workers resumes exactly


@pytest.mark.parametrize('num_workers', [0, 1, 2])
def test_loader_of_mmengine_reads_each_once_in_every_epoch(make_source, make_loader, num_workers):
    source, keys = make_source('pairs', [5, 2, 9])
    loader = make_loader(source, pipeline=AUGMENTED, num_workers=num_workers)
    orders = []
    for epoch in (0, 0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader) == 4
        orders.append([key for batch in batches for key in batch['keys']])
        assert sorted(orders[-1]) == sorted(keys)
    assert orders[0] == orders[1] != orders[2]


def test_batches_are_reproducible_down_to_the_pixels(make_source, make_loader):
    source, _ = make_source('pairs', [5, 2, 9])
    first, again, other = (
        list(make_loader(source, pipeline=AUGMENTED, num_workers=2, seed=seed))
        for seed in (0, 0, 1)
    )
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a['inputs'], b['inputs'])
        assert torch.equal(a['token_ids'], b['token_ids'])
        assert a['prompts'] == b['prompts']
    assert any(a['keys'] != b['keys'] for a, b in zip(first, other, strict=True))


def test_augmentation_changes_with_the_epoch(make_source, make_loader):
    source, _ = make_source('pairs', [8])
    loader = make_loader(source, pipeline=AUGMENTED, batch_size=8)
    images = []
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batch = next(iter(loader))
        images.append(dict(zip(batch['keys'], batch['inputs'], strict=True)))
    assert not all(torch.equal(images[0][key], images[1][key]) for key in images[0])


def test_loading_leaves_the_random_numbers_of_the_model_alone(make_source, make_loader):
    source, _ = make_source('pairs', [8])
    loader = make_loader(source, pipeline=AUGMENTED)
    torch.manual_seed(3)
    np.random.seed(3)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    loader.dataset.__getitems__(next(iter(loader.batch_sampler)))
    assert (torch.rand(1), np.random.rand()) == expected


def test_a_pickled_dataset_reads_the_same(make_source, make_loader):
    source, _ = make_source('pairs', [5, 2, 9])
    loader = make_loader(source, pipeline=AUGMENTED)
    positions = next(iter(loader.batch_sampler))
    copied = pickle.loads(pickle.dumps(loader.dataset))
    for a, b in zip(
        loader.dataset.__getitems__(positions), copied.__getitems__(positions), strict=True
    ):
        assert a['key'] == b['key']
        assert torch.equal(a['inputs'], b['inputs'])


def test_num_batch_per_epoch_cuts_an_epoch_short(make_source, make_loader):
    source, _ = make_source('pairs', [9, 9])
    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=2,
            num_batch_per_epoch=3,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dict(type='ImageTextDataset', sources=[source], pipeline=AUGMENTED),
        ),
        seed=0,
    )
    check_loader(loader, 1)
    read = [key for batch in loader for key in batch['keys']]
    assert len(set(read)) == len(read) == 12


def test_another_sampler_is_refused(make_source, make_dataset):
    dataset = make_dataset(make_source('pairs', [3])[0])
    with pytest.raises(TypeError, match=r"sampler=dict\(type='ImageTextSampler'\)"):
        dataset[0]


def test_fewer_samples_than_ranks(make_source, make_dataset, read_epoch, monkeypatch):
    dataset = make_dataset(make_source('pairs', [3])[0])
    with pytest.raises(ValueError, match='3 samples cannot be shared by 4 ranks'):
        read_epoch(dataset, monkeypatch, grid=(4, 0))


@pytest.mark.parametrize('sources', ['a.tar', ['a.tar'], dict(shards='a.tar')])
def test_sources_that_are_no_list_of_dicts(sources):
    with pytest.raises(TypeError, match='`sources` must be a list of dict'):
        ImageTextDataset(sources, pipeline=[])


def test_failure_share_outside_its_range(make_source, make_dataset):
    with pytest.raises(ValueError, match=r'max_failure_share` is 10: it must be in \[0, 1\]'):
        make_dataset(make_source('pairs', [3])[0], max_failure_share=10)
