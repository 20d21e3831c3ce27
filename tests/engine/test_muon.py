"""MuonAdamW against PyTorch's own Muon and AdamW, and against singular values."""

import copy

import pytest
import torch
from mmengine.logging import MMLogger
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from groupvit_mmseg.engine import MuonAdamW
from groupvit_mmseg.engine.optimizers import muon
from groupvit_mmseg.engine.optimizers.muon import matrix_weights, orthogonalize
from groupvit_mmseg.torch_versions import has_fused_optimizers


def train(optimizer, parameters, steps=3):
    """Take steps with the same random gradients for equal shapes."""
    rng = torch.Generator().manual_seed(0)
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        optimizer.step()


def parameter(*shape):
    return nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize('shape', [(24, 24), (16, 60), (60, 16)])
def test_singular_values_become_one_and_vectors_stay(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    result = orthogonalize(matrix, steps=5)
    assert result.shape == matrix.shape
    assert result.dtype == matrix.dtype
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inside = torch.diagonal(u.T @ result @ v.T)
    assert inside.min() > 0.3
    assert inside.max() < 1.3
    assert torch.nn.functional.cosine_similarity(result.flatten(), (u @ v).flatten(), dim=0) > 0.97


@pytest.mark.parametrize('hardware,expected', [(True, torch.bfloat16), (False, torch.float32)])
def test_a_cpu_that_emulates_bfloat16_multiplies_in_float32(monkeypatch, hardware, expected):
    monkeypatch.setattr(muon, 'has_bfloat16_products', lambda _: hardware)
    seen = set()

    class Products(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.mm.default:
                seen.update(each.dtype for each in args)
            return func(*args, **(kwargs or {}))

    with Products():
        result = orthogonalize(torch.randn(6, 9), steps=2)
    assert seen == {expected}
    assert result.dtype is torch.float32


def test_a_matrix_of_zeros_stays_zero():
    assert not orthogonalize(torch.zeros(4, 7), steps=5).any()


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='PyTorch has no Muon before 2.9')
@pytest.mark.parametrize('shape', [(8, 20), (20, 8)])
def test_steps_of_matrices_are_those_of_pytorch(monkeypatch, shape):
    monkeypatch.setattr(muon, 'has_bfloat16_products', lambda _: True)
    ours, theirs = parameter(*shape), parameter(*shape)
    train(MuonAdamW([dict(params=[ours], use_muon=True)], lr=0.1, weight_decay=0.2), [ours])
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.2, adjust_lr_fn='match_rms_adamw')
    train(reference, [theirs])
    # Both round to bfloat16, of numbers that differ by a factor.
    torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.01)


def test_a_kernel_is_the_matrix_of_its_outputs():
    kernel, matrix = parameter(6, 3, 2, 2), parameter(6, 12)
    for each in (kernel, matrix):
        train(MuonAdamW([dict(params=[each], use_muon=True)], lr=0.1), [each])
    torch.testing.assert_close(kernel.flatten(1), matrix, rtol=0, atol=0)


FUSED = has_fused_optimizers(nn.Linear(1, 1))


@pytest.mark.parametrize('fused', [False, True] if FUSED else [False])
def test_other_groups_are_adamws(fused):
    ours, theirs, matrix = parameter(5, 4), parameter(5, 4), parameter(3, 3)
    settings = dict(lr=0.1, betas=(0.9, 0.98), weight_decay=0.2, fused=fused)
    groups = [dict(params=[ours]), dict(params=[matrix], use_muon=True)]
    optimizer = MuonAdamW(groups, **settings)
    train(optimizer, [ours])
    train(torch.optim.AdamW([theirs], **settings), [theirs])
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(matrix, parameter(3, 3))  # no gradient, no step
    assert [group['use_muon'] for group in optimizer.param_groups] == [False, True]


