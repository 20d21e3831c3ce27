"""PatchDropoutHook: trains on a part of the patches of each image. Not the paper's."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn, rand
from torch.utils.hooks import RemovableHandle

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.models.groupvit import GroupViT
from groupvit_mmseg.models.pretrainer import GroupViTPretrainer


@HOOKS.register_module()
class PatchDropoutHook(Hook):
    """Drops patches of each image while a :class:`.GroupViTPretrainer` trains.

    Every step draws anew which patches of an image are kept; they keep their positions. Towards the
    end of the training all are kept, as in the evaluation: an unmasked tail (FLIP, Li et al. 2023,
    arXiv 2212.00794). The paper keeps all patches; what dropping gains and costs on the data at
    hand is in ``docs/experiments.md``.

    Args:
        keep (float): Share of the patches that are kept, in (0, 1). Defaults to 0.5.
        tail (float): Share of the steps, at the end, that keep all, in [0, 1). Defaults to 1 / 6.

    Raises:
        ValueError: If a share is outside its range.

    Example:
        >>> custom_hooks = [dict(type='PatchDropoutHook', keep=0.5)]
    """

    def __init__(self, keep: float = 0.5, *, tail: float = 1 / 6) -> None:
        if not 0 < keep < 1 or not 0 <= tail < 1:
            raise ValueError(
                f'PatchDropoutHook: keep must be in (0, 1) and tail in [0, 1), not {keep} and '
                f'{tail}.'
            )
        self.keep = keep
        self.tail = tail
        self._active = False
        self._handle: RemovableHandle | None = None

    def before_train(self, runner: Runner) -> None:
        """Watch the first stage.

        Raises:
            TypeError: If the model does not pretrain a :class:`.GroupViT`, or its backbone makes
                feature maps, which need all patches.
        """
        model = unwrap_model(runner.model)
        backbone = getattr(model, 'backbone', None)
        if not isinstance(model, GroupViTPretrainer) or not isinstance(backbone, GroupViT):
            raise TypeError(
                'PatchDropoutHook is for a GroupViTPretrainer with a GroupViT as its backbone, not '
                f'{type(model).__name__} with {type(backbone).__name__}: remove the hook.'
            )
        first = backbone.stages[0]
        self._handle = first.register_forward_pre_hook(self._drop, with_kwargs=False)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Drop patches in this step, unless it belongs to the tail."""
        self._active = runner.iter < (1 - self.tail) * runner.max_iters

    def after_train(self, runner: Runner) -> None:
        """Leave the first stage as it was."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _drop(self, stage: nn.Module, inputs: tuple[Tensor, Tensor | None]) -> tuple | None:
        """Replace the tokens ``(B, N, C)`` by the kept ones; others are left alone."""
        if not self._active or not stage.training:
            return None
        tokens, *others = inputs
        return keep_patches(tokens, self.keep), *others


def keep_patches(tokens: Tensor, share: float) -> Tensor:
    """Return a share of the tokens of each image, at least one, drawn at random.

    Args:
        tokens (Tensor): ``(B, N, C)``.
        share (float): Share that is kept, in (0, 1].

    Returns:
        Tensor: ``(B, K, C)``, in random order.

    Example:
        >>> import torch
        >>> keep_patches(torch.randn(2, 10, 4), 0.5).shape
        torch.Size([2, 5, 4])
    """
    count = max(1, round(share * tokens.shape[1]))
    order = rand(tokens.shape[:2], device=tokens.device).argsort(dim=1)  # (B, N)
    places = order[:, :count, None].expand(-1, -1, tokens.shape[2])  # (B, K, C)
    return tokens.gather(1, places)
