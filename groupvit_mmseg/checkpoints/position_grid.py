"""Position embeddings of a grid of patches at another grid: of models and of weights read for them.

Shapes: ``C`` channels, ``h, w`` the grid.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def interpolate_positions(
    positions: Tensor, grid_shape: Sequence[int], new_shape: Sequence[int]
) -> Tensor:
    """Resize position embeddings bicubically from one patch grid to another.

    Args:
        positions (Tensor): ``(1, h * w, C)``, float32 or float64.
        grid_shape (Sequence[int]): ``h, w``.
        new_shape (Sequence[int]): ``h', w'``.

    Returns:
        Tensor: ``(1, h' * w', C)``.
    """
    grid = positions.transpose(1, 2).unflatten(-1, tuple(grid_shape))  # (1, C, h, w)
    grid = F.interpolate(grid, size=tuple(new_shape), mode='bicubic', align_corners=False)
    return grid.flatten(2).transpose(1, 2)  # (1, h' * w', C)
