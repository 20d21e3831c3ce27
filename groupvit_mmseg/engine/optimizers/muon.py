"""MuonAdamW: Muon for the weights of linear layers and convolutions, AdamW for the rest.

Muon (Keller Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum
of a matrix by the nearest matrix whose singular values are all about one, so that every direction
learns equally fast. Its steps are scaled as by arXiv 2502.16982, so that they are as long as those
of AdamW and one learning rate serves both.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard, overload

import torch
from mmengine.logging import print_log
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from groupvit_mmseg.torch_versions import has_bfloat16_products

# Coefficients of the quintic polynomial that drives singular values to about one.
_QUINTIC = (3.4445, -4.7750, 2.0315)
# Root mean square of a step of AdamW, which Muon's steps are scaled to.
_ADAMW_RMS = 0.2


@OPTIMIZERS.register_module()  # mmengine's registry, which its constructors build optimisers from
class MuonAdamW(torch.optim.AdamW):
    """AdamW whose groups with ``use_muon=True`` take steps of Muon instead.

    ``GroupViTOptimConstructor`` makes these groups of the weights of linear layers and
    convolutions; a kernel ``(O, I, h, w)`` is a matrix ``(O, I h w)``. Embeddings, norms, biases,
    positions, group tokens and temperatures keep AdamW, and so do transposed and grouped
    convolutions. Weight decay is decoupled in both. Where no group names ``use_muon``, as from
    mmengine's own constructor, a warning says that all take steps of AdamW. Not the paper's
    optimiser.

    Args:
        params (Iterable): Parameters, or groups of them.
        lr (float): Learning rate of AdamW. Defaults to 1e-3.
        muon_lr_mult (float): Factor on it for Muon. Defaults to 1.0.
        muon_momentum (float): Nesterov momentum of Muon, in [0, 1). Defaults to 0.95.
        muon_steps (int): Iterations of the orthogonalisation, at least 1. Defaults to 5.
        kwargs (Any): Further arguments of AdamW: betas, eps, weight_decay, fused, foreach.

    Raises:
        ValueError: If a value is outside its range, ``maximize`` is set, or a group with
            ``use_muon`` holds a parameter of fewer than two dimensions.
        RuntimeError: At a step with sharded parameters, whose singular values no rank knows.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.engine import MuonAdamW
        >>> layer = torch.nn.Linear(4, 3)
        >>> groups = [dict(params=[layer.weight], use_muon=True), dict(params=[layer.bias])]
        >>> optimizer = MuonAdamW(groups, lr=1e-3, weight_decay=0.0)
        >>> before = layer.weight.detach().clone()
        >>> layer(torch.eye(4)).square().sum().backward()
        >>> optimizer.step()
        >>> update = (before - layer.weight.detach()) / (1e-3 * 0.2 * 4 ** 0.5)
        >>> bool((torch.linalg.svdvals(update) - 1).abs().max() < 0.4)
        True
    """

    separates_matrices = True  # tells GroupViTOptimConstructor to mark groups with use_muon

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        *,
        muon_lr_mult: float = 1.0,
        muon_momentum: float = 0.95,
        muon_steps: int = 5,
        **kwargs: Any,
    ) -> None:
        if muon_lr_mult <= 0:
            raise ValueError(f'muon_lr_mult is {muon_lr_mult}: it must be positive.')
        if not 0 <= muon_momentum < 1:
            raise ValueError(f'muon_momentum is {muon_momentum}: it must be in [0, 1).')
        if muon_steps < 1:
            raise ValueError(f'muon_steps is {muon_steps}: it must be at least 1.')
        if kwargs.get('maximize'):
            raise ValueError('MuonAdamW minimises: maximize=True is not supported.')
        super().__init__(params, lr, **kwargs)
        if not any('use_muon' in group for group in self.param_groups):
            print_log(
                'MuonAdamW: no group of parameters names use_muon, so all of them take steps of '
                "AdamW; set optim_wrapper.constructor='GroupViTOptimConstructor'.",
                'current',
                logging.WARNING,
            )
        self.defaults.update(
            use_muon=False,
            muon_lr_mult=muon_lr_mult,
            muon_momentum=muon_momentum,
            muon_steps=muon_steps,
        )
        self._complete_groups()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a copy, or load the groups of a checkpoint; those of AdamW have no Muon."""
        super().__setstate__(state)
        self._complete_groups()

    def _complete_groups(self) -> None:
        """Give groups the settings they lack, where copies and checkpoints find them."""
        # Muon's steps do not divide by the factor of a gradient scaler, so the scaler has to.
        self._step_supports_amp_scaling = False
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; ``use_muon`` is False where it does not say."""
        super().add_param_group(param_group)
        flat = [tuple(p.shape) for p in param_group['params'] if p.ndim < 2]
        if flat and param_group.get('use_muon'):
            self.param_groups.pop()
            raise ValueError(
                f'use_muon=True is for matrices and kernels, but a parameter has shape {flat[0]}.'
            )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change all parameters that have a gradient; return the loss of the closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            if group['use_muon']:
                self._step_with_muon(group)
        try:
            self.param_groups = [group for group in groups if not group['use_muon']]
            # Without torch's wrapper, which would call the hooks of a step a second time.
            inspect.unwrap(torch.optim.AdamW.step)(self)
        finally:
            self.param_groups = groups
        return loss

    def _step_with_muon(self, group: dict[str, Any]) -> None:
        """Change the parameters of one group."""
        lr = group['lr'] * group['muon_lr_mult']
        for parameter in group['params']:
            if parameter.grad is None:
                continue
            update = self._update(parameter, group['muon_momentum'], group['muon_steps'])
            parameter.mul_(1 - lr * group['weight_decay'])
            scale = _ADAMW_RMS * max(update.shape) ** 0.5
            parameter.add_(update.view_as(parameter), alpha=-lr * scale)

    def _update(self, parameter: nn.Parameter, momentum: float, steps: int) -> Tensor:
        """Advance the momentum of a parameter ``(O, ...)``; return its update ``(O, n)``."""
        if hasattr(parameter, 'full_tensor'):
            raise RuntimeError(
                'MuonAdamW needs whole matrices, but the parameters are sharded: train without '
                'model_wrapper_cfg, or with AdamW.'
            )
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if 'momentum_buffer' not in state:
            # The count is AdamW's, which expects one of every state that it loads.
            state.update(step=torch.zeros(()), momentum_buffer=torch.zeros_like(parameter))
        state['step'] += 1
        buffer = state['momentum_buffer'].mul_(momentum).add_(gradient)
        ahead = gradient.add(buffer, alpha=momentum)  # Nesterov's
        return orthogonalize(ahead.flatten(1), steps)


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """Replace the singular values of a matrix by values near one, by Newton-Schulz iterations.

    Args:
        matrix (Tensor): ``(m, n)``; computed in bfloat16, as in Muon's definition, but in float32
            on devices that emulate bfloat16.
        steps (int): Iterations; five leave the larger singular values within about 0.7 to 1.2.

    Returns:
        Tensor: ``(m, n)`` in the type of ``matrix``; zeros for zeros.
    """
    a, b, c = _QUINTIC
    hardware = has_bfloat16_products(matrix.device)
    x = matrix.to(torch.bfloat16 if hardware else torch.float32)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


def matrix_weights(module: nn.Module) -> set[int]:
    """Return the ids of the weights of a module's linear layers and plain convolutions.

    A weight that an embedding shares is none, nor is one that mixes inputs in separate groups.
    """
    modules = list(module.modules())
    embeddings = {id(each.weight) for each in modules if isinstance(each, nn.Embedding)}
    return {id(each.weight) for each in modules if _is_matrix(each)} - embeddings


def _is_matrix(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Return whether the weight of a layer is ``(outputs, inputs ...)``."""
    if isinstance(module, _ConvNd):
        return not module.transposed and module.groups == 1
    return isinstance(module, nn.Linear)
