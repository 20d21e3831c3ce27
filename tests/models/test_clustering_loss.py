"""The loss that teaches groups to be clusters of patches."""

import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from groupvit_mmseg.models.clustering_loss import balance, grid_positions, unit_variance


def build(**options):
    return MODELS.build(dict(type='GroupClusteringLoss', **options))


def naive_targets(tokens, assignment, temperature, position_weight, steps):
    """The definition, in loops over images, patches and segments."""
    batch, segments, height, width = assignment.shape
    patches = height * width
    distances = np.zeros((batch * patches, segments))
    for b in range(batch):
        z = tokens[b] - tokens[b].mean(0)
        z = z / np.sqrt((z**2).sum(1).mean())
        places = np.array(
            [(row / height, column / width) for row, column in np.ndindex(height, width)]
        )
        places = places - places.mean(0)
        places = places / np.sqrt((places**2).sum(1).mean())
        features = np.concatenate([z, position_weight * places], axis=1)
        for s in range(segments):
            weights = assignment[b, s].ravel()
            centre = sum(w * f for w, f in zip(weights, features, strict=True)) / weights.sum()
            for n in range(patches):
                distances[b * patches + n, s] = ((features[n] - centre) ** 2).sum()
    matrix = np.exp(-distances / temperature)
    for _ in range(steps):
        matrix = matrix / matrix.sum(0) * len(matrix) / segments
        matrix = matrix / matrix.sum(1, keepdims=True)
    matrix = matrix / matrix.sum(1, keepdims=True)
    return matrix.reshape(batch, patches, segments).transpose(0, 2, 1)


@pytest.mark.parametrize('steps', [0, 1, 3])
def test_against_loops(steps):
    torch.manual_seed(0)
    tokens = torch.randn(2, 12, 5, dtype=torch.float64)
    assignment = torch.randn(2, 4, 3, 4, dtype=torch.float64).softmax(1)
    loss = build(temperature=0.5, position_weight=0.7, num_balancing_steps=steps, loss_weight=2.0)
    expected = torch.from_numpy(naive_targets(tokens.numpy(), assignment.numpy(), 0.5, 0.7, steps))
    torch.testing.assert_close(loss.targets(tokens, assignment), expected)
    entropy = -(expected * assignment.flatten(2).log()).sum(1).mean()
    torch.testing.assert_close(loss(tokens, assignment), 2 * entropy)


def learn(tokens, height, num_segments, **options):
    """Return the assignment that the loss leads to, from random logits."""
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(len(tokens), num_segments, height, 8)).requires_grad_()
    loss = build(**options)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(tokens, logits.softmax(1)).backward()
        optimizer.step()
    return logits.argmax(1).flatten(1)


def test_it_finds_the_clusters_of_the_tokens():
    """Two kinds of patches in each image, scattered; other directions in each image."""
    torch.manual_seed(1)
    kinds = torch.rand(6, 64) < 0.4
    directions = 3 * torch.randn(6, 2, 16)
    tokens = directions.gather(1, kinds.long().unsqueeze(-1).expand(-1, -1, 16))
    tokens = tokens + 0.3 * torch.randn(6, 64, 16)
    found = learn(tokens, 8, 2)
    for labels, kind in zip(found, kinds, strict=True):
        assert len(labels[kind].unique()) == 1
        assert len(labels[~kind].unique()) == 1
        assert labels[kind][0] != labels[~kind][0]


def test_positions_alone_make_connected_regions():
    """Tokens that are all alike: halves of the image, and not every second patch."""
    found = learn(torch.ones(4, 64, 3), 8, 2).view(4, 8, 8)
    neighbours = (found[:, 1:] == found[:, :-1]).float().mean() + (
        found[:, :, 1:] == found[:, :, :-1]
    ).float().mean()
    assert neighbours / 2 > 0.85  # random: 0.5


