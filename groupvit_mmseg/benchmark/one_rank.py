"""The losses of one rank of several, in one process: what each rank of a training computes."""

from __future__ import annotations

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.models import losses, prompt_ids

LOSSES = ('contrastive', 'multi-label')
DIM, SEGMENTS = 256, 8


def act_as_first_rank(ranks: int) -> None:
    """Make the losses of this process compute as on the first of ``ranks`` ranks, from now on.

    Its rows meet its own columns and random ones in place of the other ranks', which are constants.
    """

    def gather_with_grad(local: Tensor) -> Tensor:
        return torch.cat([local, *[torch.randn_like(local)] * (ranks - 1)])

    prompt_ids.world_size = lambda: ranks
    losses.gather_with_grad = gather_with_grad


def build_loss(name: str, *, chunk_size: int, level: str = 'pooled') -> nn.Module:
    """Build a loss of ``LOSSES``; the level is that of the multi-label loss."""
    if name == 'contrastive':
        return MODELS.build(dict(type='ImageTextContrastiveLoss', chunk_size=chunk_size))
    return MODELS.build(dict(type='MultiLabelContrastiveLoss', chunk_size=chunk_size, level=level))


def draw_inputs(
    name: str, rows: int, *, prompts: int = 3, level: str = 'pooled', device: str = 'cpu'
) -> list[Tensor]:
    """Draw the embeddings of images and texts of one rank.

    Args:
        name (str): A loss of ``LOSSES``.
        rows (int): Pairs of the rank.
        prompts (int): Prompts of each pair. Defaults to 3.
        level (str): Level of the multi-label loss. Defaults to 'pooled'.
        device (str): Where they are. Defaults to 'cpu'.

    Returns:
        list[Tensor]: Images and texts, ``(rows, ..., 256)``, with gradients.

    Example:
        >>> [tuple(tensor.shape) for tensor in draw_inputs('multi-label', 4, level='segments')]
        [(4, 8, 256), (4, 3, 256)]
    """
    segments = [SEGMENTS] if level == 'segments' and name != 'contrastive' else []
    texts = [] if name == 'contrastive' else [prompts]
    shapes = [(rows, *segments, DIM), (rows, *texts, DIM)]
    return [torch.randn(*shape, device=device, requires_grad=True) for shape in shapes]
