"""The precisions in which a segmentor runs its backbone."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from groupvit_mmseg.models.onednn import fast_linears
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.torch_versions import has_bfloat16_products, is_compiling


def encode_in(precision: str, backbone: nn.Module, images: Tensor) -> GroupViTOutput:
    """Encode images; segments and image embeddings are float32 in every precision.

    Args:
        precision (str): One of ``inference_options.PRECISIONS`` but ``'auto'``. For ``'int8'`` the
            backbone is a copy from :func:`quantize_linears`.
        backbone (nn.Module): Backbone with ``encode``, in evaluation mode.
        images (Tensor): ``(B, 3, H, W)``, normalised.
    """
    encode: Callable[[Tensor], GroupViTOutput] = backbone.encode  # type: ignore[assignment]
    if precision == 'bf16':
        warn_of_emulation(images.device)
        with torch.autocast(images.device.type, torch.bfloat16):
            output = encode(images)
        return output.to_float32()
    with fast_linears(images) if precision == 'fp32' else nullcontext():
        return encode(images)


def warn_of_emulation(device: torch.device) -> None:
    """Say in the log, once a process, that a device emulates bfloat16, which is about to be used.

    Args:
        device (torch.device): Device of the images.
    """
    if not is_compiling() and not has_bfloat16_products(device):
        _tell_of_emulation(device.type)


@functools.cache
def _tell_of_emulation(device_type: str) -> None:
    """Say it once for a type of device."""
    device = 'CPU' if device_type == 'cpu' else 'GPU'
    print_log(
        f"Precision 'bf16' is emulated, slowly: this {device} has no instructions for it. 'fp32' "
        'is faster on CPUs.',
        logger='current',
        level=logging.WARNING,
    )


def precisions_of(device: str) -> list[str]:
    """Return the precisions for which a device has instructions, without int8.

    Args:
        device (str): Such as ``'cpu'`` or ``'cuda'``.

    Example:
        >>> precisions_of('cpu')[:2]
        ['fp32-plain', 'fp32']
    """
    return ['fp32-plain', 'fp32', *(['bf16'] if has_bfloat16_products(device) else [])]


def check_device_of(precision: str, device: str) -> None:
    """Raise ``ValueError`` for a precision that a type of device does not have.

    Args:
        precision (str): One of ``inference_options.PRECISIONS``.
        device (str): Type of the device, such as ``'cpu'``.

    Example:
        >>> check_device_of('int8', 'cpu')
    """
    if precision == 'int8' and device != 'cpu':
        raise ValueError(
            f"precision 'int8' is for CPUs alone, and the model is on {device}: take 'fp32' or "
            "'bf16'."
        )


def quantize_linears(backbone: nn.Module) -> nn.Module:
    """Return a copy whose linear layers compute in int8, by PyTorch's dynamic quantisation.

    Weights have 8 bits, and inputs are quantised for each call by their range. The engine is
    ``torch.backends.quantized.engine``: ``'x86'`` (FBGEMM and oneDNN) by default on Intel's and
    AMD's CPUs, ``'qnnpack'`` on ARM's.

    Args:
        backbone (nn.Module): Float32 backbone on a CPU; it is not changed.

    Raises:
        ImportError: If this PyTorch has no dynamic quantisation.
    """
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError as error:
        raise ImportError(
            f"precision 'int8' needs torch.ao.quantization, which torch {torch.__version__} does "
            "not have: take 'fp32' or 'bf16'."
        ) from error
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # of its place, torch.ao
        return quantize_dynamic(backbone, {nn.Linear}, dtype=torch.qint8).eval()


def weights_version(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Return a value that changes when weights or buffers of a module are replaced or changed."""
    tensors = (*module.parameters(), *module.buffers())
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)


class QuantizedCopy:
    """The int8 copy of a backbone, made when it is first used and again after its weights change.

    It is no module, so that it has no part in the state dict of the segmentor, and copies and
    pickles of the segmentor leave it out.

    Example:
        >>> backbone = nn.Sequential(nn.Linear(4, 2))
        >>> copies = QuantizedCopy()
        >>> copies.of(backbone) is copies.of(backbone)
        True
    """

    def __init__(self) -> None:
        self._version: tuple[tuple[int, int], ...] | None = None
        self._module: nn.Module | None = None

    def of(self, backbone: nn.Module) -> nn.Module:
        """Return the copy of a backbone in its present state."""
        version = weights_version(backbone)
        if self._module is None or version != self._version:
            self._module, self._version = quantize_linears(backbone), version
        return self._module

    def __deepcopy__(self, memo: dict) -> QuantizedCopy:
        """Return an empty one."""
        return QuantizedCopy()

    def __reduce__(self) -> tuple[type[QuantizedCopy], tuple[()]]:
        """Pickle an empty one."""
        return QuantizedCopy, ()
