"""Resuming notes differences and refuses checkpoints from which it could not continue."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.optim import CosineAnnealingLR, LinearLR, OptimWrapper, OptimWrapperDict
from mmengine.registry import DefaultScope
from torch import nn

from groupvit_mmseg.engine.hooks.run_hooks import RunSummaryHook
from groupvit_mmseg.engine.optimizers.muon import MuonAdamW
from groupvit_mmseg.engine.optimizers.optimizer_check import optimizer_notes, schedule_notes
from groupvit_mmseg.engine.runner import resume_check
from groupvit_mmseg.engine.runner.config_changes import config_changes
from groupvit_mmseg.engine.runner.resume_check import check_resumable

SCHEDULE = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=4, T_max=2),
]
# Steps of 16 of 32 pairs: two per epoch; nothing is measured.
SHORT = dict(
    train_cfg=dict(max_epochs=1, val_begin=9),
    train_dataloader=dict(batch_size=16),
    default_hooks=dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=-1)),
)


@pytest.fixture(scope='module')
def build(tiny_config, tmp_path_factory):
    """Builds a runner with schedules and averaged weights, ready to load a checkpoint."""
    from groupvit_mmseg.engine import GroupViTRunner

    def ready(ema=True, schedules=SCHEDULE, **changes):
        cfg = tiny_config.copy()
        folder = tmp_path_factory.mktemp('run')
        cfg.merge_from_dict(dict(SHORT, work_dir=str(folder), launcher='none'))
        cfg.custom_hooks = [dict(type='EMAHook')] if ema else []
        cfg.param_scheduler = schedules
        cfg.experiment_name = cfg.visualizer.name = folder.name
        cfg.merge_from_dict(changes)
        return GroupViTRunner.from_cfg(cfg)

    with DefaultScope.overwrite_default_scope('mmseg'):
        yield ready


@pytest.fixture(scope='module')
def runner(build):
    """A finished run of one epoch of two steps, with a checkpoint of each step."""
    runner = build()
    runner.train()
    runner.said = []
    runner.logger.info = runner.logger.warning = lambda text: runner.said.append(str(text))
    return runner


@pytest.fixture
def check(runner):
    """Check whether a runner can resume from a step's changed checkpoint; return its notes."""

    def run(step=2, *, change=None, by=None, **options):
        content = torch.load(Path(runner.work_dir, f'iter_{step}.pth'), weights_only=True)
        if change:
            change(content)
        runner.said.clear()
        by = by or runner
        by.logger = runner.logger
        check_resumable(by, content, source='given.pth', **options)
        return list(runner.said)

    return run


def drop(*names):
    return lambda content: [content.pop(name) for name in names]


def test_a_matching_checkpoint_gives_no_note_but_that_the_run_is_finished(check):
    assert check(1) == []
    (line,) = check(2)
    assert line.startswith('The checkpoint has 1 of the 1 that train_cfg.max_epochs allows')


@pytest.mark.parametrize(
    'change, sentence',
    [
        (drop('optimizer'), 'it holds no optimiser state, as best, published and converted files'),
        (
            drop('optimizer', 'meta', 'message_hub', 'param_schedulers'),
            'it holds no optimiser state and no epoch and iteration, as best',
        ),
        (drop('param_schedulers'), 'no states of the schedules LinearLR, CosineAnnealingLR'),
        (lambda c: c['param_schedulers'].pop(), 'other schedules'),
        (lambda c: c['meta'].update(optimizer='Lion'), 'written with Lion, this run has AdamW'),
    ],
    ids=['best', 'weights', 'no schedules', 'fewer schedules', 'optimiser'],
)
def test_files_without_the_state_of_a_run_are_refused(check, change, sentence):
    with pytest.raises(ValueError, match=r'^given\.pth cannot be resumed from: ') as error:
        check(change=change)
    message = str(error.value)
    assert sentence in message
    assert message.endswith(' give --cfg-options load_from=given.pth without --resume.')


def test_averaged_weights_without_their_hook_are_refused(check, build):
    with pytest.raises(ValueError, match=r'written with an EMAHook.* add the EMAHook to custom_h'):
        check(by=build(ema=False))


