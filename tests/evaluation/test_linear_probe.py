"""Probes on embeddings: votes by hand, and a layer that is at its optimum."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from groupvit_mmseg.evaluation.linear_probe import fit_linear, neighbour_scores, standardised


def test_votes_by_hand():
    known = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 1, 1, 2])
    scores = neighbour_scores(
        torch.tensor([[5.0, 0.0]]), known, labels, 3, num_neighbours=3, temperature=0.5
    )
    near = torch.tensor([1.0, 0.6, 0.0]).div(0.5).exp()  # the third of four has no vote
    assert torch.allclose(scores, torch.tensor([[near[0], near[1] + near[2], 0.0]]) / near.sum())


def test_votes_do_not_depend_on_the_chunks():
    torch.manual_seed(0)
    embeds, known, labels = torch.randn(7, 4), torch.randn(30, 4), torch.randint(0, 5, (30,))
    whole = neighbour_scores(embeds, known, labels, 5)
    assert torch.allclose(neighbour_scores(embeds, known, labels, 5, chunk_size=2), whole)
    assert torch.allclose(whole.sum(1), torch.ones(7))


def test_the_linear_layer_is_at_its_optimum():
    torch.manual_seed(0)
    labels = torch.arange(60) % 3
    embeds = torch.randn(60, 4) + 2 * F.one_hot(labels, 4)
    layer = nn.Linear(4, 3)
    value = fit_linear(layer, embeds, labels, weight_decay=0.01, steps=200)
    assert (layer(embeds).argmax(1) == labels).float().mean() > 0.8
    assert max(p.grad.abs().max() for p in layer.parameters()) < 1e-4
    assert value < F.cross_entropy(torch.zeros(60, 3), labels)
    assert fit_linear(nn.Linear(4, 3), embeds, labels, weight_decay=0.01, steps=200) == value


def test_standardising_uses_the_reference_alone():
    reference = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    result = standardised(torch.tensor([[2.0, 6.0]]), reference)
    assert result[0, 0] == 0
    assert result[0, 1] == pytest.approx(1e6)
