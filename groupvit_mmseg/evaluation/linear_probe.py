"""What frozen image embeddings are worth for classification: nearest neighbours, a linear layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def neighbour_scores(
    embeds: Tensor,
    known: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    num_neighbours: int = 20,
    temperature: float = 0.07,
    chunk_size: int = 1024,
) -> Tensor:
    """Votes of the nearest known images, weighted by ``exp(cosine / temperature)``.

    Args:
        embeds (Tensor): Images to classify ``(N, C)``.
        known (Tensor): Images of known class ``(M, C)``.
        labels (Tensor): Their classes ``(M,)``.
        num_classes (int): Number of classes ``K``.
        num_neighbours (int): Images that vote. Defaults to 20.
        temperature (float): How much nearer ones count for more. Defaults to 0.07.
        chunk_size (int): Images classified at a time, for memory. Defaults to 1024.

    Returns:
        Tensor: Shares of the votes ``(N, K)``.
    """
    known = F.normalize(known, dim=-1)
    rows = []
    for chunk in F.normalize(embeds, dim=-1).split(chunk_size):
        nearest = (chunk @ known.T).topk(min(num_neighbours, len(known)), dim=-1)
        votes = (nearest.values / temperature).softmax(dim=-1)
        scores = votes.new_zeros(len(chunk), num_classes)
        rows.append(scores.scatter_add_(1, labels[nearest.indices], votes))
    return torch.cat(rows)


def fit_linear(
    layer: nn.Linear,
    embeds: Tensor,
    labels: Tensor,
    *,
    weight_decay: float = 1e-4,
    steps: int = 100,
) -> float:
    """Fit a linear layer to all images at once (L-BFGS), from zero: the result is reproducible.

    Args:
        layer (nn.Linear): ``C -> K``; fitted in place.
        embeds (Tensor): ``(N, C)``; best standardised.
        labels (Tensor): ``(N,)``.
        weight_decay (float): Weight of the squared weights. Defaults to 1e-4.
        steps (int): Iterations at most. Defaults to 100.

    Returns:
        float: What was minimised, at the end.
    """
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.LBFGS(
        layer.parameters(), max_iter=steps, line_search_fn='strong_wolfe', tolerance_change=1e-9
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(layer(embeds), labels)
        value = value + weight_decay * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return closure().item()


def standardised(embeds: Tensor, reference: Tensor) -> Tensor:
    """Embeddings with the mean and spread of the reference's channels taken out."""
    return (embeds - reference.mean(0)) / reference.std(0).clamp(min=1e-6)
