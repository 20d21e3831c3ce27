"""Affinities of segments to words, and the words that a window may contain.

Shapes: ``B`` windows, ``S`` segments of each, ``K`` words. Logits are similarities, scaled as in
the loss; those of the image stand before those of its segments: ``(B, 1 + S, K)``.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def share_image_logits(logits: Sequence[Tensor], num_views: int) -> list[Tensor]:
    """Give all views of a window the same image: the mean of theirs.

    Otherwise each view would choose its own words by ``top_k``, and a word that half of the views
    leave out would have half of its affinity.

    Args:
        logits (Sequence[Tensor]): Of one view each, ``(1 + S, K)``; those of a window follow one
            another. ``S`` may differ.
        num_views (int): Views of a window.

    Returns:
        list[Tensor]: The same with other first rows.

    Example:
        >>> views = [torch.tensor([[0.0, 1.0], [5.0, 6.0]]), torch.tensor([[1.0, 0.0]])]
        >>> share_image_logits(views, num_views=2)[0]
        tensor([[0.5000, 0.5000],
                [5.0000, 6.0000]])
    """
    shared: list[Tensor] = []
    for start in range(0, len(logits), num_views):
        views = logits[start : start + num_views]
        image = torch.stack([view[:1] for view in views]).mean(dim=0)  # (1, K)
        shared.extend(torch.cat([image, view[1:]]) for view in views)
    return shared
