"""``attend``: plain products for gradients of bfloat16 on CPUs, PyTorch's kernel elsewhere."""

import pytest
import torch
import torch.nn.functional as F

from groupvit_mmseg.models import layers


def drawn(dtype, queries=7, keys=7, requires_grad=True):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, count, 16) for count in (queries, keys, keys)]
    return [
        torch.randn(shape, generator=generator).to(dtype).requires_grad_(requires_grad)
        for shape in shapes
    ]


@pytest.fixture
def fused_calls(monkeypatch):
    calls, fused = [], F.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(args)
        return fused(*args, **kwargs)

    monkeypatch.setattr(layers.F, 'scaled_dot_product_attention', counted)
    return calls


@pytest.mark.parametrize('causal', [False, True])
def test_plain_products_are_as_exact_as_the_kernel(causal, fused_calls):
    inputs = drawn(torch.bfloat16)
    result = layers.attend(*inputs, causal=causal)
    assert not fused_calls
    assert result.dtype == torch.bfloat16
    exact = [t.detach().double().requires_grad_() for t in inputs]
    expected = F.scaled_dot_product_attention(*exact, is_causal=causal)
    upstream = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    gradients = torch.autograd.grad(result, inputs, upstream.to(result.dtype))
    references = torch.autograd.grad(expected, exact, upstream.double())
    for value, reference in zip((result, *gradients), (expected, *references), strict=True):
        error = (value.double() - reference).abs().max() / reference.abs().max()
        assert error < 0.02  # bfloat16 has eight bits: 1 / 256 per rounding


@pytest.mark.parametrize(
    'dtype, keys, requires_grad',
    [
        (torch.float32, 7, True),
        (torch.bfloat16, 7, False),
        (torch.bfloat16, layers.MAX_UNFUSED_KEYS + 1, True),
    ],
)
def test_the_kernel_computes_the_rest(dtype, keys, requires_grad, fused_calls):
    inputs = drawn(dtype, keys=keys, requires_grad=requires_grad)
    torch.testing.assert_close(layers.attend(*inputs), F.scaled_dot_product_attention(*inputs))
    assert len(fused_calls) == 2