def test_rate_and_momentum_act_on_matrices_alone():
    matrix, embedding = parameter(6, 6), parameter(6, 6)
    groups = [dict(params=[matrix], use_muon=True), dict(params=[embedding])]
    optimizer = MuonAdamW(groups, lr=0.01, weight_decay=0.0, muon_lr_mult=3.0, muon_momentum=0.0)
    train(optimizer, [matrix, embedding], steps=1)
    step = (parameter(6, 6) - matrix) / (3 * 0.01 * 0.2 * 6**0.5)
    assert 0.5 < torch.linalg.svdvals(step.detach()).max() < 1.3
    torch.testing.assert_close((parameter(6, 6) - embedding).abs(), torch.full((6, 6), 0.01))


def test_a_resumed_run_continues_alike():
    matrix = parameter(6, 9)
    optimizer = MuonAdamW([dict(params=[matrix], use_muon=True)], lr=0.1)
    train(optimizer, [matrix])
    twin = nn.Parameter(matrix.detach().clone())
    resumed = MuonAdamW([dict(params=[twin], use_muon=True)], lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(optimizer, [matrix])
    train(resumed, [twin])
    assert torch.equal(matrix, twin)


def test_closure_runs_with_gradients():
    layer = nn.Linear(3, 2)
    optimizer = MuonAdamW([dict(params=[layer.weight], use_muon=True), dict(params=[layer.bias])])

    def closure():
        optimizer.zero_grad()
        loss = layer(torch.ones(1, 3)).square().sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(20)]
    assert losses[-1] < losses[0]


@pytest.mark.skipif(not FUSED, reason='PyTorch has fused optimisers on CPUs since 2.4')
def test_scaled_gradients_are_divided_before_the_step():
    optimizer = MuonAdamW([parameter(2, 2)], fused=True)
    assert not optimizer._step_supports_amp_scaling
    assert not copy.deepcopy(optimizer)._step_supports_amp_scaling


def test_a_copy_takes_the_same_steps():
    matrix = parameter(4, 6)
    optimizer = MuonAdamW([dict(params=[matrix], use_muon=True)], lr=0.1, muon_lr_mult=2.0)
    train(optimizer, [matrix])
    twin = copy.deepcopy(optimizer)
    (copied,) = twin.param_groups[0]['params']
    train(optimizer, [matrix])
    train(twin, [copied])
    assert torch.equal(matrix, copied)
    assert not torch.equal(matrix, parameter(4, 6))


def test_the_state_of_adamw_continues_without_muon():
    ours, theirs = parameter(4, 6), parameter(4, 6)
    reference = torch.optim.AdamW([theirs], lr=0.1)
    train(reference, [theirs])
    optimizer = MuonAdamW([ours], lr=0.5)
    optimizer.load_state_dict(copy.deepcopy(reference.state_dict()))
    ours.data.copy_(theirs.data)
    train(optimizer, [ours])
    train(reference, [theirs])
    assert torch.equal(ours, theirs)


def test_hooks_of_a_step_run_once():
    torch.optim.AdamW([parameter(1, 1)])  # torch wraps the step of a class at its first instance
    layer = nn.Linear(3, 2)
    optimizer = MuonAdamW([dict(params=[layer.weight], use_muon=True), dict(params=[layer.bias])])
    groups = []
    optimizer.register_step_post_hook(lambda each, *_: groups.append(len(each.param_groups)))
    train(optimizer, list(layer.parameters()), steps=1)
    assert groups == [2]


def test_embeddings_and_kernels_of_other_layouts_are_no_matrices():
    layers = nn.ModuleDict(
        dict(
            embedding=nn.Embedding(5, 4),
            tied=nn.Linear(4, 5, bias=False),
            linear=nn.Linear(4, 4, bias=False),
            plain=nn.Conv2d(4, 4, 3, bias=False),
            grouped=nn.Conv2d(4, 4, 3, groups=2, bias=False),
            transposed=nn.ConvTranspose2d(4, 2, 3, bias=False),
        )
    )
    layers['tied'].weight = layers['embedding'].weight
    assert matrix_weights(layers) == {id(layers[name].weight) for name in ('linear', 'plain')}


