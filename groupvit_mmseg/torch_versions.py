"""Differences between PyTorch versions; each names the version from which it is not needed."""

from __future__ import annotations

import functools
import platform
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.serialization import MAP_LOCATION

VERSION = tuple(int(part) for part in torch.__version__.split('+')[0].split('.')[:2])
"""tuple[int, int]: Major and minor version of the installed PyTorch."""
# What `torch.load(weights_only=True)` says of a type that it does not read: the first since
# PyTorch 2.4, the second before.
UNREAD_TYPES = ('Unsupported global', 'Unsupported class')
# What it says of a file that is no pickle, before PyTorch 2.4; since then nothing.
UNREAD_FORMAT = 'Unsupported operand'


def require_torch(needed: tuple[int, int], what: str) -> None:
    """Refuse what the installed PyTorch cannot do.

    Args:
        needed (tuple[int, int]): First version that can.
        what (str): What needs it, the beginning of a sentence.

    Raises:
        ImportError: If the installed version is older.

    Example:
        >>> require_torch((2, 1), 'An export')
    """
    if needed > VERSION:
        major, minor = needed
        raise ImportError(
            f'{what} needs torch {major}.{minor} or newer, this is {torch.__version__}.'
        )


def load_plain_data(path: Path, map_location: MAP_LOCATION, *, mmap: bool | None = None) -> object:
    """Load a file of ``torch.save`` without running it, by ``torch.load(weights_only=True)``.

    Before PyTorch 2.2 it warns of its own storages, and maps files only if they are named by a
    text.
    """
    with warnings.catch_warnings():
        if VERSION < (2, 2):
            warnings.filterwarnings('ignore', message='TypedStorage is deprecated')
        return torch.load(str(path), map_location=map_location, weights_only=True, mmap=mmap)


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


def has_bfloat16_products(device: str | torch.device) -> bool:
    """Return whether a device has instructions for products of bfloat16 matrices.

    Where it has none, they are emulated: on a CPU with AVX2 they take 17 to 20 times as long as
    those of float32. Many CPUs have none, nor do GPUs of compute capability 7.

    Args:
        device (str | torch.device): Such as ``'cpu'``, ``'cuda'`` or ``'cuda:1'``; other kinds and
            AMD's GPUs count as ones that have them.
    """
    device = torch.device(device)
    if device.type == 'cuda' and not torch.version.hip:
        # torch.cuda.is_bf16_supported() also counts emulation.
        return torch.cuda.get_device_capability(device)[0] >= 8
    return device.type != 'cpu' or _cpu_has_bfloat16_products()


@functools.cache
def _cpu_has_bfloat16_products() -> bool:
    """Return whether this CPU has these instructions, and PyTorch's oneDNN takes them."""
    supported = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', None)
    if not torch.backends.mkldnn.is_available() or supported is None or not supported():
        return False
    # Of the CPUs of Intel and AMD this counts all with AVX-512.
    return platform.machine().lower() not in ('x86_64', 'amd64') or _has_avx512_bf16()


def _has_avx512_bf16() -> bool:
    """Return whether this CPU has AVX512_BF16; where an older PyTorch does not say, Linux does."""
    said_by_torch = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    if said_by_torch is not None:
        return said_by_torch()
    try:
        return 'avx512_bf16' in Path('/proc/cpuinfo').read_text(errors='replace').split()
    except OSError:
        return False


def all_gather_with_grad(local: Tensor) -> tuple[Tensor, ...]:
    """Gather tensors of one shape from all ranks, with their gradients.

    PyTorch 2.15 announces that this function will go, in favour of a private one.
    """
    from torch.distributed.nn.functional import all_gather  # not where PyTorch has no ranks

    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', r'torch\.distributed\.nn\.functional', FutureWarning)
        return tuple(all_gather(local))


def make_grad_scaler(device_type: str, *, enabled: bool) -> torch.cuda.amp.GradScaler:
    """Make a gradient scaler; before PyTorch 2.3, which has one for all devices, it is CUDA's.

    Args:
        device_type (str): ``'cpu'`` or ``'cuda'``.
        enabled (bool): Whether it scales; otherwise it passes everything through.

    Raises:
        ImportError: If it has to scale on a CPU and PyTorch is older than 2.3.
    """
    if hasattr(torch.amp, 'GradScaler'):
        return torch.amp.GradScaler(device_type, enabled=enabled)  # type: ignore[return-value]  # CUDA's is a subclass
    if enabled and device_type == 'cpu':
        require_torch((2, 3), 'Training in float16 on a CPU')
    return torch.cuda.amp.GradScaler(enabled=enabled)


def has_fused_optimizers(model: nn.Module) -> bool:
    """Return whether optimisers take ``fused=True`` for a model on its device.

    They do so on CUDA devices, and since PyTorch 2.4 on CPUs.
    """
    devices = ('cuda', 'cpu') if VERSION >= (2, 4) else ('cuda',)
    return all(p.device.type in devices for p in model.parameters())