def test_missing_averages_and_histories_are_noted(check):
    said = check(1, change=drop('ema_state_dict', 'message_hub'))
    assert [line.split(':')[0] for line in said] == [
        'The checkpoint holds no averaged weights',
        'The checkpoint holds no log histories and no best score',
    ]


def test_other_data_within_an_epoch_is_refused_and_noted_at_its_end(check):
    def fewer(content):
        content['message_hub']['runtime_info']['run_summary']['samples_per_epoch'] = 48

    def fewer_at_an_end(content):
        fewer(content)
        content['meta'].update(epoch=0, taken=[])

    with pytest.raises(ValueError, match='from the middle of an epoch of 48 samples, this run has'):
        check(1, change=fewer)
    (line,) = check(2, change=fewer_at_an_end)
    assert line == 'The data or the steps differ from here on: samples_per_epoch 48 -> 32.'


def test_changed_settings_are_named(check, build):
    said = check(1, by=build(train_cfg=dict(max_epochs=5), randomness=dict(seed=3)))
    (line,) = [line for line in said if line.startswith('Settings that differ')]
    assert line.endswith(': randomness.seed 0 -> 3; train_cfg.max_epochs 1 -> 5.')


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='needs torch 2.3')
def test_a_missing_scale_of_gradients_is_noted(check, runner, monkeypatch):
    scaler = torch.amp.GradScaler('cpu')
    monkeypatch.setattr(runner.optim_wrapper, 'scaler', scaler, raising=False)
    assert any('no scale of gradients: float16 searches for a new one' in line for line in check(1))


def test_the_runner_checks_before_it_loads(build, runner, tmp_path):
    """Nothing of a refused file is loaded."""
    content = torch.load(Path(runner.work_dir, 'iter_1.pth'), weights_only=True)
    content.pop('optimizer')
    torch.save(content, tmp_path / 'given.pth')
    other = build(resume=True, load_from=str(tmp_path / 'given.pth'))
    before = other.unwrapped_model.backbone.pos_embed.clone()
    with pytest.raises(ValueError, match='it holds no optimiser state'):
        other.train()
    assert torch.equal(other.unwrapped_model.backbone.pos_embed, before)
    assert other.iter == 0


def optimizer_of(kind=torch.optim.AdamW, shapes=((2, 3), (3,)), groups=1, **settings):
    """An optimiser after one step, and its state."""
    parameters = [nn.Parameter(torch.ones(shape)) for shape in shapes]
    parts = [parameters[i::groups] for i in range(groups)]
    optimizer = kind([dict(params=part) for part in parts], **(dict(lr=0.1) | settings))
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


@pytest.mark.parametrize(
    'written_by, kind, sentence',
    [
        (dict(kind=torch.optim.Adam), 'Adam', 'written with Adam, this run has AdamW'),
        (dict(kind=torch.optim.SGD, momentum=0.9), None, 'with momentum, this run has AdamW'),
        (dict(groups=2), None, '2 groups with 2 parameters, that of this run 1 with 2'),
        (dict(shapes=((2, 3),)), None, '1 groups with 1 parameters'),
        (dict(shapes=((3,), (2, 3))), None, r'exp_avg of shape \(3,\) where this run has a param'),
    ],
)
def test_states_of_other_optimisers_are_refused(written_by, kind, sentence):
    state = optimizer_of(**written_by).state_dict()
    with pytest.raises(ValueError, match=sentence):
        optimizer_notes(optimizer_of(), state, kind=kind, source='a.pth')


def test_settings_that_a_state_replaces_are_noted():
    state = optimizer_of(lr=0.1, weight_decay=0.01).state_dict()
    here = optimizer_of(lr=0.2, weight_decay=0.05)
    assert optimizer_notes(here, state, kind='AdamW', source='a.pth') == [
        'lr 0.2 of the config is not used: the optimiser continues with the 0.1 of a.pth.',
        'weight_decay 0.05 of the config is not used: '
        'the optimiser continues with the 0.01 of a.pth.',
    ]
    assert optimizer_notes(optimizer_of(), optimizer_of().state_dict(), kind=None, source='') == []


