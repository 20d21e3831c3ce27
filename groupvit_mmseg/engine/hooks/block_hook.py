"""TransformerBlocksHook: compiled blocks, and blocks whose activations are computed again."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.checkpoint import checkpoint

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.models.layers import TransformerBlock


@HOOKS.register_module()
class TransformerBlocksHook(Hook):
    """Keeps no activations inside the transformer blocks of both towers, or compiles them.

    Args:
        compile (bool | dict): As :func:`compile_blocks` takes it, for mmengine's own ``Runner``:
            :class:`GroupViTRunner` reads ``compile`` of the config. Defaults to False.
        recompute (bool): Whether the backward pass computes a block's activations again, which
            takes about a third more time and keeps one tensor per block. Defaults to False.
    """

    priority = 'VERY_LOW'

    def __init__(self, *, compile: bool | dict = False, recompute: bool = False) -> None:
        self.compile = compile
        self.recompute = recompute

    def before_train(self, runner: Any) -> None:
        """Change the blocks; the model is wrapped and loaded by now."""
        model = unwrap_model(runner.model)
        if self.recompute:
            for block in blocks_of(model):
                recompute_in_backward(block)
        compile_blocks(model, self.compile)
        compile_blocks(getattr(runner.val_loop, 'segmentor', None), self.compile)


def blocks_of(model: nn.Module) -> Iterator[TransformerBlock]:
    """All transformer blocks of a model."""
    return (module for module in model.modules() if isinstance(module, TransformerBlock))


def compile_blocks(model: nn.Module | None, options: bool | Mapping | None) -> None:
    """Compile the transformer blocks of a model at their next call.

    One by one: all blocks of a stage share one graph, so compiling takes seconds, and checkpoints
    keep their keys. The rest of the model (assignments, losses) runs as written.

    Args:
        model (nn.Module, optional): A pretrainer, a segmentor or any other.
        options (bool | Mapping, optional): Whether to compile, or the arguments of
            ``torch.compile``.

    Raises:
        TypeError: If the options are neither.
    """
    if options is not None and not isinstance(options, bool | Mapping):
        raise TypeError(
            f'compile is True, False or a dict of the arguments of torch.compile, not {options!r}.'
        )
    if model is None or options is None or options is False:
        return
    for block in blocks_of(model):
        block.compile(**(options if isinstance(options, Mapping) else {}))


def recompute_in_backward(block: TransformerBlock) -> None:
    """Keep only the input of a block for the backward pass; noise is replayed."""
    if not isinstance(block.forward, partial):
        # A module's own forward is what its hooks and torch.compile wrap.
        forward: Any = partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = forward  # type: ignore[method-assign]
