"""Numbers of the prompts of all ranks: equal prompts have equal numbers."""

import torch
from torch import Tensor

from groupvit_mmseg.models.distributed import gather, rank, world_size


def consecutive_prompt_ids(prompts: Tensor) -> tuple[Tensor, Tensor]:
    """Number the prompts of all ranks, each as a prompt of its own.

    Args:
        prompts (Tensor): ``(B, P, ...)`` of this rank.

    Returns:
        tuple[Tensor, Tensor]: int64 ``(B, P)`` of this rank and ``(R * B, P)`` of all.
    """
    batch_size, num_prompts = prompts.shape[:2]
    count = world_size() * batch_size * num_prompts
    numbers = torch.arange(count, device=prompts.device).view(-1, num_prompts)  # (R * B, P)
    return _local_rows(numbers, batch_size), numbers


def unique_prompt_ids(prompt_ids: Tensor) -> tuple[Tensor, Tensor]:
    """Number the distinct prompts of all ranks.

    Args:
        prompt_ids (Tensor): Token ids ``(B, P, L)`` of this rank.

    Returns:
        tuple[Tensor, Tensor]: int64 ``(B, P)`` of this rank and ``(R * B, P)`` of all.
    """
    batch_size, num_prompts = prompt_ids.shape[:2]
    rows = gather(prompt_ids.contiguous()).flatten(0, 1)  # (M, L)
    numbers = torch.unique(rows, dim=0, return_inverse=True)[1].view(-1, num_prompts)
    return _local_rows(numbers, batch_size), numbers


def positive_mask(sets: Tensor, ids: Tensor) -> Tensor:
    """Return whether each set contains each id.

    Args:
        sets (Tensor): int64 ``(rows, P)``.
        ids (Tensor): int64 ``(columns,)``.

    Returns:
        Tensor: bool ``(rows, columns)``.
    """
    mask = sets[:, 0, None] == ids  # (rows, 1) == (columns,)
    for column in sets.unbind(1)[1:]:
        mask |= column[:, None] == ids
    return mask


def _local_rows(rows: Tensor, batch_size: int) -> Tensor:
    """Return this rank's ``(B, ...)`` of the rows of all ranks ``(R * B, ...)``."""
    start = rank() * batch_size
    return rows[start : start + batch_size]
