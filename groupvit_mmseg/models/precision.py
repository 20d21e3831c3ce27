"""The limits of mixed precision: assignment logits, normalisation and losses run in float32."""

import torch
from torch import Tensor


def upcast_half(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Convert half-precision tensors to float32; leave float32 and float64 ones as they are."""
    half = (torch.float16, torch.bfloat16)
    return tuple(t.float() if t.dtype in half else t for t in tensors)


def autocast_disabled(tensor: Tensor) -> torch.autocast:
    """Return a context on the device of ``tensor`` in which autocast is off."""
    return torch.autocast(tensor.device.type, enabled=False)
