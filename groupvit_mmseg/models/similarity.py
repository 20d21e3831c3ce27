"""Normalised embeddings and the learned logit scale."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupvit_mmseg.models.precision import upcast_half

MAX_LOGIT_SCALE = 100.0


def new_logit_scale(temperature: float) -> nn.Parameter:
    """The learned ``s`` with ``exp(s) = 1 / temperature`` at the start."""
    return nn.Parameter(torch.tensor(math.log(1 / temperature)))


def clamped_exp(logit_scale: Tensor) -> Tensor:
    """``exp(s)``, at most 100 in the forward pass."""
    return logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def normalize(*embeds: Tensor) -> tuple[Tensor, ...]:
    """L2-normalised over the last axis, at least in float32."""
    return tuple(F.normalize(e, dim=-1) for e in upcast_half(*embeds))