def test_segments_are_equally_large_over_the_batch_but_not_in_an_image():
    torch.manual_seed(0)
    tokens = torch.cat([torch.randn(1, 9, 4).expand(3, -1, -1), torch.randn(3, 9, 4)])
    assignment = torch.randn(6, 3, 3, 3).add(torch.tensor([3.0, 0, 0]).view(1, 3, 1, 1)).softmax(1)
    targets = build(num_balancing_steps=50).targets(tokens, assignment)  # (6, 3, 9)
    torch.testing.assert_close(targets.mean(dim=(0, 2)), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    assert targets.mean(dim=2).std(dim=0).max() > 0.05
    torch.testing.assert_close(targets.sum(1), torch.ones(6, 9))


def test_three_steps_keep_a_segment_from_taking_everything():
    """One segment is the mean of all patches, and nearer to most than the two of one patch each."""
    torch.manual_seed(0)
    tokens = torch.randn(8, 16, 4)
    assignment = torch.zeros(8, 3, 16)
    assignment[:, 1:] = -8.0
    assignment[:, 1, 3] = assignment[:, 2, 12] = 8.0
    assignment = assignment.unflatten(-1, (4, 4))
    shares = {
        steps: build(num_balancing_steps=steps, temperature=1.0)
        .targets(tokens, assignment.softmax(1))
        .mean(dim=(0, 2))
        for steps in (0, 3)
    }
    assert shares[0].max() > 1.5 * shares[3].max()
    assert shares[3].min() > 0.3


def test_balanced_rows_and_columns():
    torch.manual_seed(0)
    balanced = balance(torch.randn(12, 4, dtype=torch.float64), 200).exp()
    torch.testing.assert_close(balanced.sum(0), torch.full((4,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(balanced.sum(1), torch.ones(12, dtype=torch.float64))


def test_the_gradient_reaches_the_assignment_alone():
    torch.manual_seed(0)
    tokens = torch.randn(2, 12, 5, requires_grad=True)
    logits = torch.randn(2, 4, 3, 4, requires_grad=True)
    build()(tokens, logits.softmax(1)).backward()
    assert tokens.grad is None
    assert logits.grad.abs().sum() > 0


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    torch.manual_seed(0)
    tokens, assignment = torch.randn(2, 12, 5).to(dtype), torch.randn(2, 4, 3, 4).softmax(1)
    with torch.autocast('cpu', torch.bfloat16):
        value = build()(tokens, assignment)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, build()(tokens.float(), assignment))


@pytest.mark.parametrize('case', ['one colour', 'certain', 'empty', 'one patch'])
def test_borderline_images_have_finite_gradients(case):
    """No variance; an assignment without doubt, wrong; a segment without a patch; one patch."""
    torch.manual_seed(0)
    height = 1 if case == 'one patch' else 4
    tokens = torch.randn(2, height**2, 5)
    if case == 'one colour':
        tokens = tokens[:, :1].expand(-1, 16, -1)
    logits = torch.randn(2, 3, height, height) * (1e3 if case == 'certain' else 1)
    if case == 'empty':
        logits[:, 2] = -1e4  # a probability of exactly 0
    logits.requires_grad_()
    value = build()(tokens, logits.softmax(1))
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_equal_patches_are_no_clusters_of_rounding_errors():
    torch.manual_seed(0)
    points = (1000 * torch.randn(1, 1, 32)).expand(1, 37, -1).contiguous()
    assert unit_variance(points).abs().max() < 0.05
    small = 1e-6 * torch.randn(1, 37, 32)  # small, but not equal
    torch.testing.assert_close(unit_variance(small).square().sum(-1).mean(), torch.tensor(1.0))


def test_places_are_rows_then_columns():
    places = grid_positions(torch.zeros(2, 3, 2, 4))
    assert places.shape == (1, 8, 2)
    torch.testing.assert_close(places[0, 5], torch.tensor([0.5, 0.25]))


def test_defaults_are_the_documented_ones():
    loss = build()
    options = (loss.temperature, loss.position_weight, loss.num_balancing_steps, loss.loss_weight)
    assert options == (0.1, 0.5, 3, 1.0)


@pytest.mark.parametrize(
    'option, values, limit',
    [
        ('temperature', (0.0, -1.0, 1e-45, '0.1', None), 'a number above 1e-6'),
        ('position_weight', (-1.0, math.inf, 'x'), 'a number, at least 0'),
        ('num_balancing_steps', (-1, 1.5, math.inf), 'an integer, at least 0'),
        ('loss_weight', (math.nan, None, '1'), 'a number, at least 0'),
    ],
)
def test_bad_options_are_one_sentence(option, values, limit):
    for value in values:
        with pytest.raises(ValueError, match=f'{option} = .* must be {limit}'):
            build(**{option: value})
