"""Gather the embeddings of all ranks, with their gradients. ``R`` ranks, ``B`` rows of each."""

import torch
import torch.distributed as dist
from torch import Tensor

from groupvit_mmseg.torch_versions import all_gather_with_grad


def world_size() -> int:
    """Return the number of ranks ``R`` of the process group, 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process, 0 without a process group."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_with_grad(local: Tensor) -> Tensor:
    """Gather the rows of all ranks in rank order; all ranks must have the same number.

    Args:
        local (Tensor): ``(B, ...)``.

    Returns:
        Tensor: ``(R * B, ...)``; gradients flow back to every rank's rows.
    """
    return torch.cat(all_gather_with_grad(local.contiguous())) if world_size() > 1 else local


def gather(local: Tensor) -> Tensor:
    """Gather the rows of all ranks in rank order, ``(R * B, ...)``, without gradient."""
    if world_size() == 1:
        return local
    gathered = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(gathered, local.contiguous())
    return torch.cat(gathered)
