"""TransformerBlocksHook: compiled blocks, and blocks whose activations are computed again."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.checkpoint import checkpoint

from groupvit_mmseg.engine.finite_guard import bare
from groupvit_mmseg.models.layers import TransformerBlock


@HOOKS.register_module()
class TransformerBlocksHook(Hook):
    """Compiles the transformer blocks of both towers, or keeps no activations inside them.

    Blocks are compiled one by one, in training and in the segmentor that validates: all blocks of a
    stage share one graph, so compiling takes seconds, and checkpoints keep their keys. The rest of
    the model (assignments, losses) runs as written.

    Args:
        compile (bool | dict): Whether to compile, or the arguments of ``torch.compile``. Defaults
            to False.
        recompute (bool): Whether the backward pass computes a block's activations again, which
            takes about a third more time and keeps one tensor per block. Defaults to False.
    """

    priority = 'VERY_LOW'

    def __init__(self, *, compile: bool | dict = False, recompute: bool = False) -> None:
        self.compile = compile
        self.recompute = recompute

    def before_train(self, runner: Any) -> None:
        """Change the blocks; the model is wrapped and loaded by now."""
        trained = list(blocks_of(bare(runner.model)))
        if self.recompute:
            for block in trained:
                recompute_in_backward(block)
        if self.compile:
            segmentor = getattr(runner.val_loop, 'segmentor', None)
            validated = list(blocks_of(segmentor)) if segmentor is not None else []
            for block in trained + validated:
                block.compile(**(self.compile if isinstance(self.compile, dict) else {}))


def blocks_of(model: nn.Module) -> Iterator[TransformerBlock]:
    """All transformer blocks of a model."""
    return (module for module in model.modules() if isinstance(module, TransformerBlock))


def recompute_in_backward(block: TransformerBlock) -> None:
    """Keep only the input of a block for the backward pass; noise is replayed."""
    if not isinstance(block.forward, partial):
        # A module's own forward is what its hooks and torch.compile wrap.
        forward: Any = partial(checkpoint, block.forward, use_reentrant=False)
        block.forward = forward  # type: ignore[method-assign]
