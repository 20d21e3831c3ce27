"""Token-to-segment assignments: soft, hard and Gumbel, as pure functions.

All of them read logits ``(..., S, N)`` and let each of the ``N`` tokens choose one of the ``S``
segments, so they normalise over axis -2. Paper: section 3.1, equations 3 to 5.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def soft_assignment(logits: Tensor) -> Tensor:
    """Probability of every segment for every token.

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, each column sums to one.
    """
    return logits.softmax(dim=-2)


def hard_assignment(logits: Tensor) -> Tensor:
    """One segment per token, with the gradient of the soft assignment (straight-through).

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    soft = soft_assignment(logits)
    winner = soft.argmax(dim=-2, keepdim=True)
    one_hot = torch.zeros_like(soft).scatter_(-2, winner, 1.0)
    return one_hot - soft.detach() + soft


def gumbel_noise(logits: Tensor) -> Tensor:
    """Standard Gumbel noise of the shape, type and device of ``logits``."""
    return -torch.empty_like(logits).exponential_().log()


def gumbel_assignment(logits: Tensor, *, noise: Tensor | None = None, tau: float = 1.0) -> Tensor:
    """Hard assignment drawn at random: ``hard_assignment((logits + noise) / tau)``.

    Args:
        logits (Tensor): ``(..., S, N)``.
        noise (Tensor, optional): ``(..., S, N)`` to use instead of a fresh draw. Defaults to None.
        tau (float): temperature, above 0. Defaults to 1.0.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    noise = gumbel_noise(logits) if noise is None else noise
    return hard_assignment((logits + noise) / tau)


class Assignment(NamedTuple):
    """Which token belongs to which segment, ``(B, S, N)`` each.

    ``hard`` is one-hot over ``S`` in value (drawn with Gumbel noise while training) and made the
    segments; ``soft`` is the softmax over ``S`` without noise, which segmentation uses.
    """

    hard: Tensor
    soft: Tensor


def compose(assignments: tuple[Tensor, ...]) -> Tensor:
    """Token-to-last-segment assignment of several stages: the product of their matrices.

    Args:
        assignments (tuple[Tensor, ...]): ``(B, S1, N)``, ``(B, S2, S1)``, ...; at least one.

    Returns:
        Tensor: ``(B, S, N)`` with ``S`` of the last stage.
    """
    product = assignments[0]
    for assignment in assignments[1:]:
        product = torch.bmm(assignment, product)
    return product
