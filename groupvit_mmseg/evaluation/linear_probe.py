"""Classification by frozen image embeddings: nearest neighbours and a linear layer.

Letters: ``N`` images to classify, ``M`` reference images, ``C`` channels, ``K`` classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def neighbour_scores(
    embeds: Tensor,
    references: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    num_neighbours: int = 20,
    temperature: float = 0.07,
    chunk_size: int = 1024,
) -> Tensor:
    """Let the nearest reference images vote, weighted by ``exp(cosine / temperature)``.

    Args:
        embeds (Tensor): Images to classify ``(N, C)``.
        references (Tensor): Images of known class ``(M, C)``.
        labels (Tensor): Their classes ``(M,)``.
        num_classes (int): Number of classes ``K``.
        num_neighbours (int): Images that vote. Defaults to 20.
        temperature (float): Smaller values give nearer images more weight. Defaults to 0.07.
        chunk_size (int): Images classified at a time, for memory. Defaults to 1024.

    Returns:
        Tensor: Shares of the votes ``(N, K)``.

    Example:
        >>> references, labels = torch.eye(2), torch.tensor([0, 1])
        >>> votes = neighbour_scores(torch.tensor([[0.9, 0.1]]), references, labels, num_classes=2)
        >>> votes.argmax(1)
        tensor([0])
    """
    references = F.normalize(references, dim=-1)
    rows = []
    for chunk in F.normalize(embeds, dim=-1).split(chunk_size):
        cosines = chunk @ references.T  # (n, M) of a chunk of n images
        nearest = cosines.topk(min(num_neighbours, len(references)), dim=-1)
        votes = (nearest.values / temperature).softmax(dim=-1)  # (n, num_neighbours)
        scores = votes.new_zeros(len(chunk), num_classes)  # (n, K)
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
        embeds (Tensor): ``(N, C)``; :func:`standardised` ones converge best.
        labels (Tensor): ``(N,)``.
        weight_decay (float): Factor on the sum of the squared weights. Defaults to 1e-4.
        steps (int): Iterations at most. Defaults to 100.

    Returns:
        float: The final loss, weight decay included.
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
    """Subtract the mean of the reference's channels and divide by their standard deviation."""
    return (embeds - reference.mean(0)) / reference.std(0).clamp(min=1e-6)
