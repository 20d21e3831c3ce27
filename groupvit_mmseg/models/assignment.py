"""Token-to-segment assignments: soft, hard and Gumbel, as pure functions.

All of them take logits ``(..., S, N)`` and assign each of the ``N`` tokens to one of the ``S``
segments, so they normalise over axis -2. Paper: section 3.1, equations 3 to 5.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def soft_assignment(logits: Tensor) -> Tensor:
    """Return the probability of every segment for every token.

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, each column sums to one.
    """
    return logits.softmax(dim=-2)


def hard_assignment(logits: Tensor) -> Tensor:
    """Assign each token to one segment; the gradient is that of the soft assignment.

    Args:
        logits (Tensor): ``(..., S, N)``.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    soft = soft_assignment(logits)  # (..., S, N)
    winner = soft.argmax(dim=-2, keepdim=True)  # (..., 1, N)
    one_hot = torch.zeros_like(soft).scatter_(-2, winner, 1.0)  # (..., S, N)
    return one_hot - soft.detach() + soft


def gumbel_noise(logits: Tensor) -> Tensor:
    """Draw standard Gumbel noise of the shape, type and device of ``logits``."""
    return -torch.empty_like(logits).exponential_().log()


def gumbel_assignment(logits: Tensor, *, noise: Tensor | None = None, tau: float = 1.0) -> Tensor:
    """Draw a hard assignment: ``hard_assignment((logits + noise) / tau)``.

    Args:
        logits (Tensor): ``(..., S, N)``.
        noise (Tensor, optional): ``(..., S, N)`` to use instead of a fresh draw. Defaults to None.
        tau (float): Temperature, above 0. Defaults to 1.0.

    Returns:
        Tensor: ``(..., S, N)``, one-hot over ``S`` in value.
    """
    noise = gumbel_noise(logits) if noise is None else noise
    return hard_assignment((logits + noise) / tau)


class Assignment(NamedTuple):
    """Assignment of tokens to segments, ``(B, S, N)`` each.

    Attributes:
        hard (Tensor): One-hot over ``S`` in value, drawn with Gumbel noise while training; the
            segments are computed with it.
        soft (Tensor): Softmax over ``S`` without noise; segmentation uses it.
    """

    hard: Tensor
    soft: Tensor


def compose(assignments: tuple[Tensor, ...]) -> Tensor:
    """Return the assignment of tokens to the last segments: the product of the stages' matrices.

    Args:
        assignments (tuple[Tensor, ...]): ``(B, S1, N)``, ``(B, S2, S1)``, ...; at least one.

    Returns:
        Tensor: ``(B, S, N)`` with ``S`` of the last stage.
    """
    product = assignments[0]
    for assignment in assignments[1:]:
        product = torch.bmm(assignment, product)  # (B, S_i, S_i-1) @ (B, S_i-1, N)
    return product
