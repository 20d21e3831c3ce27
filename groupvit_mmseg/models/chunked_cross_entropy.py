"""Cross-entropy of many rows of logits, of which few exist at a time."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def chunked_cross_entropy(
    logits_and_targets: Callable[..., tuple[Tensor, Tensor]], *rows: Tensor, chunk_size: int
) -> Tensor:
    """Return the mean cross-entropy over rows, computed one chunk of rows at a time.

    Nothing that is computed for a chunk is kept: the backward pass computes it again, so that
    logits exist for one chunk at a time there too. Rows that fit in one chunk are computed once.

    Args:
        logits_and_targets (Callable): Takes a chunk of ``rows`` to its logits ``(n, M)`` and its
            targets: class indices ``(n,)``, or probabilities ``(n, M)``.
        rows (Tensor): Tensors ``(N, ...)`` that are split alike.
        chunk_size (int): Rows per chunk; the last one may have fewer.

    Returns:
        Tensor: Scalar, the mean over all ``N`` rows.

    Raises:
        ValueError: If ``chunk_size`` is not positive.
    """
    if chunk_size < 1:
        raise ValueError(f'chunk_size is {chunk_size}: a chunk needs at least one row.')

    def chunk_loss(*chunk: Tensor) -> Tensor:
        return F.cross_entropy(*logits_and_targets(*chunk))

    total = len(rows[0])
    if total <= chunk_size:
        return chunk_loss(*rows)
    means = [
        checkpoint(chunk_loss, *chunk, use_reentrant=False, preserve_rng_state=False)
        * (len(chunk[0]) / total)
        for chunk in zip(*(tensor.split(chunk_size) for tensor in rows), strict=True)
    ]
    return torch.stack(means).sum()


def uniform_targets(positives: Tensor, dtype: torch.dtype) -> Tensor:
    """Return probabilities that are uniform over the positives of each row.

    Args:
        positives (Tensor): bool ``(rows, columns)``, at least one true per row.
        dtype (torch.dtype): Type of the result, that of the logits.

    Returns:
        Tensor: ``(rows, columns)``, each row sums to one.
    """
    return positives.to(dtype) / positives.sum(-1, keepdim=True)
