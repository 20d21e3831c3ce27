from types import SimpleNamespace

import pytest
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler
from groupvit_mmseg.engine.runner import epoch_progress
from groupvit_mmseg.engine.runner.epoch_progress import EpochProgress
from groupvit_mmseg.engine.runner.train_loop import resumable


def place_in(samples=48, batch_size=4, world_size=1, **options):
    options.setdefault('sampler', ImageTextSampler(range(samples), seed=3))
    loader = DataLoader(range(samples), batch_size=batch_size, **options)
    return EpochProgress(loader, world_size=world_size)


def test_steps_of_equal_processes_add_up_and_of_others_line_up():
    place = place_in()
    assert place.state_dict(0) == dict(taken=[], data_seed=3)
    assert place.state_dict(2)['taken'] == [[1, 1, 4, 2]]
    place.resume(place.state_dict(2), 2, 0)
    assert place.state_dict(2)['taken'] == [[1, 1, 4, 2]]
    assert place.state_dict(5)['taken'] == [[1, 1, 4, 5]]
    other = place_in(batch_size=2, world_size=2)
    other.resume(place.state_dict(5), 5, 0)
    assert other.state_dict(5)['taken'] == [[1, 1, 4, 5]]
    assert other.state_dict(8)['taken'] == [[1, 1, 4, 5], [2, 1, 2, 3]]
    assert other.steps_before == 5


def test_the_loader_begins_behind_the_steps_that_are_done():
    place = place_in()
    place.resume(dict(taken=[[1, 2, 4, 3], [1, 1, 4, 2]], data_seed=9), 5, 0)
    sampler = place.batches(7).sampler
    assert (sampler.epoch, sampler.seed, sampler.start) == (7, 9, 8)
    assert sampler.history == ((1, 2, 4, 3),)
    assert {position.batch_size for position in sampler} == {4}
    place.enter(12)
    place.batches(8)
    assert (sampler.epoch, sampler.start, sampler.history) == (8, 0, ())


@pytest.mark.parametrize('workers, streams', [(0, 10), (1, 10), (2, 20)])
def test_the_grid_has_as_many_streams_as_the_data_set_says(monkeypatch, workers, streams):
    dataset = SimpleNamespace(count_streams=lambda workers: 10 * workers)
    monkeypatch.setattr(epoch_progress, 'image_text_dataset_of', lambda loader: dataset)
    place = place_in(num_workers=workers)
    assert place.state_dict(2)['taken'] == [[1, streams, 4, 2]]


def test_checkpoints_of_mmengine_count_steps_only():
    place = place_in()
    place.resume({}, 17, 5)
    assert place.state_dict(18)['taken'] == [[1, 1, 4, 6]]
    place.resume({}, 17, 1)
    assert place.history == ((1, 1, 4, 1),)
    place.resume({}, 17, 0)
    assert place.history == ()


def test_another_sampler_begins_epochs_at_their_start_only():
    place = place_in(sampler=None)
    assert place.batches(1) is place.loader
    place.resume({}, 17, 5)
    with pytest.raises(ValueError, match='SequentialSampler cannot begin in the middle'):
        place.batches(1)


@pytest.mark.parametrize(
    'cfg, kind',
    [
        (dict(by_epoch=True), 'mmseg.ResumableTrainLoop'),
        (dict(by_epoch=False), 'mmseg.ResumableIterTrainLoop'),
        (dict(type='mmengine.IterBasedTrainLoop'), 'mmseg.ResumableIterTrainLoop'),
        (dict(type=EpochBasedTrainLoop), 'mmseg.ResumableTrainLoop'),
        (dict(type=IterBasedTrainLoop), 'mmseg.ResumableIterTrainLoop'),
        (dict(type='MyLoop'), 'MyLoop'),
    ],
)
def test_loops_that_stand_for_those_of_mmengine(cfg, kind):
    assert resumable(dict(cfg, max_iters=5)) == dict(type=kind, max_iters=5)
    assert 'max_iters' not in cfg


@pytest.mark.parametrize(
    'cfg', [dict(type='MyLoop', by_epoch=True), dict(max_iters=5), dict(type=None, max_iters=5)]
)
def test_other_settings_of_a_loop_stay(cfg):
    assert resumable(cfg) == cfg
