"""Work done in chunks of rows, so that what it needs in between exists for one chunk at a time."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def mean_over_chunks(mean_of_rows: Callable[..., Tensor], *rows: Tensor, chunk_size: int) -> Tensor:
    """The mean of a function over rows, one chunk of them at a time.

    Nothing that the function computes in a chunk is kept: the backward pass computes it again, so
    that it exists for one chunk at a time there too. Rows that fit in one chunk are computed once.

    Args:
        mean_of_rows (Callable): chunks of ``rows`` to the scalar mean over the chunk.
        rows (Tensor): tensors ``(N, ...)`` that are cut alike.
        chunk_size (int): rows per chunk, the last one may have fewer.

    Returns:
        Tensor: scalar, the mean over all ``N`` rows.

    Raises:
        ValueError: if ``chunk_size`` is not positive.
    """
    if chunk_size < 1:
        raise ValueError(f'chunk_size is {chunk_size}: a chunk needs at least one row.')
    total = len(rows[0])
    if total <= chunk_size:
        return mean_of_rows(*rows)
    means = [
        checkpoint(mean_of_rows, *chunk, use_reentrant=False, preserve_rng_state=False)
        * (len(chunk[0]) / total)
        for chunk in zip(*(tensor.split(chunk_size) for tensor in rows), strict=True)
    ]
    return torch.stack(means).sum()
