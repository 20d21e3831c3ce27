"""Optimiser steps only where loss and gradients are finite."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmseg.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from groupvit_mmseg.engine.optimizers.non_finite_watch import NonFiniteWatch, unwrap_model
from groupvit_mmseg.engine.sharding import full_tensors, shard_states
from groupvit_mmseg.registry import OPTIM_WRAPPERS as OWN_OPTIM_WRAPPERS


@OWN_OPTIM_WRAPPERS.register_module(name='OptimWrapper')
@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper that skips a step whose loss or gradient is not finite on any rank.

    A skipped step leaves parameters, the optimiser's state and buffers (BatchNorm's statistics) as
    they were; it is counted in the log as ``skipped_steps``. After ``max_skipped`` of them in a row
    training stops and names the first module and tensor with a non-finite value.

    Args:
        optimizer (torch.optim.Optimizer): The optimiser.
        max_skipped (int): Skipped steps in a row that stop training. float16 needs up to 17 to find
            its scale. Defaults to 25.
        kwargs (Any): ``accumulative_counts``, ``clip_grad`` of mmengine's OptimWrapper.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, max_skipped: int = 25, **kwargs: Any
    ) -> None:
        super().__init__(optimizer, **kwargs)
        self.max_skipped = max_skipped
        self._in_a_row = 0
        self._model: nn.Module | None = None
        self._watch: NonFiniteWatch | None = None
        self._buffers: list[Tensor] = []
        self._finite: Tensor | bool = True

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Remember the buffers, so that a skipped step can put them back."""
        if self._inner_count % self._accumulative_counts == 0 or not self._buffers:
            self._model = model
            self._buffers = [buffer.clone() for buffer in model.buffers()]
        with super().optim_context(model):
            yield

    def update_params(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Propagate the loss back; where gradients are complete, step if all is finite."""
        self._finite = self._finite & torch.isfinite(loss.detach())
        super().update_params(loss, *args, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Clip and update, or skip the step.

        Raises:
            FloatingPointError: After ``max_skipped`` skipped steps in a row.
        """
        norm = self._clipped_norm()
        finite = torch.isfinite(norm) & self._finite
        self._finite = True
        votes = finite.to(torch.int32)
        all_reduce(votes, 'min')
        if bool(votes):
            self.message_hub.update_scalar('train/grad_norm', float(norm))
            self._update(**kwargs)
            self._recover()
        else:
            self._skip()

    def _clipped_norm(self) -> Tensor:
        """Norm of the gradients before they were clipped."""
        groups = self.optimizer.param_groups
        params = [p for group in groups for p in group['params'] if p.grad is not None]
        if not params:
            return torch.zeros(())
        norm = self.clip_func(params, **self.clip_grad_kwargs) if self.clip_grad_kwargs else None
        return full_tensors(
            nn.utils.clip_grad_norm_(params, float('inf')) if norm is None else norm
        )

    def load_state_dict(self, state_dict: dict) -> None:
        """Load whole states, each rank its part of them where parameters are cut."""
        super().load_state_dict(state_dict)
        shard_states(self.optimizer)

    def _update(self, **kwargs: Any) -> None:
        """The optimiser's step."""
        self.optimizer.step(**kwargs)

    def _recover(self) -> None:
        """After a finite step there is nothing to look for."""
        self._in_a_row = 0
        if self._watch is not None:
            self._watch.detach()
            self._watch = None

    def _skip(self) -> None:
        """Undo what the forward pass left, count, and look closer from now on."""
        assert self._model is not None, 'optim_context comes before step'
        with torch.no_grad():
            for buffer, before in zip(self._model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
        self._in_a_row += 1
        total = 1 + (self.message_hub.runtime_info.get('skipped_steps') or 0)
        self.message_hub.update_info('skipped_steps', total)
        self.message_hub.update_scalar('train/skipped_steps', total)
        if self._in_a_row >= self.max_skipped:
            raise FloatingPointError(self._explanation())
        if total & (total - 1) == 0:  # 1, 2, 4, 8, ...
            print_log(
                f'A loss or gradient was not finite: the step was skipped ({total} so far).',
                logger='current',
                level=logging.WARNING,
            )
        if self._watch is None:
            self._watch = NonFiniteWatch(self._model)

    def _explanation(self) -> str:
        """Which value was the first, looking at all ranks."""
        assert self._model is not None
        watch = self._watch or NonFiniteWatch(unwrap_model(self._model))
        watch.detach()
        when, where = watch.first()
        _, rank, first = min(all_gather_object((when, get_rank(), where)))
        return (
            f'{self._in_a_row} steps in a row had a loss or gradient that is not finite; the '
            f'first such value was in {first}, on rank {rank}: look at the data of these steps, '
            'lower the learning rate or use bfloat16, and go on from the last checkpoint with '
            '--resume.'
        )
