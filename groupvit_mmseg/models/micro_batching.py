"""Run a tower on a large batch: in micro-batches, and on each distinct text once.

Both are exact, because the rows of a batch are independent in a tower. The projectors, whose
BatchNorm mixes the rows of a batch, are not part of a tower and take the whole batch in one call.
Shapes: ``B`` rows of a batch, ``T`` texts, of which ``U`` are distinct, ``L`` tokens.
"""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

Output = TypeVar('Output')


def run_in_micro_batches(
    tower: Callable[[Tensor], Output], rows: Tensor, size: int | None, *, recompute: bool
) -> list[Output]:
    """Run a tower on some rows at a time.

    With ``recompute`` the forward pass keeps only the outputs of the tower. The backward pass runs
    the tower again on one part after the other, with the same random numbers (Gumbel noise, drop
    path), and adds up the gradients: large-batch contrastive learning by feature caching (Gao et
    al. 2021, arXiv 2101.06983).

    Args:
        tower (Callable): Takes ``(b, ...)``.
        rows (Tensor): ``(B, ...)``.
        size (int, optional): Rows at a time; None runs all at once.
        recompute (bool): Whether activations exist for one part at a time.

    Returns:
        list: Output of the tower for each part.

    Raises:
        ValueError: If the size is not positive.
    """
    if size is not None and size < 1:
        raise ValueError(f'A part of a batch needs at least one row, not {size}.')
    parts = rows.split(size or max(len(rows), 1))  # (b, ...) each
    if recompute and torch.is_grad_enabled():
        return [checkpoint(tower, part, use_reentrant=False) for part in parts]
    return [tower(part) for part in parts]


def distinct_texts(token_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Find the distinct texts of a batch, short ones first.

    Args:
        token_ids (Tensor): int64 ``(T, L)``; the end-of-text token is the highest of its row.

    Returns:
        tuple[Tensor, Tensor]: Distinct rows ``(U, L)``, and the row of each text ``(T,)``.
    """
    ends = token_ids.argmax(dim=-1, keepdim=True)  # (T, 1)
    keys = torch.cat([ends, token_ids], dim=1)  # (T, 1 + L), sorted by length first
    rows, index = torch.unique(keys, dim=0, return_inverse=True)
    return rows[:, 1:], index


def check_rows_are_alone(tower: nn.Module) -> None:
    """Raise ``ValueError`` if a tower mixes the rows of a batch."""
    if any(isinstance(m, _BatchNorm) and m.training for m in tower.modules()):
        raise ValueError(
            'micro_batch_size gives the gradients of the whole batch only without BatchNorm in the '
            "image tower: set norm_eval=True in the backbone's config, or micro_batch_size=None."
        )
