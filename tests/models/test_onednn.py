"""Linear layers by oneDNN: numbers and gradients of float64, and only where they are meant."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from groupvit_mmseg.engine.hooks.block_hook import recompute_in_backward
from groupvit_mmseg.models import GroupViT, GroupViTProjector, GroupViTTextEncoder, onednn
from groupvit_mmseg.models.flops import flop_counter
from groupvit_mmseg.models.layers import TransformerBlock
from groupvit_mmseg.models.onednn import OneDnnLinear, training_linears

pytestmark = pytest.mark.skipif(not onednn.AVAILABLE, reason='this PyTorch has no oneDNN')


@pytest.fixture
def calls(monkeypatch):
    """Counts what goes to oneDNN."""
    seen, fits = [], onednn._fits

    def counting(*tensors):
        seen.append(fits(*tensors))
        return seen[-1]

    monkeypatch.setattr(onednn, '_fits', counting)
    return seen


@pytest.fixture
def slow_mkl(monkeypatch):
    """Acts as on a CPU whose products are slow by MKL."""
    monkeypatch.setattr(onednn, 'MKL_IS_SLOW', True)


def products(operations):
    """Return how many linear layers and products of MKL ran in a profile."""
    names = [event.name for event in operations.events()]
    return names.count('mkldnn::_linear_pointwise'), sum('mm' in name for name in names)


@pytest.mark.parametrize('shape', [(3, 7, 16), (1, 16), (16,), (2, 3, 4, 16)])
@pytest.mark.parametrize('with_bias', [True, False])
def test_numbers_are_those_of_float64(calls, shape, with_bias):
    layer = nn.Linear(16, 24, bias=with_bias)
    x = torch.randn(shape)
    with torch.no_grad(), OneDnnLinear():
        found = layer(x)
    expected = layer.double()(x.double())
    assert calls == [True]
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)


def test_strided_inputs_and_shared_weights_are_read_right(calls):
    x, weight, bias = torch.randn(5, 2, 8), torch.randn(12, 8), torch.randn(12)
    with torch.no_grad(), OneDnnLinear():
        turned = F.linear(x.transpose(0, 1), weight[4:], bias[4:])
        columns = F.linear(x, torch.randn(8, 12).T, bias)
    assert calls == [True, True]
    torch.testing.assert_close(turned, F.linear(x, weight, bias)[..., 4:].transpose(0, 1))
    assert columns.shape == (5, 2, 12)


@pytest.mark.parametrize(
    'x, layer',
    [
        (torch.zeros(2, 4, dtype=torch.float64), nn.Linear(4, 3).double()),
        (torch.zeros(2, 4, dtype=torch.bfloat16), nn.Linear(4, 3).bfloat16()),
        (torch.zeros(0, 4), nn.Linear(4, 3)),
    ],
)
def test_other_inputs_are_left_alone(calls, x, layer):
    with torch.no_grad(), OneDnnLinear():
        assert layer(x).dtype == x.dtype
    assert calls == [False]


def test_gradients_where_mkl_is_fast_and_autocast_are_left_alone(calls, monkeypatch):
    monkeypatch.setattr(onednn, 'MKL_IS_SLOW', False)
    layer, x = nn.Linear(4, 3), torch.randn(2, 4)
    with OneDnnLinear():
        layer(x).sum().backward()
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert calls == [False, False]


def test_new_weights_count_at_once(calls):
    layer, x = nn.Linear(4, 3), torch.randn(2, 4)
    with torch.no_grad(), OneDnnLinear():
        before = layer(x)
        layer.weight.mul_(2)
        layer.bias.mul_(2)
        torch.testing.assert_close(layer(x), 2 * before)
    assert calls == [True, True]


@pytest.mark.parametrize('shape', [(3, 7, 16), (1, 16), (16,), (2, 3, 4, 16)])
@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('expanded', [True, False])
def test_gradients_are_those_of_float64(calls, slow_mkl, shape, with_bias, expanded):
    layer, x = nn.Linear(16, 24, bias=with_bias), torch.randn(shape, requires_grad=True)
    weights = torch.ones(()) if expanded else torch.randn(*shape[:-1], 24)
    with training_linears(x):
        (layer(x) * weights).sum().backward()
    found = [t.grad.clone() for t in (x, *layer.parameters())]
    layer, exact = layer.double(), x.detach().double().requires_grad_()
    layer.zero_grad()
    (layer(exact) * weights.double()).sum().backward()
    assert calls == [True]
    for gradient, tensor in zip(found, (exact, *layer.parameters()), strict=True):
        torch.testing.assert_close(gradient.double(), tensor.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('frozen', ['x', 'weight', 'bias'])
def test_what_needs_no_gradient_gets_none(calls, slow_mkl, frozen):
    tensors = dict(x=torch.randn(5, 4), weight=torch.randn(3, 4), bias=torch.randn(3))
    for name, tensor in tensors.items():
        tensor.requires_grad_(name != frozen)
    with training_linears(tensors['x']):
        F.linear(*tensors.values()).sum().backward()
    assert calls == [True]
    assert [name for name, t in tensors.items() if t.grad is None] == [frozen]


def test_towers_and_projectors_train_by_it_and_segment_as_before(slow_mkl):
    parts = [
        GroupViT(img_size=32, patch_size=8, embed_dims=24, depths=(1,), num_heads=(2,),
                 num_group_tokens=(6,), num_output_groups=(4,)),
        GroupViTTextEncoder(embed_dims=16, num_layers=1),
        GroupViTProjector(24, hidden_channels=16, out_channels=8),
    ]  # fmt: skip
    inputs = [torch.randn(2, 3, 32, 32), torch.ones(2, 77, dtype=torch.long), torch.randn(4, 24)]
    for part, given in zip(parts, inputs, strict=True):
        for with_gradients in (True, False):
            with torch.set_grad_enabled(with_gradients), torch.profiler.profile() as operations:
                part(given)
            by_onednn, by_mkl = products(operations)
            assert (by_onednn > 0) == with_gradients
            assert (by_mkl == 0) == (with_gradients and not isinstance(part, GroupViT))


def users_checkpoint(block):
    """Recompute a block as other code than this plugin's does."""
    block.forward = partial(checkpoint, block.forward, use_reentrant=False)


