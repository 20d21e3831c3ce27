"""Affinities of segments to words, and the words that a window may contain.

Shapes: ``B`` windows, ``S`` segments of each, ``K`` words. Logits are similarities, scaled as in
the loss; those of the image stand before those of its segments: ``(B, 1 + S, K)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

AFFINITIES = ('softmax', 'cosine', 'contrast')
"""tuple[str, ...]: Affinities of a segment to a word; see :class:`.GroupViTZeroShotHead`."""


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


def softmax_affinity(segment_logits: Tensor, hidden: Tensor) -> Tensor:
    """Multiply the softmax over the words that are not hidden by that over all words.

    Args:
        segment_logits (Tensor): ``(B, S, K)``.
        hidden (Tensor): From :func:`hidden_words`, ``(B, 1, K)``.

    Returns:
        Tensor: ``(B, S, K)`` in [0, 1]; 0 for hidden words.

    Example:
        >>> softmax_affinity(torch.zeros(1, 1, 4), torch.tensor([[[True, True, False, False]]]))
        tensor([[[0.0000, 0.0000, 0.1250, 0.1250]]])
    """
    among_top = segment_logits.masked_fill(hidden, float('-inf')).softmax(dim=-1)
    return among_top * segment_logits.softmax(dim=-1)
