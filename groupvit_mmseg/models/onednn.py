"""Linear layers by oneDNN in float32 on CPUs: PyTorch sends these to MKL, slow on some of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from groupvit_mmseg.torch_versions import is_autocast_enabled, is_compiling


def fast_linears(inputs: Tensor) -> AbstractContextManager:
    """Return a context for a forward pass: :class:`OneDnnLinear` where it may help.

    A pass that is compiled or traced is left alone: counters of FLOPs only know ``linear``.
    """
    watched = is_compiling() or torch.jit.is_tracing()
    if AVAILABLE and inputs.device.type == 'cpu' and not watched:
        return OneDnnLinear()
    return nullcontext()


class OneDnnLinear(TorchFunctionMode):
    """Context in which ``F.linear`` is computed by oneDNN where the result is the same.

    It applies to float32 on a CPU without gradients and autocast, if PyTorch was built with oneDNN.
    Sums are added in another order, so a result may differ in its last bits. On AMD CPUs products
    take a half to a third of MKL's time.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Collection[type],
        args: tuple = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Call the function, or oneDNN's instead."""
        if func is F.linear and not kwargs and _fits(*args):
            x, weight, *bias = args
            return torch.ops.mkldnn._linear_pointwise(
                x, weight, bias[0] if bias else None, 'none', [], ''
            )
        return func(*args, **(kwargs or {}))


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Return whether oneDNN's product is defined for these tensors, with the same result."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    return (
        AVAILABLE
        and all(t.dtype == torch.float32 and t.device.type == 'cpu' for t in tensors)
        and x.numel() > 0
        and not is_autocast_enabled('cpu')
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
    )


def _available() -> bool:
    """Return whether this PyTorch has oneDNN's linear layer, which its own compiler uses."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


AVAILABLE = _available()