@pytest.mark.parametrize('by', [recompute_in_backward, users_checkpoint])
def test_recomputed_blocks_take_the_same_products_twice(slow_mkl, by):
    """torch's checkpoint refuses other operations in the second pass."""
    torch.manual_seed(0)
    block, x = TransformerBlock(16, 2), torch.randn(2, 5, 16, requires_grad=True)
    block(x).square().sum().backward()
    expected, x.grad = x.grad, None
    by(block)
    result = block(x)
    with torch.profiler.profile() as operations:
        result.square().sum().backward()
    assert products(operations)[0] >= 4  # qkv, proj, fc1 and fc2 again, and gradients
    assert torch.equal(x.grad, expected)


def test_a_pass_outside_that_is_recomputed_inside_is_refused_by_torch(slow_mkl):
    """Why the context is entered in what is recomputed: else this happens."""
    layer, x = nn.Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    with training_linears(x):
        result = checkpoint(layer, x, use_reentrant=False)
    with pytest.raises(torch.utils.checkpoint.CheckpointError):
        result.sum().backward()


def test_results_can_be_changed_in_place(slow_mkl):
    layer, x = nn.Linear(4, 3), torch.randn(2, 5, 4, requires_grad=True)
    with training_linears(x):
        layer(x).relu_().sum().backward()
    found, x.grad = x.grad, None
    layer(x).relu().sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_second_derivatives_are_those_of_torch(calls, slow_mkl):
    layer, x = nn.Linear(4, 3).double().float(), torch.randn(2, 5, 4, requires_grad=True)
    found = []
    for context in (training_linears(x), nullcontext()):
        with context:
            y = layer(x).square().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        first.square().sum().backward()
        found.append((x.grad, layer.weight.grad))
        x.grad = layer.weight.grad = None
    assert calls == [True]
    torch.testing.assert_close(found[0], found[1])


def test_transforms_of_functions_are_left_to_torch(calls, slow_mkl):
    layer, x, tangent = nn.Linear(4, 3), torch.randn(5, 4), torch.randn(5, 4)
    frozen = nn.Linear(4, 3).requires_grad_(False)

    def with_context(function):
        def run(x):
            with training_linears(x):
                return function(x)

        return run

    for one in (layer, frozen):
        _, found = torch.func.jvp(with_context(one), (x,), (tangent,))
        torch.testing.assert_close(found, tangent @ one.weight.T)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, tangent)
        found = torch.autograd.forward_ad.unpack_dual(with_context(frozen)(dual)).tangent
    torch.testing.assert_close(found, tangent @ frozen.weight.T)
    assert torch.vmap(with_context(layer))(x).shape == (5, 3)
    gradients = torch.func.grad(lambda x: with_context(layer)(x).sum())(x)
    torch.testing.assert_close(gradients, layer.weight.sum(0).expand(5, 4))
    assert not any(calls)


@pytest.mark.parametrize(
    'bias', [torch.randn(1).expand(6), torch.randn(12)[::2], torch.randn(1), torch.randn(())]
)
def test_biases_of_other_shapes_and_strides_are_left_to_torch(calls, slow_mkl, bias):
    x, weight = torch.randn(2, 4), torch.randn(6, 4, requires_grad=True)
    with training_linears(x):
        torch.testing.assert_close(F.linear(x, weight, bias), x @ weight.T + bias)
    assert calls == [False]


def test_sizes_that_do_not_fit_are_torchs_sentence(slow_mkl):
    x = torch.randn(2, 4, requires_grad=True)
    with training_linears(x), pytest.raises(RuntimeError, match='cannot be multiplied'):
        F.linear(x, torch.randn(6, 5))


def test_it_can_be_switched_off(calls, slow_mkl):
    layer, x = nn.Linear(4, 3), torch.randn(2, 4)
    with torch.backends.mkldnn.flags(enabled=False), training_linears(x):
        layer(x).sum().backward()
    assert calls == [False]


def test_compiled_blocks_are_one_graph(slow_mkl):
    block, x = TransformerBlock(16, 2), torch.randn(2, 5, 16)
    compiled = torch.compile(block, backend='eager', fullgraph=True)
    torch.testing.assert_close(compiled(x), block(x))


def test_operations_are_counted_as_those_of_linear(slow_mkl):
    layer, x = nn.Linear(16, 24), torch.randn(2, 5, 16, requires_grad=True)
    counts = []
    for context in (nullcontext(), training_linears(x)):
        with flop_counter() as counter, context:
            layer(x).sum().backward()
        counts.append(counter.get_total_flops())
    assert counts == [3 * 2 * 10 * 16 * 24] * 2
