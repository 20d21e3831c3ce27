"""Differences between PyTorch versions; each names the version from which it is not needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

VERSION = tuple(int(part) for part in torch.__version__.split('+')[0].split('.')[:2])
"""tuple[int, int]: Major and minor version of the installed PyTorch."""


def is_compiling() -> bool:
    """Return whether ``torch.compile`` or ``torch.export`` traces the caller (PyTorch 2.3)."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._dynamo.is_compiling()


def is_autocast_enabled(device_type: str) -> bool:
    """Return whether autocast is on for a kind of device, ``'cpu'`` or ``'cuda'`` (PyTorch 2.4)."""
    if VERSION >= (2, 4):
        return torch.is_autocast_enabled(device_type)
    return torch.is_autocast_cpu_enabled() if device_type == 'cpu' else torch.is_autocast_enabled()


def make_grad_scaler(device_type: str, *, enabled: bool) -> torch.cuda.amp.GradScaler:
    """Make a gradient scaler; before PyTorch 2.3, which has one for all devices, it is CUDA's.

    Args:
        device_type (str): ``'cpu'`` or ``'cuda'``.
        enabled (bool): Whether it scales; otherwise it passes everything through.
    """
    if hasattr(torch.amp, 'GradScaler'):
        return torch.amp.GradScaler(device_type, enabled=enabled)  # type: ignore[return-value]  # CUDA's is a subclass
    return torch.cuda.amp.GradScaler(enabled=enabled)


def has_fused_optimizers(model: nn.Module) -> bool:
    """Return whether optimisers take ``fused=True`` for a model on its device.

    Before PyTorch 2.4 they do so on CUDA devices only.
    """
    return VERSION >= (2, 4) or all(p.device.type == 'cuda' for p in model.parameters())
