"""PAMR against the definition by loops, and on cases worked out by hand."""

import pytest
import torch

from groupvit_mmseg.models.refinement import affinities, pamr


def slow_pamr(scores, image, num_steps, dilations):
    """The definition, pixel by pixel."""
    _, height, width = image.shape

    def at(maps, y, x):
        return maps[:, min(max(y, 0), height - 1), min(max(x, 0), width - 1)]

    for _ in range(num_steps):
        refined = torch.zeros_like(scores)
        for y in range(height):
            for x in range(width):
                around = [
                    (y + dy * d, x + dx * d, (dy, dx) == (0, 0))
                    for d in dilations
                    for dy in (-1, 0, 1)
                    for dx in (-1, 0, 1)
                ]
                spread = torch.stack([at(image, i, j) for i, j, _ in around]).std(dim=0)
                near = [(i, j) for i, j, centre in around if not centre]
                kernel = torch.stack(
                    [
                        (-(image[:, y, x] - at(image, i, j)).abs() / (1e-8 + 0.1 * spread)).mean()
                        for i, j in near
                    ]
                )
                for weight, (i, j) in zip(kernel.softmax(0), near, strict=True):
                    refined[:, y, x] += weight * at(scores, i, j)
        scores = refined
    return scores


@pytest.mark.parametrize('dilations', [(1,), (1, 2, 4)])
def test_it_is_the_definition(dilations):
    torch.manual_seed(0)
    image, scores = torch.randn(3, 5, 6).double(), torch.rand(2, 5, 6).double()
    expected = slow_pamr(scores, image, 3, dilations)
    assert torch.allclose(pamr(scores, image, num_steps=3, dilations=dilations), expected)


def test_where_nothing_differs_the_neighbours_are_averaged():
    scores = torch.zeros(1, 5, 5)
    scores[0, 2, 2] = 1.0
    refined = pamr(scores, torch.ones(3, 5, 5), num_steps=1, dilations=(1,))
    expected = torch.zeros(1, 5, 5)
    expected[0, 1:4, 1:4] = 1 / 8
    expected[0, 2, 2] = 0.0
    assert torch.allclose(refined, expected)


def test_scores_do_not_cross_an_edge():
    image = torch.zeros(3, 8, 12)
    image[:, :, 6:] = 1.0
    scores = torch.zeros(1, 8, 12)
    scores[:, :, :5] = 1.0  # one column short of the edge
    refined = pamr(scores, image, num_steps=10, dilations=(1, 2))
    assert refined[0, :, 5].min() > 0.5
    assert refined[0, :, 6:].max() < 0.05


def test_weights_add_up_to_one_and_brightness_does_not_matter():
    image = torch.rand(3, 6, 7)
    weights = affinities(image)
    assert weights.shape == (48, 6, 7)
    assert torch.allclose(weights.sum(0), torch.ones(6, 7))
    assert torch.allclose(affinities(image * 50 + 3), weights, atol=1e-4)
