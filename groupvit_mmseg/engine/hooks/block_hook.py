"""TransformerBlocksHook: compiled blocks, and blocks whose activations are recomputed."""

from collections.abc import Iterator, Mapping
from functools import partial

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.checkpoint import checkpoint

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.models.layers import TransformerBlock
from groupvit_mmseg.torch_versions import require_torch


@HOOKS.register_module()
class TransformerBlocksHook(Hook):
    """Recomputes the activations of the transformer blocks of both towers, or compiles the blocks.

    Args:
        compile (bool | dict): Options of :func:`compile_blocks`, for mmengine's own ``Runner``;
            :class:`GroupViTRunner` reads ``compile`` of the config instead. Defaults to False.
        recompute (bool): Whether the backward pass recomputes a block's activations, which takes
            about a third more time and stores one tensor per block. Defaults to False.

    Example:
        >>> custom_hooks = [dict(type='TransformerBlocksHook', recompute=True)]  # in a config
    """

    priority = 'VERY_LOW'

    def __init__(self, *, compile: bool | dict = False, recompute: bool = False) -> None:
        self.compile = compile
        self.recompute = recompute

    def before_train(self, runner: Runner) -> None:
        """Change the blocks once the model is wrapped and its weights are loaded."""
        model = unwrap_model(runner.model)
        if self.recompute:
            for block in blocks_of(model):
                recompute_in_backward(block)
        compile_blocks(model, self.compile)
        compile_blocks(getattr(runner.val_loop, 'segmentor', None), self.compile)


COMPILES_FROM = (2, 5)
"""tuple[int, int]: First PyTorch that makes one graph for blocks that differ in a number."""


def blocks_of(model: nn.Module) -> Iterator[TransformerBlock]:
    """Return all transformer blocks of a model."""
    return (module for module in model.modules() if isinstance(module, TransformerBlock))


def compile_blocks(model: nn.Module | None, options: bool | Mapping[str, object] | None) -> None:
    """Compile the transformer blocks of a model at their next call.

    Blocks are compiled separately: those of a stage share one graph, so compiling takes seconds,
    and checkpoints keep their keys. The rest of the model (assignments, losses) is not compiled.

    Args:
        model (nn.Module, optional): A pretrainer, a segmentor or any other model.
        options (bool | Mapping, optional): Whether to compile, or the arguments of
            ``torch.compile``.

    Raises:
        TypeError: If the options are neither.
        ImportError: If blocks are to be compiled and PyTorch is older than 2.5, which would make a
            graph for each.
    """
    if options is not None and not isinstance(options, bool | Mapping):
        raise TypeError(
            f'compile is True, False or a dict of the arguments of torch.compile, not {options!r}.'
        )
    if model is None or options is None or options is False:
        return
    require_torch(COMPILES_FROM, 'compile')
    for block in blocks_of(model):
        block.compile(**(options if isinstance(options, Mapping) else {}))


def recompute_in_backward(block: TransformerBlock) -> None:
    """Store only a block's input for the backward pass, which recomputes the rest.

    Random numbers are replayed.
    """
    if not isinstance(block.forward, partial):
        # A module's hooks and torch.compile wrap its own forward, so that is what is replaced.
        recomputed = partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = recomputed  # type: ignore[method-assign,assignment]  # same signature
