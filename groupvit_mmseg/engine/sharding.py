"""FullyShardedModel: each rank keeps a shard of the weights, gradients and optimiser states."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar, cast

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed import fsdp

from groupvit_mmseg.models.grouping import GroupingBlock
from groupvit_mmseg.models.layers import TransformerBlock

if TYPE_CHECKING:  # slow to import, and absent from builds of torch without distributed training
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

Content = TypeVar('Content')


@MODEL_WRAPPERS.register_module()  # mmengine's registry: Runner uses it in any scope
class FullyShardedModel(nn.Module):
    """torch's ``fully_shard`` (FSDP2) as mmengine's ``model_wrapper_cfg``.

    Each block of the image tower is gathered before it runs and freed afterwards. The rest of the
    model is gathered once a step, the text tower included: ranks must gather equally often, but
    may call the text tower a different number of times. Scalars (logit scales) are replicated.
    Weights keep their names and shapes, so weight decay by dimension, optimiser groups and
    checkpoints (see :func:`full_state_dict`) are the same as without sharding. Weights are float32
    and autocast works as usual, so the operations that the models keep in float32 stay there.

    Args:
        module (BaseModel): The model; its weights are initialised here, before they are sharded.

    Raises:
        ImportError: If torch has no ``fully_shard`` with ``ignored_params``.

    Example:
        >>> model_wrapper_cfg = dict(type='FullyShardedModel')  # in a config
    """

    def __init__(self, module: BaseModel) -> None:
        super().__init__()
        fully_shard: Callable[..., Any] | None = getattr(fsdp, 'fully_shard', None)
        if fully_shard is None or 'ignored_params' not in inspect.signature(fully_shard).parameters:
            raise ImportError(
                f'FullyShardedModel needs torch 2.7 or newer, this is {torch.__version__}: '
                'update it, or remove model_wrapper_cfg and train without sharding.'
            )
        module.init_weights()
        for value in module.state_dict().values():
            broadcast(value)
        scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
        for scalar in scalars:
            scalar.register_post_accumulate_grad_hook(_average_gradient)
        for block in units_of(module):
            fully_shard(block)
        self.module: BaseModel = fully_shard(module, ignored_params=scalars)
        # fully_shard made a class for this model alone.
        type(self.module).__deepcopy__ = _refuse_copy  # type: ignore[attr-defined]  # added here

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Call the model."""
        return self.module(*args, **kwargs)

    def train_step(
        self, data: dict | tuple | list, optim_wrapper: OptimWrapper
    ) -> dict[str, Tensor]:
        """Do the model's training step; the backward pass averages and shards gradients."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: dict | tuple | list) -> list:
        """Do the model's validation step."""
        return self.module.val_step(data)

    def test_step(self, data: dict | tuple | list) -> list:
        """Do the model's test step."""
        return self.module.test_step(data)


def units_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of the image tower, each of which is gathered separately.

    All ranks call them equally often.
    """
    tower = getattr(model, 'backbone', None)
    modules = tower.modules() if tower is not None else ()
    return [module for module in modules if isinstance(module, TransformerBlock | GroupingBlock)]


def is_sharded(value: object) -> bool:
    """Return whether a tensor is sharded, or a model has a sharded parameter."""
    if isinstance(value, nn.Module):
        return any(_is_dtensor(parameter) for parameter in value.parameters())
    return _is_dtensor(value)


def _is_dtensor(value: object) -> TypeGuard[DTensor]:
    """Return whether a value is a sharded tensor."""
    return hasattr(value, 'full_tensor')


def local_shard(tensor: Tensor) -> Tensor:
    """Return this rank's shard of a tensor; a tensor that is not sharded is returned as it is."""
    return tensor.to_local() if _is_dtensor(tensor) else tensor


def full_tensors(value: Content) -> Content:
    """Return the same content with sharded tensors gathered; all ranks must call it.

    Args:
        value (Content): A tensor, or mappings, lists and tuples that contain tensors; all other
            values are returned as they are.
    """
    full: Any = value
    if _is_dtensor(value):
        full = value.full_tensor()
    elif isinstance(value, Mapping):
        full = {key: full_tensors(item) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        full = type(value)(full_tensors(item) for item in value)
    return full


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return ``model.state_dict()`` with full tensors; all ranks must call it."""
    state_dict = model.state_dict()
    for name, value in state_dict.items():
        state_dict[name] = full_tensors(value)
    return state_dict


def shard_like(like: Tensor, tensor: Tensor) -> Tensor:
    """Return this rank's shard of a full tensor, sharded like another of the same shape."""
    if not _is_dtensor(like) or is_sharded(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(like.device)
    # No source rank: every rank has the full tensor.
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)


def shard_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Shard full weights like a model's; unknown names and other shapes are not changed."""
    own = model.state_dict()
    return {
        name: shard_like(own[name], value) if name in own else value
        for name, value in state_dict.items()
    }


def shard_states(optimizer: torch.optim.Optimizer) -> None:
    """Shard an optimiser's full states, as loaded from a checkpoint, like its parameters."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name] = shard_like(parameter, value)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Gather a sharded model for calls of its parts outside its forward; all ranks must call it."""
    if not is_sharded(model):
        yield
        return
    sharded = cast('FSDPModule', model)  # fully_shard made it a subclass of both
    sharded.unshard()
    try:
        yield
    finally:
        sharded.reshard()


def _average_gradient(parameter: Tensor) -> None:
    """Average the gradient of a replicated parameter over ranks, as data parallel training does."""
    assert parameter.grad is not None
    all_reduce(parameter.grad, 'mean')


def _refuse_copy(model: nn.Module, memo: dict[int, object]) -> None:
    """Refuse the copy that an EMAHook makes, which would end in an AssertionError of torch."""
    raise ValueError(
        'A FullyShardedModel cannot be copied, so an EMAHook cannot average it: remove the hook, '
        'or remove model_wrapper_cfg and train without sharding.'
    )
