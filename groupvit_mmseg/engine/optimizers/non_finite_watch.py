"""Search for the origin of a non-finite value: the first module and tensor that have one."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import torch
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from groupvit_mmseg.engine.sharding import local_shard


class NonFiniteWatch:
    """Checks the outputs of every module and their gradients for non-finite values.

    Each check makes a GPU synchronise, so attach a watch only after a non-finite loss or gradient.

    Args:
        model (nn.Module): The model in training, with or without wrappers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrap_model(model)
        self._first: str | None = None
        self._num_checks = 0
        self._first_check = 0
        self._handles = [self.model.register_forward_pre_hook(self._check_inputs, with_kwargs=True)]
        for name, module in self.model.named_modules():
            self._handles.append(module.register_forward_hook(self._output_check(name)))

    def detach(self) -> None:
        """Remove the checks from the model."""
        for handle in self._handles:
            handle.remove()

    def first(self) -> tuple[float, str]:
        """Return the first non-finite value since the last forward pass began.

        Returns:
            tuple[float, str]: Its order in time, comparable between ranks, and its location.
        """
        if location := first_among(self.model.named_parameters(), 'the parameter'):
            return -1, location
        if self._first is not None:
            return self._first_check, self._first
        # Gradients are averaged: one rank's bad gradient makes those of all ranks bad. Values
        # show the rank, so they are checked before.
        location = first_among(gradients(self.model), 'the gradient of the parameter')
        return math.inf, location or 'the sum of the losses'

    def _check_inputs(
        self, _: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Reset the search and check the inputs, as a forward pre-hook of the model."""
        named = [*enumerate(args), *kwargs.items()]
        tensors = ((f'{name}', value) for name, value in named if isinstance(value, Tensor))
        self._first, self._num_checks, self._first_check = first_among(tensors, 'the input'), 0, 0

    def _output_check(self, name: str) -> Callable[[nn.Module, object, object], None]:
        """Make the forward hook of a module."""

        def check(_: nn.Module, inputs: object, outputs: object) -> None:
            for tensor in tensors_in(outputs):
                self._check(tensor, f'the output of {name or "the model"}')
                if tensor.requires_grad and tensor.grad_fn is not None:
                    tensor.register_hook(
                        lambda gradient: self._check(
                            gradient, f'the gradient to the output of {name or "the model"}'
                        )
                    )

        return check

    def _check(self, tensor: Tensor, location: str) -> None:
        """Record a location if it is the first with a non-finite value."""
        self._num_checks += 1
        if self._first is None and not is_finite(tensor):
            self._first, self._first_check = f'{location} ({describe(tensor)})', self._num_checks


def unwrap_model(model: nn.Module) -> nn.Module:
    """Return the model without wrappers for several processes or for test-time augmentation."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = cast(nn.Module, model.module)  # all these wrappers name their model so
    return model


def gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return names and gradients of the parameters that have one."""
    return ((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)


def first_among(tensors: Iterable[tuple[str, Tensor]], kind: str) -> str | None:
    """Describe the first tensor with a non-finite value.

    Args:
        tensors (Iterable[tuple[str, Tensor]]): Names and tensors.
        kind (str): Kind of the tensors, such as ``the parameter``.
    """
    for name, tensor in tensors:
        tensor = local_shard(tensor)
        if not is_finite(tensor):
            return f'{kind} {name} ({describe(tensor)})'
    return None


def tensors_in(value: object) -> Iterator[Tensor]:
    """Return all tensors of a module's output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def is_finite(tensor: Tensor) -> bool:
    """Return whether every value is finite."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def describe(tensor: Tensor) -> str:
    """Return the number of non-finite values, the number of all values and their type."""
    num_bad = int((~torch.isfinite(tensor)).sum())
    return f'{num_bad} of {tensor.numel()} values, {str(tensor.dtype).removeprefix("torch.")}'