def test_the_factor_of_muon_that_a_state_replaces_is_noted():
    states = [MuonAdamW([nn.Parameter(torch.zeros(2, 2))], muon_lr_mult=m) for m in (1.0, 3.0)]
    notes = optimizer_notes(states[1], states[0].state_dict(), kind='MuonAdamW', source='a.pth')
    assert notes == [
        'muon_lr_mult 3.0 of the config is not used: the optimiser continues with the 1.0 of a.pth.'
    ]


def test_a_longer_run_keeps_the_schedule_and_notes_where_it_ends():
    def schedules(end):
        optimizer = optimizer_of()
        return [
            LinearLR(optimizer, start_factor=0.1, by_epoch=False, begin=0, end=5),
            CosineAnnealingLR(optimizer, by_epoch=False, begin=5, end=end, T_max=end - 5),
        ]

    states = [schedule.state_dict() for schedule in schedules(12)]
    kinds = ['LinearLR', 'CosineAnnealingLR']
    (note,) = schedule_notes(schedules(20), states, kinds=kinds, source='a.pth')
    assert note == (
        'CosineAnnealingLR continues with the settings of a.pth, not of the config (T_max 7 '
        'instead of 15, end 12 instead of 20); after step 12 it has no effect.'
    )
    with pytest.raises(ValueError, match=r'other schedules \(PolyLR\) than those of this run'):
        schedule_notes(schedules(12), states[:1], kinds=['PolyLR'], source='a.pth')
    with pytest.raises(ValueError, match='with another schedule than CosineAnnealingLR'):
        schedule_notes(schedules(12), states[:1] * 2, kinds=None, source='a.pth')
    assert 'this run none' in schedule_notes(None, states, kinds=None, source='a.pth')[0]


def test_changes_of_configs_are_read_and_not_run(tmp_path):
    before = "model = dict(type='A', depths=[1, 2], hooks=[dict(type='X', n=1)])\nwork_dir = 'a'"
    now = "model = dict(type='A', depths=[1, 3], hooks=[dict(type='X', n=2), dict(type='Y')])"
    assert config_changes(before, now) == [
        'model.depths [1, 2] -> [1, 3]',
        'model.hooks.0.n 1 -> 2',
        "model.hooks.1.type not set -> 'Y'",
    ]
    assert config_changes(before, f'import os\nos.mkdir({str(tmp_path / "x")!r})') == []
    assert config_changes('no config (', now) == []
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize(
    'meta, missing',
    [
        (dict(epoch=1, iter=2), None),
        (dict(epoch=1), 'no epoch and iteration'),
        (dict(iter=1), 'no epoch and iteration'),
        (dict(epoch=1, iter='2'), 'no epoch and iteration'),
        ('epoch iter', 'no epoch and iteration'),
        (None, 'no epoch and iteration'),
    ],
)
def test_progress_is_needed_and_an_optimiser_where_it_is_resumed(meta, missing):
    both = {'meta': meta, 'optimizer': {}}
    if missing is None:
        resume_check._check_progress(both, True)
        resume_check._check_progress({'meta': meta}, False)
        for bad in ({'meta': meta}, {'meta': meta, 'optimizer': [1]}):
            with pytest.raises(ValueError, match='it holds no optimiser state, as best'):
                resume_check._check_progress(bad, True)
        return
    for with_optimizer in (True, False):
        with pytest.raises(ValueError, match=f'^it holds {missing}, as best, published and conv'):
            resume_check._check_progress(both, with_optimizer)


NOW = dict(
    ranks=2, effective_batch=8, samples_per_epoch=64, steps_per_epoch=8, precision='fp32', rest=1
)


class Summary(RunSummaryHook):
    """What this run does."""

    @staticmethod
    def summary(runner):
        return NOW


