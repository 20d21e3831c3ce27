"""Mixed precision on GPUs and CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmseg.registry import OPTIM_WRAPPERS
from torch import nn

from groupvit_mmseg.engine.optimizers.guarded_optim_wrapper import GuardedOptimWrapper
from groupvit_mmseg.registry import OPTIM_WRAPPERS as OWN_OPTIM_WRAPPERS

DTYPES = ('auto', 'bfloat16', 'float16')


def best_half_dtype(device_type: str) -> torch.dtype:
    """bfloat16 where there is hardware for it and on CPUs, else float16.

    Args:
        device_type (str): ``'cpu'`` or ``'cuda'``.

    Returns:
        torch.dtype: What ``dtype='auto'`` means there.
    """
    if device_type != 'cuda' or torch.version.hip:
        return torch.bfloat16
    # torch.cuda.is_bf16_supported() also counts slow emulation; compute capability 8 is hardware.
    return torch.bfloat16 if torch.cuda.get_device_capability()[0] >= 8 else torch.float16


@OWN_OPTIM_WRAPPERS.register_module(name='AmpOptimWrapper')
@OPTIM_WRAPPERS.register_module()
class MixedPrecisionOptimWrapper(GuardedOptimWrapper):
    """Autocast around the forward pass; weights, gradients and optimiser stay float32.

    mmengine's AmpOptimWrapper refuses to run on a CPU. float16 comes with a gradient scaler,
    bfloat16 needs none. The models keep assignment logits, norms and losses in float32 by
    themselves.

    Args:
        optimizer (torch.optim.Optimizer): The optimiser.
        dtype (str): ``'auto'``, ``'bfloat16'`` or ``'float16'`` (GPUs only). Defaults to 'auto'.
        loss_scale (str): Only ``'dynamic'``, which MMSegmentation's ``tools/train.py --amp`` sets:
            float16 finds its scale, bfloat16 needs none. Defaults to 'dynamic'.
        kwargs (Any): Those of :class:`GuardedOptimWrapper`.

    Raises:
        ValueError: If the type is unknown, float16 is asked for without a GPU, or the loss scale
            is a fixed one.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        dtype: str = 'auto',
        loss_scale: str = 'dynamic',
        **kwargs: Any,
    ) -> None:
        super().__init__(optimizer, **kwargs)
        if loss_scale != 'dynamic':
            raise ValueError(f"loss_scale must be 'dynamic', not {loss_scale!r}: leave it out.")
        if dtype not in DTYPES:
            raise ValueError(f'Mixed precision knows the types {DTYPES}, not {dtype!r}.')
        self.device_type = torch.device(get_device()).type
        if dtype == 'float16' and self.device_type == 'cpu':
            raise ValueError("float16 training needs a GPU; use dtype='bfloat16' on a CPU.")
        best = best_half_dtype(self.device_type)
        self.dtype = best if dtype == 'auto' else getattr(torch, dtype)
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)

    def backward(self, loss: torch.Tensor, **kwargs: Any) -> None:
        """Backward pass of the scaled loss."""
        super().backward(self.scaler.scale(loss), **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Unscale, clip and update, or skip the step and lower the scale."""
        self.scaler.unscale_(self.optimizer)
        try:
            super().step(**kwargs)
        finally:
            self.scaler.update()

    def _update(self, **kwargs: Any) -> None:
        """The optimiser's step."""
        self.scaler.step(self.optimizer, **kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient synchronisation while gradients accumulate."""
        with super().optim_context(model), torch.autocast(self.device_type, dtype=self.dtype):
            yield

    def state_dict(self) -> dict:
        """State of the optimiser and, under ``scaler``, of the gradient scaler."""
        return {**super().state_dict(), 'scaler': self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        """Load what :meth:`state_dict` or a full-precision run wrote."""
        state = dict(state_dict)
        scaler = state.pop('scaler', None)
        if scaler:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(state)
