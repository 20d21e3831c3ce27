"""Affinities of segments to words, and the words that a window may contain.

Shapes: ``B`` windows, ``S`` segments of each, ``K`` words. Logits are similarities, scaled as in
the loss; those of the image stand before those of its segments: ``(B, 1 + S, K)``.
"""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

AFFINITIES = ('softmax', 'cosine', 'contrast')
"""tuple[str, ...]: Affinities of a segment to a word; see :class:`.GroupViTZeroShotHead`."""


def check_affinity_options(top_k: int, affinity: str, image_weight: float) -> None:
    """Raise ``ValueError`` for options of a :class:`.GroupViTZeroShotHead` out of their range."""
    if not isinstance(top_k, int) or top_k < 1:
        raise ValueError(f'top_k = {top_k} lets no class through: give a positive number.')
    if affinity not in AFFINITIES:
        raise ValueError(f'affinity = {affinity!r} is none of {", ".join(AFFINITIES)}.')
    is_number = isinstance(image_weight, Real) and not isinstance(image_weight, bool)
    if not (is_number and 0 <= image_weight < 1):
        raise ValueError(
            f'image_weight = {image_weight!r} is not a number from 0, segments alone, to below 1.'
        )


def hidden_words(image_logits: Tensor, top_k: int) -> Tensor:
    """Return which words a window cannot contain: all but the ``top_k`` nearest to its image.

    Args:
        image_logits (Tensor): ``(B, 1, K)``.
        top_k (int): Words that are not hidden; more than ``K`` hide none.

    Returns:
        Tensor: bool, ``(B, 1, K)``.

    Example:
        >>> hidden_words(torch.tensor([[[0.1, 0.3, 0.2]]]), top_k=2)
        tensor([[[ True, False, False]]])
    """
    top = image_logits.topk(min(top_k, image_logits.shape[-1]), dim=-1).indices  # (B, 1, top_k)
    # 0 and not False: torch.jit's tracer, which counts FLOPs, knows no scatter of a bool.
    return torch.ones_like(image_logits, dtype=torch.bool).scatter(-1, top, 0)


def softmax_affinity(logits: Tensor, hidden: Tensor) -> Tensor:
    """Multiply the softmax over the words that are not hidden by that over all words.

    Args:
        logits (Tensor): ``(B, S, K)`` of segments, or ``(B, 1 + S, K)``.
        hidden (Tensor): From :func:`hidden_words`, ``(B, 1, K)``.

    Returns:
        Tensor: As the logits, in [0, 1]; 0 for hidden words.

    Example:
        >>> softmax_affinity(torch.zeros(1, 1, 4), torch.tensor([[[True, True, False, False]]]))
        tensor([[[0.0000, 0.0000, 0.1250, 0.1250]]])
    """
    among_top = logits.masked_fill(hidden, float('-inf')).softmax(dim=-1)
    return among_top * logits.softmax(dim=-1)


def mixed_with_image(affinity: Tensor, image_weight: float) -> Tensor:
    """Average the affinities of segments with those of their image, which know what there is.

    Args:
        affinity (Tensor): Of the image, then of its segments, ``(B, 1 + S, K)``.
        image_weight (float): Share of the image in [0, 1); 0 leaves the segments as they are.

    Returns:
        Tensor: Of the segments, ``(B, S, K)``.

    Example:
        >>> mixed_with_image(torch.tensor([[[0.4, 0.8], [0.2, 0.0]]]), image_weight=0.5)
        tensor([[[0.3000, 0.4000]]])
    """
    return torch.lerp(affinity[:, 1:], affinity[:, :1], image_weight)
