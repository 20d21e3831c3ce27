"""Linear layers by oneDNN: the numbers of float64, and only where they are meant."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groupvit_mmseg.models import onednn
from groupvit_mmseg.models.onednn import OneDnnLinear

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


def test_gradients_and_autocast_are_left_alone(calls):
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