def data_notes(monkeypatch, before, hooks=True, **meta):
    monkeypatch.setattr(resume_check, 'RunSummaryHook', Summary)
    hub = {'message_hub': {'runtime_info': {'run_summary': before}}} if before is not None else {}
    runner = SimpleNamespace(hooks=[Summary.__new__(Summary)] if hooks else [object()])
    return resume_check._data(runner, {'meta': meta, **hub})


def test_each_number_of_the_data_that_differs_is_noted(monkeypatch):
    assert data_notes(monkeypatch, None) == []
    assert data_notes(monkeypatch, {}) == []
    assert data_notes(monkeypatch, NOW) == []
    assert data_notes(monkeypatch, dict(ranks=9), hooks=False) == []
    assert data_notes(monkeypatch, dict(rest=9)) == []
    for name in ('ranks', 'effective_batch', 'samples_per_epoch', 'steps_per_epoch', 'precision'):
        note = f'The data or the steps differ from here on: {name} 9 -> {NOW[name]}.'
        assert data_notes(monkeypatch, {**NOW, name: 9}) == [note]
    two = data_notes(monkeypatch, dict(ranks=1, precision='bf16'), taken=[[1, 1, 8, 2]])
    assert two == [
        'The data or the steps differ from here on: ranks 1 -> 2, precision bf16 -> fp32.'
    ]
    with pytest.raises(ValueError, match='middle of an epoch of 9 samples, this run has 64: keep'):
        data_notes(monkeypatch, dict(samples_per_epoch=9), taken=[[1, 1, 8, 2]])
    assert data_notes(monkeypatch, dict(samples_per_epoch=9), taken=[]) != []


@pytest.mark.parametrize(
    'train_cfg, meta, done',
    [
        (dict(max_epochs=3), dict(epoch=3, iter=9), '3 of the 3 that train_cfg.max_epochs'),
        (dict(max_epochs=3), dict(epoch=4, iter=9), '4 of the 3 that train_cfg.max_epochs'),
        (dict(max_epochs=3), dict(epoch=2, iter=9), None),
        (dict(max_epochs=3), dict(epoch=2, iter=9, taken=[[1, 1, 8, 2], [2, 1, 4, 3]]), '3 of'),
        (dict(max_epochs=3), dict(epoch=2, iter=9, taken=[[1, 1, 8, 2], [2, 1, 4, 2]]), None),
        (dict(max_epochs=3), dict(epoch=2, iter=9, taken=[]), None),
        (dict(max_iters=9), dict(epoch=0, iter=9), '9 of the 9 that train_cfg.max_iters'),
        (dict(max_iters=9), dict(epoch=0, iter=8, taken=[[1, 1, 8, 5]]), None),
        (dict(max_epochs=None), dict(epoch=9, iter=9), None),
        (None, dict(epoch=9, iter=9), None),
    ],
)
def test_a_run_at_its_end_is_noted(train_cfg, meta, done):
    runner = SimpleNamespace(cfg=dict(train_cfg=train_cfg), train_dataloader=range(5))
    notes = resume_check._nothing_left(runner, dict(meta=meta))
    if done is None:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith(f'The checkpoint has {done}')
        assert note.endswith(' allows: nothing is left to train.')


def test_empty_histories_are_added():
    checkpoint = {'message_hub': None}
    (note,) = resume_check._history(checkpoint)
    assert note.startswith('The checkpoint holds no log histories')
    empty = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    assert checkpoint == {'message_hub': empty}
    assert resume_check._history(checkpoint) == []


def test_averages_are_compared_with_the_hook():
    without, averaging = (SimpleNamespace(hooks=hooks) for hooks in ([], [EMAHook()]))
    with_averages = {'ema_state_dict': {}}
    assert resume_check._averages(averaging, with_averages) == []
    assert resume_check._averages(without, {}) == []
    assert resume_check._averages(averaging, {}) == [
        'The checkpoint holds no averaged weights: the EMAHook begins with its weights.'
    ]
    with pytest.raises(ValueError, match='it was written with an EMAHook'):
        resume_check._averages(without, with_averages)


