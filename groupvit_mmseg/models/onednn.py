"""Linear layers by oneDNN in float32 on CPUs: PyTorch sends these to MKL, slow on some of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from groupvit_mmseg.torch_versions import is_autocast_enabled, is_compiling


def fast_linears(inputs: Tensor) -> AbstractContextManager:
    """Return a context for a forward pass: :class:`OneDnnLinear` where it may help.

    A pass that is compiled or traced is left alone: exported models have ``linear``.
    """
    watched = is_compiling() or torch.jit.is_tracing()
    if AVAILABLE and inputs.device.type == 'cpu' and not watched:
        return OneDnnLinear()
    return nullcontext()


def training_linears(inputs: Tensor) -> AbstractContextManager:
    """Return a context for a forward pass that keeps gradients: oneDNN where MKL is slow.

    Whether it is depends on the CPU alone and is not measured, so that a seed gives the same bits
    each time. Blocks enter it themselves, so that one that is computed again does so as well.
    """
    return fast_linears(inputs) if MKL_IS_SLOW and torch.is_grad_enabled() else nullcontext()


class OneDnnLinear(TorchFunctionMode):
    """Context in which ``F.linear`` is computed by oneDNN where the result is the same.

    It applies to float32 on a CPU without autocast, if PyTorch was built with oneDNN; with
    gradients only where MKL is slow: on AMD CPUs products take a half to a third of MKL's time.
    Sums are added in another order, so a result may differ in its last bits.
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
            return _with_gradients(*args) if _needs_gradients(*args) else _product(*args)
        return func(*args, **(kwargs or {}))


def _with_gradients(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x W^T + b``, ``(..., out)`` of ``(..., in)``, that can be changed in place."""
    return _Linear.apply(x.reshape(-1, x.shape[-1]), weight, bias).view(*x.shape[:-1], -1)


class _Linear(torch.autograd.Function):
    """``F.linear`` of rows by oneDNN, with its gradients; gradients of these by PyTorch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return ``x W^T + b``, ``(N, out)`` of ``(N, in)``."""
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the input, the weight and the bias, as far as needed."""
        x, weight = ctx.saved_tensors  # (N, in), (out, in)
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        twice = torch.is_grad_enabled()
        of_input = of_weight = None
        if needs_input:
            of_input = gradient @ weight if twice else _product(gradient, weight.t())
        if needs_weight:
            of_weight = gradient.t() @ x if twice else _transposed_product(gradient, x)
        return of_input, of_weight, gradient.sum(0) if needs_bias else None


def _transposed_product(a: Tensor, b: Tensor) -> Tensor:
    """Return ``a^T b`` of ``(N, m)`` and ``(N, n)``; oneDNN's first operand is copied."""
    if a.shape[1] > b.shape[1]:
        return _product(b.t(), a.t()).t()
    return _product(a.t(), b.t())


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x W^T + b`` by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')


def _fits(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    """Return whether oneDNN's product is meant for these tensors, with the same result."""
    tensors = [x, weight] if bias is None else [x, weight, bias]
    fitting = weight.dim() == 2 and x.dim() > 0 and x.shape[-1] == weight.shape[1]
    if bias is not None:
        fitting = fitting and bias.shape == weight.shape[:1] and bias.is_contiguous()
    return (
        AVAILABLE
        and fitting
        and bool(torch.backends.mkldnn.enabled)
        and not _is_transformed()
        and all(t.dtype == torch.float32 and t.device.type == 'cpu' for t in tensors)
        and all(type(t) in (Tensor, nn.Parameter) for t in tensors)
        and x.numel() > 0
        and weight.numel() > 0
        and not is_autocast_enabled('cpu')
        and (MKL_IS_SLOW or not _needs_gradients(*tensors))
    )


def _needs_gradients(*tensors: Tensor | None) -> bool:
    """Return whether the backward pass will need a product of these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _is_transformed() -> bool:
    """Return whether ``torch.func`` or forward-mode differentiation is at work."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


def _available() -> bool:
    """Return whether this PyTorch has oneDNN's linear layer, which its own compiler uses."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


def _mkl_is_slow() -> bool:
    """Return whether PyTorch multiplies by MKL on a CPU that is not Intel's."""
    try:
        with Path('/proc/cpuinfo').open(encoding='utf-8', errors='replace') as stream:
            processor = stream.read(4096)
    except OSError:
        processor = platform.processor()
    return torch.backends.mkl.is_available() and 'AuthenticAMD' in processor


AVAILABLE = _available()
MKL_IS_SLOW = _mkl_is_slow()
