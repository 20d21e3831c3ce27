"""MixedPrecisionOptimWrapper: mixed precision on GPUs and CPUs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from groupvit_mmseg.engine.optimizers.guarded_optim_wrapper import Closure, GuardedOptimWrapper
from groupvit_mmseg.registry import OPTIM_WRAPPERS as OWN_OPTIM_WRAPPERS
from groupvit_mmseg.torch_versions import has_bfloat16_products, make_grad_scaler

DTYPES = ('auto', 'bfloat16', 'float16')


def best_dtype(device_type: str) -> torch.dtype:
    """Return the type that ``dtype='auto'`` stands for on a device.

    Args:
        device_type (str): ``'cpu'``, ``'cuda'`` or another one.

    Returns:
        torch.dtype: bfloat16 where the hardware has it, else float16 on GPUs and float32 on CPUs;
        float32 on Apple's GPUs, whose autocast only newer versions of PyTorch have.

    Example:
        >>> best_dtype('cpu') in (torch.bfloat16, torch.float32)
        True
    """
    if device_type != 'mps' and has_bfloat16_products(device_type):
        return torch.bfloat16
    return torch.float16 if device_type == 'cuda' else torch.float32


@OWN_OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(GuardedOptimWrapper):
    """Runs the forward pass under autocast; weights, gradients and optimiser states stay float32.

    Unlike mmengine's AmpOptimWrapper it also runs on a CPU, in float32 where bfloat16 is emulated
    there. float16 uses a gradient scaler, bfloat16 needs none. The models compute assignment
    logits, norms and losses in float32.

    Args:
        optimizer (torch.optim.Optimizer): The optimiser.
        dtype (str): ``'auto'``, ``'bfloat16'`` or ``'float16'`` (GPUs only). Defaults to 'auto'.
        loss_scale (str): Only ``'dynamic'``, which MMSegmentation's ``tools/train.py --amp`` sets:
            float16 finds its scale, bfloat16 needs none. Defaults to 'dynamic'.
        kwargs (Any): Options of :class:`GuardedOptimWrapper`.

    Raises:
        ValueError: If the type is unknown, or float16 without a GPU, or the loss scale is fixed.

    Example:
        >>> optim_wrapper = dict(
        ...     type='MixedPrecisionOptimWrapper',
        ...     dtype='bfloat16',
        ...     optimizer=dict(type='AdamW', lr=1.6e-3, weight_decay=0.05),
        ... )
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        dtype: str = 'auto',
        loss_scale: str = 'dynamic',
        **kwargs: Any,  # options of the base classes, which are listed there
    ) -> None:
        super().__init__(optimizer, **kwargs)
        if loss_scale != 'dynamic':
            raise ValueError(f"loss_scale must be 'dynamic', not {loss_scale!r}: remove it.")
        if dtype not in DTYPES:
            raise ValueError(f'Mixed precision has the types {DTYPES}, not {dtype!r}.')
        self.device_type = torch.device(get_device()).type
        if dtype == 'float16' and self.device_type == 'cpu':
            raise ValueError("float16 training needs a GPU; use dtype='bfloat16' on a CPU.")
        self.dtype = best_dtype(self.device_type) if dtype == 'auto' else getattr(torch, dtype)
        if dtype == 'bfloat16' and not has_bfloat16_products(self.device_type):
            device = 'CPU' if self.device_type == 'cpu' else 'GPU'
            best = str(best_dtype(self.device_type)).removeprefix('torch.')
            print_log(
                f'bfloat16 is emulated, slowly: this {device} has no instructions for it. With '
                f"dtype='auto', or --amp without a type, training is in {best}.",
                logger='current',
                level=logging.WARNING,
            )
        self.scaler = make_grad_scaler(self.device_type, enabled=self.dtype == torch.float16)

    def backward(self, loss: torch.Tensor, **kwargs: object) -> None:
        """Propagate the scaled loss back."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Closure) -> None:
        """Unscale and clip gradients and update parameters, or skip and lower the scale."""
        self.scaler.unscale_(self.optimizer)
        try:
            super().step(**kwargs)
        finally:
            self.scaler.update()

    def _update(self, **kwargs: Closure) -> None:
        """Do the optimiser's step."""
        self.scaler.step(self.optimizer, **kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enable autocast but for float32; synchronise gradients after the last of a step."""
        mixed = self.dtype != torch.float32
        autocast = torch.autocast(self.device_type, dtype=self.dtype) if mixed else nullcontext()
        with super().optim_context(model), autocast:
            yield

    def state_dict(self) -> dict:
        """Return the state of the optimiser and, under ``scaler``, of the gradient scaler."""
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state of :meth:`state_dict` or of a full-precision run."""
        state = dict(state_dict)
        scaler = state.pop('scaler', None)
        if scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state)