@pytest.mark.parametrize(
    'count, rest', [(1, ''), (12, ''), (13, '; and 1 more'), (20, '; and 8 more')]
)
def test_twelve_changed_settings_are_listed(count, rest):
    said = []
    text = '\n'.join(f'a{i:02d} = {i + 1}' for i in range(count))
    before = '\n'.join(f'a{i:02d} = 0' for i in range(count))
    runner = SimpleNamespace(
        cfg=SimpleNamespace(pretty_text=text), logger=SimpleNamespace(info=said.append)
    )
    resume_check._log_changes(runner, {'meta': {'cfg': before}}, 'a.pth')
    listed = '; '.join(f'a{i:02d} 0 -> {i + 1}' for i in range(min(count, 12)))
    assert said == [f'Settings that differ from those of a.pth: {listed}{rest}.']
    for meta in ({}, {'cfg': None}, {'cfg': text}):
        said.clear()
        resume_check._log_changes(runner, {'meta': meta}, 'a.pth')
        assert said == []


def wrapper_of(**attributes):
    optimizer = optimizer_of()
    wrapper = OptimWrapper(optimizer)
    for name, value in attributes.items():
        setattr(wrapper, name, value)
    return optimizer.state_dict(), SimpleNamespace(optim_wrapper=wrapper)


@pytest.mark.parametrize(
    'scaler, state, noted',
    [(None, None, False), (False, None, False), (True, None, True), (True, {'scale': 1}, False)],
)
def test_the_scale_of_gradients_is_noted_where_it_is_used_and_missing(scaler, state, noted):
    attributes = {} if scaler is None else {'scaler': SimpleNamespace(is_enabled=lambda: scaler)}
    stored, runner = wrapper_of(**attributes)
    checkpoint = {'optimizer': {**stored, 'scaler': state}, 'meta': {'optimizer': 'AdamW'}}
    notes = resume_check._optimizer(runner, checkpoint, 'a.pth')
    assert len(notes) == noted
    with pytest.raises(ValueError, match='written with Lion, this run has AdamW'):
        resume_check._optimizer(runner, {**checkpoint, 'meta': {'optimizer': 'Lion'}}, 'a.pth')


def test_several_optimisers_are_not_compared():
    stored, runner = wrapper_of()
    several = {'one': stored, 'two': stored}
    both = SimpleNamespace(optim_wrapper=OptimWrapperDict(one=runner.optim_wrapper))
    assert resume_check._optimizer(both, {'optimizer': several, 'meta': {}}, 'a.pth') == []
    with pytest.raises(ValueError, match='states of several optimisers, this run has one'):
        resume_check._optimizer(runner, {'optimizer': several, 'meta': {}}, 'a.pth')


def test_schedules_are_compared_where_there_is_one_list():
    schedules = [LinearLR(optimizer_of(), start_factor=0.1, by_epoch=False, begin=0, end=5)]
    states = [schedule.state_dict() for schedule in schedules]
    checkpoint = {'param_schedulers': states, 'meta': {'param_schedulers': ['PolyLR']}}

    def notes(schedules, checkpoint):
        runner = SimpleNamespace(param_schedulers=schedules)
        return resume_check._schedules(runner, checkpoint, 'a.pth')

    assert notes(dict(one=schedules), checkpoint) == []
    assert notes(schedules, {**checkpoint, 'meta': {}}) == []
    assert notes(None, checkpoint) == [
        'a.pth has 1 schedules and this run none: rates do not change.'
    ]
    with pytest.raises(ValueError, match=r'other schedules \(PolyLR\)'):
        notes(schedules, checkpoint)
    with pytest.raises(ValueError, match='no states of the schedules LinearLR'):
        notes(schedules, {'meta': {}})


@pytest.mark.parametrize('part', ['optimizer', 'schedules'])
def test_parts_that_are_not_resumed_are_not_compared(check, runner, part):
    def change(content):
        content['meta'].update(optimizer='Lion', param_schedulers=['PolyLR'])

    both = dict(with_optimizer=False, with_schedules=False)
    assert check(1, change=change, **both) == []
    both[f'with_{part}'] = True
    with pytest.raises(ValueError, match='Lion' if part == 'optimizer' else 'PolyLR'):
        check(1, change=change, **both)
