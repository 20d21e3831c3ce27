import torch
import torch.nn.functional as F

from groupvit_mmseg.models.assignment import (
    gumbel_assignment,
    gumbel_noise,
    hard_assignment,
    soft_assignment,
)


def test_hard_is_one_hot_over_segments_with_the_soft_gradient():
    logits = torch.randn(2, 5, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 5, 7, dtype=torch.float64)
    hard = hard_assignment(logits)
    expected = F.one_hot(logits.argmax(1), 5).transpose(1, 2).double()
    assert torch.allclose(hard, expected, atol=1e-15)
    (gradient,) = torch.autograd.grad(hard, logits, upstream)
    (soft_gradient,) = torch.autograd.grad(soft_assignment(logits), logits, upstream)
    assert torch.equal(gradient, soft_gradient)


def test_hard_by_hand():
    logits = torch.tensor([[[2.0, 0.0], [1.0, 3.0], [0.0, 0.0]]])  # 3 segments, 2 tokens
    assert hard_assignment(logits).round().tolist() == [[[1, 0], [0, 1], [0, 0]]]


def test_gumbel_noise_moves_the_choice_by_the_softmax_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, 2.0]).view(3, 1).expand(3, 40_000)
    share = gumbel_assignment(logits).mean(dim=1)
    assert torch.allclose(share, torch.tensor([0.0, 1.0, 2.0]).softmax(0), atol=0.01)


def test_given_noise_is_used_and_tau_divides():
    logits, noise = torch.randn(1, 4, 6), torch.randn(1, 4, 6)
    expected = hard_assignment((logits + noise) / 2)
    assert torch.equal(gumbel_assignment(logits, noise=noise, tau=2.0), expected)


def test_noise_is_gumbel():
    torch.manual_seed(0)
    noise = gumbel_noise(torch.empty(200_000))
    assert abs(float(noise.mean()) - 0.5772) < 0.01  # Euler's constant
    assert abs(float(noise.var()) - torch.pi**2 / 6) < 0.03