@pytest.mark.parametrize(
    'settings,message',
    [
        (dict(muon_lr_mult=0), 'must be positive'),
        (dict(muon_momentum=1), r'must be in \[0, 1\)'),
        (dict(muon_steps=0), 'at least 1'),
        (dict(maximize=True), 'minimises'),
    ],
)
def test_values_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MuonAdamW([parameter(2, 2)], **settings)


def test_vectors_have_no_singular_values():
    with pytest.raises(ValueError, match=r'a parameter has shape \(4,\)'):
        MuonAdamW([dict(params=[parameter(4)], use_muon=True)])


def test_shards_of_a_matrix_are_refused():
    class Sharded(nn.Parameter):
        def full_tensor(self):
            return self

    shard = Sharded(torch.ones(2, 2))
    shard.grad = torch.ones(2, 2)
    with pytest.raises(RuntimeError, match='whole matrices'):
        MuonAdamW([dict(params=[shard], use_muon=True)]).step()


def build(model, kind='MuonAdamW', **paramwise):
    return OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='GroupViTOptimConstructor',
            optim_wrapper_cfg=dict(
                type='OptimWrapper', optimizer=dict(type=kind, lr=0.5, weight_decay=0.1)
            ),
            paramwise_cfg=dict(flat_decay_mult=0.0, **paramwise),
        )
    )(model).optimizer


def names_with_muon(model, optimizer):
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [group for group in optimizer.param_groups if group['use_muon']]
    return {names[id(p)] for group in groups for p in group['params']}


def test_the_constructor_gives_muon_linear_layers_and_convolutions(tiny_config):
    model = MODELS.build(tiny_config.model)
    found = names_with_muon(model, build(model))
    kinds = {name: type(module) for name, module in model.named_modules()}
    assert found
    assert all(kinds[name.rpartition('.')[0]] in (nn.Linear, nn.Conv2d) for name in found)
    rest = dict(model.named_parameters()).keys() - found
    assert {'text_encoder.token_embedding.weight', 'backbone.stages.0.group_tokens'} <= rest
    linear = {f'{n}.weight' for n, kind in kinds.items() if kind in (nn.Linear, nn.Conv2d)}
    assert found == linear


@pytest.mark.parametrize('kind', [MuonAdamW, 'mmengine.MuonAdamW'])
def test_other_spellings_of_the_type_have_the_same_groups(kind):
    model = nn.Linear(3, 2)
    assert names_with_muon(model, build(model, kind)) == {'weight'}


def test_keys_leave_matrices_to_adamw_and_nothing_else_changes(tiny_config):
    model = MODELS.build(tiny_config.model)
    optimizer = build(model, custom_keys={'text_encoder': dict(use_muon=False)})
    assert not any('text_encoder' in name for name in names_with_muon(model, optimizer))
    decays = {
        p.ndim > 1: group['weight_decay']
        for group in optimizer.param_groups
        for p in group['params']
    }
    assert decays == {True: 0.1, False: 0.0}


def test_groups_that_none_marks_are_a_warning(caplog):
    model = nn.Sequential(nn.Linear(4, 3))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        optimizer = dict(type='MuonAdamW', lr=1e-3)
        cfg = dict(optim_wrapper_cfg=dict(type='OptimWrapper', optimizer=optimizer))
        OPTIM_WRAPPER_CONSTRUCTORS.build(dict(type='GroupViTOptimConstructor', **cfg))(model)
        copy.deepcopy(MuonAdamW([dict(params=model.parameters(), use_muon=False)]))
        assert not [record for record in caplog.records if record.levelname == 'WARNING']
        OPTIM_WRAPPER_CONSTRUCTORS.build(dict(type='DefaultOptimWrapperConstructor', **cfg))(model)
    finally:
        logger.removeHandler(caplog.handler)
    (record,) = [record for record in caplog.records if record.levelname == 'WARNING']
    assert 'all of them take steps of AdamW; set optim_wrapper.constructor' in record.getMessage()
