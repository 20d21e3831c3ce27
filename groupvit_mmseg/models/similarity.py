"""Normalised embeddings and the learned logit scale."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupvit_mmseg.models.precision import upcast_half

MAX_LOGIT_SCALE = 100.0


def new_logit_scale(temperature: float) -> nn.Parameter:
    """Create the learned ``s``, initially with ``exp(s) = 1 / temperature``."""
    return nn.Parameter(torch.tensor(math.log(1 / temperature)))


def clamped_exp(logit_scale: Tensor) -> Tensor:
    """Return ``exp(s)``, at most 100 in the forward pass."""
    return logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def normalize(*embeds: Tensor) -> tuple[Tensor, ...]:
    """Normalise to length 1 over the last axis, in float32 at least."""
    return tuple(F.normalize(e, dim=-1) for e in upcast_half(*embeds))
