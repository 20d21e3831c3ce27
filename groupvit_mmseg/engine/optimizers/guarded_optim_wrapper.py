"""GuardedOptimWrapper: optimiser steps only if loss and gradients are finite."""

import logging
from collections.abc import Callable, Iterator
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

Closure = Callable[[], float]  # of torch.optim.Optimizer.step, its only option


@OWN_OPTIM_WRAPPERS.register_module(name='OptimWrapper')
@OPTIM_WRAPPERS.register_module()
class GuardedOptimWrapper(OptimWrapper):
    """mmengine's OptimWrapper that skips a step if a loss or gradient of any rank is not finite.

    A skipped step changes no parameters, optimiser states or buffers (statistics of BatchNorm); the
    log counts it as ``skipped_steps``. After ``max_skipped`` consecutive skipped steps training
    stops with an error that names the first module and tensor with a non-finite value.

    Args:
        optimizer (torch.optim.Optimizer): The optimiser.
        max_skipped (int): Consecutive skipped steps that stop training. float16 needs up to 17 to
            find its scale. Defaults to 25.
        kwargs (Any): ``accumulative_counts`` and ``clip_grad`` of mmengine's OptimWrapper.

    Example:
        >>> optim_wrapper = dict(
        ...     type='GuardedOptimWrapper',
        ...     optimizer=dict(type='AdamW', lr=1.6e-3, weight_decay=0.05),
        ...     clip_grad=dict(max_norm=5.0),
        ... )
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        max_skipped: int = 25,
        **kwargs: Any,  # mmengine's options, which are listed there
    ) -> None:
        super().__init__(optimizer, **kwargs)
        self.max_skipped = max_skipped
        self._consecutive_skips = 0
        self._model: nn.Module | None = None
        self._watch: NonFiniteWatch | None = None
        self._buffers: list[Tensor] = []
        self._finite: Tensor | bool = True

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Copy the buffers, so that a skipped step can restore them."""
        if self._inner_count % self._accumulative_counts == 0 or not self._buffers:
            self._model = model
            self._buffers = [buffer.clone() for buffer in model.buffers()]
        with super().optim_context(model):
            yield

    def update_params(
        self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None
    ) -> None:
        """Propagate the loss back; step if gradients are complete and everything is finite."""
        self._finite = self._finite & torch.isfinite(loss.detach())
        super().update_params(loss, step_kwargs, zero_kwargs)

    def step(self, **kwargs: Closure) -> None:
        """Clip gradients and update parameters, or skip the step.

        Raises:
            FloatingPointError: After ``max_skipped`` consecutive skipped steps.
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
        """Clip the gradients and return their norm before clipping."""
        groups = self.optimizer.param_groups
        params = [p for group in groups for p in group['params'] if p.grad is not None]
        if not params:
            return torch.zeros(())
        options = self.clip_grad_kwargs
        if options and self.clip_func is nn.utils.clip_grad_norm_:
            return full_tensors(self.clip_func(params, **options))
        # Clipped values are finite, whatever they were before.
        norm = full_tensors(nn.utils.clip_grad_norm_(params, float('inf')))
        if options:
            self.clip_func(params, **options)
        return norm

    def load_state_dict(self, state_dict: dict) -> None:
        """Load full states; each rank keeps its shards if parameters are sharded."""
        super().load_state_dict(state_dict)
        shard_states(self.optimizer)

    def _update(self, **kwargs: Closure) -> None:
        """Do the optimiser's step."""
        self.optimizer.step(**kwargs)

    def _recover(self) -> None:
        """Reset the count of skipped steps and detach the watch after a finite step."""
        self._consecutive_skips = 0
        if self._watch is not None:
            self._watch.detach()
            self._watch = None

    def _skip(self) -> None:
        """Restore the buffers, count the skipped step and attach a watch for the next ones."""
        assert self._model is not None, 'optim_context comes before step'
        with torch.no_grad():
            for buffer, before in zip(self._model.buffers(), self._buffers, strict=True):
                buffer.copy_(before)
        self._consecutive_skips += 1
        total = 1 + (self.message_hub.runtime_info.get('skipped_steps') or 0)
        self.message_hub.update_info('skipped_steps', total)
        self.message_hub.update_scalar('train/skipped_steps', total)
        if self._consecutive_skips >= self.max_skipped:
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
        """Return the error message, which names the first non-finite value of all ranks."""
        assert self._model is not None
        watch = self._watch or NonFiniteWatch(unwrap_model(self._model))
        watch.detach()
        order, location = watch.first()
        _, rank, first = min(all_gather_object((order, get_rank(), location)))
        return (
            f'{self._consecutive_skips} steps in a row had a loss or gradient that is not finite; '
            f'the first such value was in {first}, on rank {rank}: check the data of these steps, '
            'lower the learning rate or use bfloat16, and resume from the last checkpoint with '
            '--resume.'
        )
