"""Steps with a non-finite loss or gradient: skipped, counted, and explained if they persist."""

import itertools
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from groupvit_mmseg.engine import GuardedOptimWrapper, MixedPrecisionOptimWrapper

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
NAN, COUNTER = float('nan'), itertools.count()


class Poisoned(nn.Module):
    """Two layers with BatchNorm; ``poison`` turns a value of a step into nan or inf."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.last = nn.Linear(4, 1)
        self.poison = None

    def forward(self, inputs):
        hidden = self.norm(self.first(inputs))
        if self.poison == 'gradient':
            hidden.register_hook(lambda gradient: gradient * NAN)
        out = self.last(hidden)
        return out.square().mean() * (NAN if self.poison == 'loss' else 1.0)


@pytest.fixture(autouse=True)
def _hub():
    """A message hub for this test alone."""
    MessageHub.get_instance(f'finite-{next(COUNTER)}')


def make(wrapper_type=GuardedOptimWrapper, **options):
    model = Poisoned()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, wrapper_type(optimizer, **{'clip_grad': dict(max_norm=1.0), **options})


def step(model, wrapper, inputs):
    with wrapper.optim_context(model):
        loss = model(inputs)
    wrapper.update_params(loss)


def batches(count):
    return list(torch.randn(count, 5, 3))


@pytest.mark.parametrize('poison', ['loss', 'gradient', 'input'])
def test_a_skipped_step_leaves_no_trace(poison):
    model, wrapper = make()
    twin, twin_wrapper = make()
    twin.load_state_dict(model.state_dict())
    for index, batch in enumerate(batches(4)):
        if index == 2:
            model.poison = poison
            step(model, wrapper, batch * NAN if poison == 'input' else batch)
            model.poison = None
        step(model, wrapper, batch)
        step(twin, twin_wrapper, batch)
    for (name, ours), theirs in zip(
        model.state_dict().items(), twin.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name
    hub = MessageHub.get_current_instance()
    assert hub.get_scalar('train/skipped_steps').current() == 1
    assert hub.get_info('skipped_steps') == 1


def test_clipped_values_hide_no_infinite_gradient():
    model, wrapper = make(clip_grad=dict(type='value', clip_value=1e-3))
    twin, twin_wrapper = make()
    twin.load_state_dict(model.state_dict())
    (batch,) = batches(1)
    hub = MessageHub.get_current_instance()
    norms = []
    for each, its_wrapper in ((twin, twin_wrapper), (model, wrapper)):
        step(each, its_wrapper, batch)
        norms.append(hub.get_scalar('train/grad_norm').current())
    assert norms[0] == norms[1] > 0.1  # before clipping
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.last.bias.register_hook(lambda gradient: gradient * float('inf'))
    step(model, wrapper, batch)
    assert hub.get_info('skipped_steps') == 1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    'poison, named',
    [
        ('input', 'the input 0 (15 of 15 values, float32)'),
        ('parameter', 'the parameter first.bias (1 of 4 values, float32)'),
        ('module', 'the output of norm (20 of 20 values, float32)'),
        ('gradient', 'the gradient to the output of first (20 of 20 values, float32)'),
        ('loss', 'the output of the model (1 of 1 values, float32)'),
    ],
)
def test_the_first_module_and_tensor_are_named(poison, named):
    model, wrapper = make(max_skipped=3)
    (batch,) = batches(1)
    model.poison = poison
    if poison == 'parameter':
        model.first.bias.data[1] = float('inf')
    if poison == 'module':
        model.norm.register_forward_hook(lambda module, inputs, out: out / 0.0 - out / 0.0)
    inputs = batch * NAN if poison == 'input' else batch
    step(model, wrapper, inputs)
    step(model, wrapper, inputs)
    with pytest.raises(FloatingPointError) as error:
        step(model, wrapper, inputs)
    assert named in str(error.value)
    assert str(error.value).startswith('3 steps in a row had a loss or gradient that is not finite')


def test_only_steps_in_a_row_stop_training():
    model, wrapper = make(max_skipped=2)
    for _ in range(3):
        step(model, wrapper, torch.full((5, 3), NAN))
        step(model, wrapper, torch.randn(5, 3))
    assert MessageHub.get_current_instance().get_info('skipped_steps') == 3
    assert not model.norm._forward_hooks  # nobody looks any more


def test_a_bad_part_spoils_all_accumulated_gradients():
    model, wrapper = make(accumulative_counts=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model, wrapper, torch.randn(5, 3))
    step(model, wrapper, torch.full((5, 3), NAN))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    step(model, wrapper, torch.randn(5, 3))
    step(model, wrapper, torch.randn(5, 3))
    assert not torch.equal(model.first.weight, before['first.weight'])


@pytest.mark.skipif(not hasattr(torch.amp, 'GradScaler'), reason='needs torch 2.3')
def test_a_gradient_scaler_finds_its_scale():
    model, wrapper = make(MixedPrecisionOptimWrapper)
    wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)
    model.last.weight.data.mul_(10)
    before = model.first.weight.detach().clone()
    skipped = 0
    for batch in batches(30):
        scale = wrapper.scaler.get_scale()
        step(model, wrapper, batch)
        skipped += wrapper.scaler.get_scale() < scale
    assert 1 <= skipped < 30
    assert MessageHub.get_current_instance().get_info('skipped_steps') == skipped
    assert torch.isfinite(model.first.weight).all()
    assert not torch.equal(model.first.weight, before)


def test_a_run_continues_after_a_bad_batch(make_runner):
    runner = make_runner(train_cfg=dict(max_epochs=1))
    forward, calls = runner.model.text_encoder.forward, itertools.count()

    def sometimes_bad(token_ids):
        return forward(token_ids) * (NAN if next(calls) == 1 else 1.0)

    runner.model.text_encoder.forward = sometimes_bad
    runner.train()
    hub = runner.message_hub
    assert hub.get_info('skipped_steps') == 1
    assert runner.iter == 4
    state = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in state.values())


def test_guarding_a_healthy_run_changes_no_bit(make_runner):
    runs = []
    for wrapper in ('mmengine.OptimWrapper', 'GuardedOptimWrapper'):
        options = dict(type=wrapper, accumulative_counts=2)
        runs.append(make_runner(wrapper, optim_wrapper=options, train_cfg=dict(max_epochs=2)))
        runs[-1].train()
        assert isinstance(runs[-1].optim_wrapper, GuardedOptimWrapper) == (wrapper[0] == 'G')
    plain, guarded = (run.model.state_dict() for run in runs)
    assert not [name for name, value in plain.items() if not torch.equal(guarded[name], value)]
    for name in ('loss', 'lr'):
        plain, guarded = (run.message_hub.get_scalar(f'train/{name}').data[0] for run in runs)
        assert plain.tolist() == guarded.tolist()


def test_every_pretraining_that_ships_is_guarded():
    pretrainings = [
        cfg
        for cfg in map(Config.fromfile, sorted(CONFIGS.rglob('*.py')))
        if cfg.get('model', {}).get('type') == 'GroupViTPretrainer' and 'optim_wrapper' in cfg
    ]
    assert len(pretrainings) >= 5
    for cfg in pretrainings:
        scope = cfg.optim_wrapper._scope_
        with OPTIM_WRAPPERS.switch_scope_and_registry(scope) as registry:
            assert issubclass(registry.get(cfg.optim_wrapper.type), GuardedOptimWrapper)
