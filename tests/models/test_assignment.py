import pytest
import torch
import torch.nn.functional as F

from groupvit_mmseg.models.assignment import (
    AssignmentOptions,
    assign,
    gumbel_assignment,
    gumbel_noise,
    hard_assignment,
    mean_of_members,
    read_assignment_options,
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


@pytest.mark.parametrize('options, tau', [({}, 1.0), (dict(tau=2.0), 2.0)])
def test_the_gradient_of_a_draw_is_that_of_the_soft_assignment(options, tau):
    logits = torch.randn(1, 4, 6, dtype=torch.float64, requires_grad=True)
    noise, upstream = torch.randn_like(logits), torch.randn_like(logits)
    drawn = gumbel_assignment(logits, noise=noise, **options)
    (gradient,) = torch.autograd.grad(drawn, logits, upstream)
    soft = soft_assignment((logits + noise) / tau)
    (expected,) = torch.autograd.grad(soft, logits, upstream)
    torch.testing.assert_close(gradient, expected)


def test_noise_is_gumbel():
    torch.manual_seed(0)
    noise = gumbel_noise(torch.empty(200_000))
    assert abs(float(noise.mean()) - 0.5772) < 0.01  # Euler's constant
    assert abs(float(noise.var()) - torch.pi**2 / 6) < 0.03


def test_assignments_of_the_options():
    logits = torch.randn(2, 5, 7)
    options = AssignmentOptions()
    assert torch.equal(assign(logits, options, training=False), hard_assignment(logits))
    torch.manual_seed(1)
    noise = gumbel_noise(logits)
    torch.manual_seed(1)
    drawn = assign(logits, options, training=True)
    assert torch.equal(drawn, hard_assignment(logits + noise))
    soft = options._replace(kind='soft')
    torch.manual_seed(1)
    assert torch.equal(assign(logits, soft, training=True), soft_assignment(logits + noise))
    assert torch.equal(assign(logits, soft, training=False), soft_assignment(logits))
    for kind, expected in dict(hard=hard_assignment, soft=soft_assignment).items():
        quiet = AssignmentOptions(kind, gumbel_noise=False)
        assert torch.equal(assign(logits, quiet, training=True), expected(logits))


@pytest.mark.parametrize(
    'values, sentence',
    [
        (dict(type='soft'), 'no option type: it has kind, gumbel_noise, eps, mean_of_tokens'),
        (dict(kind='firm'), "must be 'hard' or 'soft', not 'firm'"),
        (dict(gumbel_noise=1), 'gumbel_noise = 1 must be a bool'),
        (dict(mean_of_tokens=None), 'mean_of_tokens = None must be a bool'),
        (dict(eps=0), 'eps = 0 must be a number above 0'),
        (dict(later_query_weight=-1), 'later_query_weight = -1 must be a finite number'),
        (dict(later_query_weight='no'), "later_query_weight = 'no' must be a finite"),
        (dict(later_query_weight=float('nan')), 'nan must be a finite number'),
        (dict(later_query_weight=True), 'True must be a finite number'),
        (dict(later_query_weight=10**400), '0 must be a finite number'),
        (dict(later_query_weight=float('inf')), 'inf must be a finite number of at least 0'),
    ],
)
def test_wrong_options_are_refused(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_assignment_options(values)


def test_a_plain_mean_is_finite_in_half_precision():
    """Sums of many tokens overflow there, and so does a quotient by next to nothing."""
    tokens = torch.full((1, 784, 2), 100.0, dtype=torch.float16, requires_grad=True)
    members = torch.zeros(1, 3, 784, requires_grad=True)
    with torch.no_grad():
        members[:, 0], members[:, 1] = 1.0, 1e-9
    means = mean_of_members(tokens, members)
    torch.testing.assert_close(means[0, 0], torch.full((2,), 100.0, dtype=torch.float16))
    assert (means[0, 2] == 0).all()
    assert means.isfinite().all()
    for gradient in torch.autograd.grad(means.sum(), [tokens, members]):
        assert gradient.isfinite().all()
