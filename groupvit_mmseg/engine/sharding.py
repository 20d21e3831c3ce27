"""FullyShardedModel: each rank keeps a part of the weights, gradients and optimiser states."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce, broadcast
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed import fsdp

from groupvit_mmseg.models.grouping import GroupingBlock
from groupvit_mmseg.models.layers import TransformerBlock


@MODEL_WRAPPERS.register_module()  # mmengine's: Runner looks wrappers up there in any scope
class FullyShardedModel(nn.Module):
    """torch's ``fully_shard`` (FSDP2) as mmengine's ``model_wrapper_cfg``.

    Each block of the image tower is gathered where it runs and freed behind it; the rest of the
    model, text tower included, is gathered once a step: the text tower runs as often as a rank's
    texts ask for, and ranks must gather equally often. Scalars (logit scales) are whole on every
    rank. Weights keep their names and shapes, so that weight decay by dimension, optimiser groups
    and checkpoints (see :func:`full_state_dict`) are those of a model that is not cut. Everything
    is float32 and autocast works inside, so that the islands of full precision stay.

    Args:
        module (nn.Module): A model with ``train_step``, initialised here, before it is cut.

    Raises:
        ImportError: If torch has no ``fully_shard`` that can leave parameters out.
    """

    def __init__(self, module: Any) -> None:
        super().__init__()
        shard: Any = getattr(fsdp, 'fully_shard', None)
        if shard is None or 'ignored_params' not in inspect.signature(shard).parameters:
            raise ImportError(
                f'FullyShardedModel needs torch 2.7 or newer, this is {torch.__version__}: '
                'update it, or drop model_wrapper_cfg and train with whole weights.'
            )
        module.init_weights()
        for value in module.state_dict().values():
            broadcast(value)
        scalars = {parameter for parameter in module.parameters() if parameter.ndim == 0}
        for scalar in scalars:
            scalar.register_post_accumulate_grad_hook(_average_gradient)
        for block in units_of(module):
            shard(block)
        self.module: Any = shard(module, ignored_params=scalars)
        type(self.module).__deepcopy__ = _refuse_copy

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's."""
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: Any) -> dict[str, Tensor]:
        """The model's; gradients are averaged and cut in the backward pass."""
        return self.module.train_step(data, optim_wrapper)

    def val_step(self, data: Any) -> Any:
        """The model's."""
        return self.module.val_step(data)

    def test_step(self, data: Any) -> Any:
        """The model's."""
        return self.module.test_step(data)


def units_of(model: Any) -> list[nn.Module]:
    """Modules of the image tower that are gathered by themselves, called equally often."""
    tower = getattr(model, 'backbone', None)
    modules = tower.modules() if tower is not None else ()
    return [module for module in modules if isinstance(module, TransformerBlock | GroupingBlock)]


def is_sharded(value: Any) -> bool:
    """Whether a tensor is cut, or a model with such parameters."""
    if isinstance(value, nn.Module):
        return any(is_sharded(parameter) for parameter in value.parameters())
    return hasattr(value, 'full_tensor')


def local_shard(tensor: Tensor) -> Tensor:
    """What this rank has of a tensor."""
    cut: Any = tensor
    return cut.to_local() if is_sharded(cut) else tensor


def full_tensors(value: Any) -> Any:
    """The same content with cut tensors put together; all ranks must call it.

    Args:
        value (Any): A tensor, or mappings, lists and tuples of them.

    Returns:
        Any: Anything that is not cut comes back as it is.
    """
    if is_sharded(value):
        return value.full_tensor()
    if isinstance(value, Mapping):
        return {key: full_tensors(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(full_tensors(item) for item in value)
    return value


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """``model.state_dict()`` with nothing cut; all ranks must call it."""
    state_dict = model.state_dict()
    for name, value in state_dict.items():
        state_dict[name] = full_tensors(value)
    return state_dict


def shard_like(like: Tensor, tensor: Tensor) -> Tensor:
    """This rank's part of a tensor, cut as ``like`` is; all ranks have the whole."""
    cut: Any = like
    if not is_sharded(cut) or is_sharded(tensor) or tensor.shape != cut.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(cut.device)
    return distribute_tensor(tensor, cut.device_mesh, cut.placements, src_data_rank=None)


def shard_weights(model: nn.Module, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole weights cut as a model's are; unknown names and other shapes as they are."""
    own = model.state_dict()
    return {
        name: shard_like(own[name], value) if name in own else value
        for name, value in state_dict.items()
    }


def shard_states(optimizer: torch.optim.Optimizer) -> None:
    """Cut an optimiser's whole states, as loaded from a checkpoint, as its parameters are."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor):
                state[name] = shard_like(parameter, value)


@contextmanager
def gathered(model: Any) -> Iterator[None]:
    """For calls of a sharded model's parts from outside its forward; all ranks must take part."""
    if not is_sharded(model):
        yield
        return
    model.unshard()
    try:
        yield
    finally:
        model.reshard()


def _average_gradient(parameter: Tensor) -> None:
    """What data parallel training does with the gradient of a parameter that is whole."""
    assert parameter.grad is not None
    all_reduce(parameter.grad, 'mean')


def _refuse_copy(model: Any, memo: Any) -> None:
    """Instead of torch's AssertionError, met by an EMAHook."""
    raise ValueError(
        'A FullyShardedModel cannot be copied, so an EMAHook cannot average it: drop the hook, or '
        'drop model_wrapper_cfg and train with whole weights.'
    )
