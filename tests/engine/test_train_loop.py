"""The training loops with a runner that only records: what runs, in which order, what resumes."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import InfiniteSampler
from torch.utils.data import DataLoader

from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler
from groupvit_mmseg.engine.runner.epoch_progress import EpochProgress
from groupvit_mmseg.engine.runner.train_loop import ResumableIterTrainLoop, ResumableTrainLoop

SAMPLES, BATCH_SIZE = 12, 4
STEPS = SAMPLES // BATCH_SIZE


class Positions(list):
    """A data set whose samples are their positions."""

    def __getitem__(self, position):
        epoch, offset = getattr(position, 'epoch', 0), getattr(position, 'offset', position)
        return torch.tensor([epoch, offset])


class Recorder(SimpleNamespace):
    """A runner, its model and its validation."""

    def __init__(self, validates=True):
        super().__init__(events=[], world_size=1, optim_wrapper='wrapper', loop=None)
        self.model = SimpleNamespace(train=self.train, train_step=self.train_step)
        self.val_loop = SimpleNamespace(run=self.validate) if validates else None
        self.stop_after = None

    def train(self):
        self.events.append('train')

    def train_step(self, batch, optim_wrapper):
        assert optim_wrapper == 'wrapper'
        self.events.append([tuple(row) for row in batch.tolist()])
        if len(self.steps()) == self.stop_after:
            self.loop.stop_training = True
        return {}

    def validate(self):
        self.events.append(f'val {self.loop._epoch} {self.loop._iter}')

    def call_hook(self, name, batch_idx=None, **_):
        if batch_idx is None:
            self.events.append(name)
        elif name == 'after_train_iter':
            self.events.append(f'{name} {batch_idx}')

    def steps(self):
        return [event for event in self.events if isinstance(event, list)]

    def validations(self):
        return [event for event in self.events if str(event).startswith('val ')]


def make(kind, *, validates=True, sampler='image-text', batch_size=BATCH_SIZE, **options):
    samplers = {
        'image-text': lambda: ImageTextSampler(range(SAMPLES), seed=3),
        'infinite': lambda: InfiniteSampler(range(SAMPLES), shuffle=False),
        'plain': lambda: None,
    }
    loader = DataLoader(
        Positions(range(SAMPLES)), batch_size=batch_size, sampler=samplers[sampler]()
    )
    runner = Recorder(validates)
    runner.loop = kind(runner, loader, **options)
    return runner.loop, runner


def batch(epoch, step):
    return [(epoch, step * BATCH_SIZE + i) for i in range(BATCH_SIZE)]


def by_epoch(**options):
    return make(ResumableTrainLoop, **{'max_epochs': 3, **options})


def by_iter(**options):
    return make(ResumableIterTrainLoop, **{'max_iters': 7, 'val_interval': 2, **options})


def epoch_events(epoch, first=0):
    steps = range(first, STEPS)
    middle = [event for i in steps for event in (batch(epoch, i), f'after_train_iter {i}')]
    return ['before_train_epoch', 'train', *middle, 'after_train_epoch']


def test_epochs_and_validations_in_order():
    loop, runner = by_epoch(max_epochs=2)
    assert loop.run() is runner.model
    assert runner.events == [
        'before_train',
        *epoch_events(0),
        'val 1 3',
        *epoch_events(1),
        'val 2 6',
        'after_train',
    ]
    assert loop.dataloader._iterator is None
    assert loop.progress(7, by_epoch=False) == dict(
        taken=[[1, 1, BATCH_SIZE, 1]], data_seed=3, validated=2
    )


@pytest.mark.parametrize(
    'options, epochs',
    [
        (dict(val_interval=2, max_epochs=5), [2, 4, 5]),  # the last one always
        (dict(val_begin=3, max_epochs=4), [3, 4]),
        (dict(val_begin=9), []),
        (dict(val_interval=3, dynamic_intervals=[(3, 1)], max_epochs=4), [2, 3, 4]),
        (dict(validates=False), []),
    ],
)
def test_epochs_that_are_validated(options, epochs):
    loop, runner = by_epoch(**options)
    loop.run()
    assert runner.validations() == [f'val {epoch} {epoch * STEPS}' for epoch in epochs]


@pytest.mark.parametrize('steps', range(1, 8))
def test_a_run_by_epochs_that_resumes_goes_on_with_the_next_batch(steps):
    loop, whole = by_epoch()
    loop.run()
    epoch, done = divmod(steps, STEPS)
    first, _ = by_epoch()
    first._epoch, first._iter = epoch, epoch * STEPS
    first._progress.enter(epoch * STEPS)
    first._validated = epoch
    meta = dict(first.progress(steps, by_epoch=False), epoch=epoch, iter=steps)
    assert meta['taken'] == ([[1, 1, BATCH_SIZE, done]] if done else [])
    assert (meta['validated'], meta['data_seed']) == (epoch, 3)
    second, rest = by_epoch()
    second.resume(meta)
    assert (second._epoch, second._iter) == (epoch, steps)
    assert second.progress(steps + 1, by_epoch=False)['taken'] == [[1, 1, BATCH_SIZE, done + 1]]
    second.run()
    assert rest.steps() == whole.steps()[steps:]
    assert rest.validations() == whole.validations()[epoch:]
    assert (second._epoch, second._iter) == (3, 9)


def test_a_checkpoint_of_the_end_of_an_epoch_has_no_steps_and_is_validated_first():
    loop, _ = by_epoch()
    meta = loop.progress(STEPS, by_epoch=True)
    assert meta == dict(taken=[], data_seed=3, validated=0)
    second, runner = by_epoch(max_epochs=2)
    second.resume({**meta, 'epoch': 1, 'iter': STEPS})
    second.run()
    assert runner.events == [
        'before_train',
        'val 1 3',
        *epoch_events(1),
        'val 2 6',
        'after_train',
    ]
    third, runner = by_epoch(max_epochs=2)
    third.resume({**meta, 'epoch': 1, 'iter': STEPS, 'validated': 1})
    third.run()
    assert runner.validations() == ['val 2 6']


def test_the_middle_of_an_epoch_is_not_validated():
    loop, runner = by_epoch(max_epochs=2)
    meta = dict(epoch=1, iter=4, taken=[[1, 1, BATCH_SIZE, 1]], data_seed=3)
    loop.resume(meta)  # without ``validated``, as if no validation had been due
    loop.run()
    assert runner.events == ['before_train', *epoch_events(1, 1), 'val 2 6', 'after_train']


def test_an_epoch_whose_steps_are_all_done_ends_without_another():
    loop, runner = by_epoch(max_epochs=1)
    loop.resume(dict(epoch=0, iter=3, taken=[[1, 1, BATCH_SIZE, 3]], data_seed=3))
    loop.run()
    events = ['before_train', 'before_train_epoch', 'train', 'after_train_epoch', 'val 1 3']
    assert runner.events == [*events, 'after_train']


def test_a_run_by_epochs_can_be_stopped():
    loop, runner = by_epoch()
    runner.stop_after = 2
    loop.run()
    assert len(runner.steps()) == STEPS  # mmengine asks at the end of an epoch
    assert runner.events[-1] == 'after_train'


@pytest.mark.parametrize(
    'meta, epoch, done',
    [
        (dict(epoch=1, iter=5), 1, 2),
        (dict(epoch=0, iter=5), 1, 2),  # by mmengine's loop by iterations
        (dict(epoch=2, iter=6), 2, 0),
        (dict(epoch=0, iter=2), 0, 2),
    ],
)
def test_checkpoints_of_mmengine_by_epochs(meta, epoch, done):
    loop, runner = by_epoch()
    loop.resume(meta)
    assert (loop._epoch, loop._iter, loop._progress.steps_before) == (epoch, meta['iter'], done)
    loop.run()
    assert runner.steps()[0] == batch(epoch, done)
    assert (runner.events[1] == f'val {epoch} {meta["iter"]}') == (done == 0)


@pytest.mark.parametrize('meta', [dict(epoch=2, iter=5), dict(epoch=1, iter=6)])
def test_impossible_checkpoints_are_refused(meta):
    loop, _ = by_epoch()
    with pytest.raises(ValueError, match=rf'of epoch {meta["epoch"]} .* with 3 steps per epoch'):
        loop.resume(meta)


def test_iterations_and_validations_in_order():
    loop, runner = by_iter(max_iters=4)
    assert loop.run() is runner.model
    steps = [
        [batch(0, 0), 'after_train_iter 0'],
        [batch(0, 1), 'after_train_iter 1', 'val 0 2'],
        [batch(0, 2), 'after_train_iter 2'],
        [batch(1, 0), 'after_train_iter 3', 'val 1 4'],
    ]
    middle = [event for step in steps for event in ('train', *step)]
    begin, end = ['before_train', 'before_train_epoch'], ['after_train_epoch', 'after_train']
    assert runner.events == [*begin, *middle, *end]
    assert loop.dataloader._iterator is None


@pytest.mark.parametrize(
    'options, iterations',
    [
        ({}, [2, 4, 6, 7]),  # the last one always
        (dict(val_begin=4), [4, 6, 7]),
        (dict(val_begin=5), [6, 7]),
        (dict(val_interval=3, dynamic_intervals=[(4, 1)]), [3, 4, 5, 6, 7]),
        (dict(validates=False), []),
    ],
)
def test_iterations_that_are_validated(options, iterations):
    loop, runner = by_iter(**options)
    loop.run()
    assert [int(event.split()[2]) for event in runner.validations()] == iterations


@pytest.mark.parametrize('steps', range(1, 7))
def test_a_run_by_iterations_that_resumes_goes_on_with_the_next_batch(steps):
    loop, whole = by_iter()
    loop.run()
    first, _ = by_iter(max_iters=steps)
    first.run()
    assert by_iter()[0].progress(1, by_epoch=True)['validated_iter'] == 0
    meta = dict(first.progress(steps, by_epoch=True), iter=steps)
    # A pass ends when the batch after it is asked for.
    assert meta['epoch'] == (steps - 1) // STEPS
    assert meta['taken'] == [[1, 1, BATCH_SIZE, steps - meta['epoch'] * STEPS]]
    assert (meta['validated_iter'], meta['data_seed']) == (steps if steps > 1 else 1, 3)
    second, rest = by_iter()
    second.resume(meta)
    taken = second.progress(steps + 1, by_epoch=False)['taken']
    assert taken == [[1, 1, BATCH_SIZE, meta['taken'][0][3] + 1]]
    second.run()
    assert rest.steps() == whole.steps()[steps:]
    later = [event for event in whole.validations() if int(event.split()[2]) > steps]
    assert [event.split()[2] for event in rest.validations()] == [e.split()[2] for e in later]
    assert (second._epoch, second._iter) == (2, 7)


def test_a_validation_that_was_due_is_made_up_for():
    loop, runner = by_iter()
    loop.resume(dict(epoch=1, iter=4, taken=[[1, 1, BATCH_SIZE, 1]], data_seed=3))
    loop.run()
    assert runner.validations()[0] == 'val 1 4'
    loop, runner = by_iter()
    meta = dict(epoch=1, iter=4, taken=[[1, 1, BATCH_SIZE, 1]], data_seed=3, validated_iter=4)
    loop.resume(meta)
    loop.run()
    assert runner.validations()[0] == 'val 1 6'


def test_a_run_by_iterations_can_be_stopped():
    loop, runner = by_iter()
    runner.stop_after = 2
    loop.run()
    assert len(runner.steps()) == 2
    assert runner.events[-2:] == ['after_train_epoch', 'after_train']


def test_checkpoints_of_mmengine_by_iterations():
    loop, runner = by_iter()
    loop.resume(dict(epoch=0, iter=5))
    assert (loop._epoch, loop._iter, loop._progress.steps_before) == (1, 5, 2)
    loop.run()
    assert runner.steps() == [batch(1, 2), batch(2, 0)]
    loop, runner = by_iter(val_interval=1)
    loop.resume(dict(epoch=0, iter=1))
    loop.run()
    assert runner.validations()[0] == 'val 0 1'


def test_other_samplers_are_left_to_mmengine():
    loop, runner = by_iter(sampler='infinite', max_iters=4)
    assert loop.progress(2, by_epoch=False) == {}
    loop.resume(dict(epoch=0, iter=2))
    assert (loop._epoch, loop._iter) == (0, 2)
    assert loop.run() is runner.model
    assert len(runner.steps()) == 2
    assert 'before_train_epoch' in runner.events


def test_steps_of_another_size_are_refused_within_an_epoch():
    loop, _ = by_epoch()
    with pytest.raises(ValueError, match=r'steps of 2 x 3 pairs, this run has 1 x 4: choose'):
        loop.resume(dict(epoch=0, iter=1, taken=[[2, 1, 3, 1]], data_seed=3))
    loop.resume(dict(epoch=0, iter=1, taken=[[2, 1, 2, 1]], data_seed=3))
    assert loop._progress.steps_before == 1


def test_the_grid_of_a_loader_counts_its_workers_and_its_batch():
    loader = DataLoader(range(8), batch_size=None)
    assert EpochProgress(loader, world_size=2).state_dict(3)['taken'] == [[2, 1, 1, 3]]
    loader = DataLoader(range(8), batch_size=2, num_workers=2)
    assert EpochProgress(loader, world_size=2).state_dict(3)['taken'] == [[2, 2, 2, 3]]
    assert EpochProgress(loader, world_size=2).state_dict(3)['data_seed'] is None


def test_a_loader_is_set_to_the_epoch_with_steps_of_others_before():
    loop, _ = by_epoch()
    sampler = loop.dataloader.sampler
    loop.resume(dict(epoch=4, iter=13, taken=[[2, 2, 2, 1]], data_seed=8))
    assert loop._progress.batches(4) is loop.dataloader
    assert (sampler.epoch, sampler.start, sampler.seed) == (4, 0, 8)
    assert sampler.history == ((2, 2, 2, 1),)
