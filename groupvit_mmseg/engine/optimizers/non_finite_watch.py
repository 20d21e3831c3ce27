"""Where a non-finite value comes from: the first module and tensor that have one."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from groupvit_mmseg.engine.sharding import local_shard


class NonFiniteWatch:
    """Looks at every module's outputs and their gradients; attach it once something went wrong.

    Looking makes a GPU wait after every module, so a healthy run has no watch.

    Args:
        model (nn.Module): What is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrap_model(model)
        self._found: str | None = None
        self._looks = 0
        self._found_at = 0
        self._handles = [
            self.model.register_forward_pre_hook(self._look_at_inputs, with_kwargs=True)
        ]
        for name, module in self.model.named_modules():
            self._handles.append(module.register_forward_hook(self._look_at_outputs_of(name)))

    def detach(self) -> None:
        """Stop looking."""
        for handle in self._handles:
            handle.remove()

    def first(self) -> tuple[float, str]:
        """The first non-finite value since the last forward pass began.

        Returns:
            tuple[float, str]: when it came up, to be compared between ranks, and where, in words.
        """
        if bad := first_among(self.model.named_parameters(), 'the parameter'):
            return -1, bad
        if self._found is not None:
            return self._found_at, self._found
        # Gradients are averaged: those of all ranks are bad if one's are. Values tell which one's.
        bad = first_among(gradients(self.model), 'the gradient of the parameter')
        return math.inf, bad or 'the sum of the losses'

    def _look_at_inputs(self, _: nn.Module, args: tuple, kwargs: Mapping[str, Any]) -> None:
        """Before the model's forward pass: forget, and look at what goes in."""
        named = [*enumerate(args), *kwargs.items()]
        tensors = ((f'{name}', value) for name, value in named if isinstance(value, Tensor))
        self._found, self._looks, self._found_at = first_among(tensors, 'the input'), 0, 0

    def _look_at_outputs_of(self, name: str) -> Any:
        """A forward hook."""

        def look(_: nn.Module, inputs: Any, outputs: Any) -> None:
            for tensor in tensors_in(outputs):
                self._look(tensor, f'the output of {name or "the model"}')
                if tensor.requires_grad and tensor.grad_fn is not None:
                    tensor.register_hook(
                        lambda gradient: self._look(
                            gradient, f'the gradient to the output of {name or "the model"}'
                        )
                    )

        return look

    def _look(self, tensor: Tensor, where: str) -> None:
        """Remember the first place."""
        self._looks += 1
        if self._found is None and not is_finite(tensor):
            self._found, self._found_at = f'{where} ({describe(tensor)})', self._looks


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model without wrappers for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        wrapped: Any = model
        model = wrapped.module
    return model


def gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and gradients of the parameters that have one."""
    return ((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)


def first_among(named: Any, what: str) -> str | None:
    """The first of some named tensors with a non-finite value, in words."""
    for name, tensor in named:
        tensor = local_shard(tensor)
        if not is_finite(tensor):
            return f'{what} {name} ({describe(tensor)})'
    return None


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of a module's output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def is_finite(tensor: Tensor) -> bool:
    """Whether every value is finite."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def describe(tensor: Tensor) -> str:
    """How many values of which tensor are not finite."""
    bad = int((~torch.isfinite(tensor)).sum())
    return f'{bad} of {tensor.numel()} values, {str(tensor.dtype).removeprefix("torch.")}'
