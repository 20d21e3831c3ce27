"""Test-time augmentation of single windows: each is encoded flipped and in several sizes.

A view of a window is one more prediction for the same pixels, so that views and overlapping windows
are averaged alike. Shapes: ``B`` windows, ``h, w`` pixels of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor


class WindowView(NamedTuple):
    """A way to look at a window.

    Attributes:
        scale (float): Factor on its sides.
        flip (bool): Whether left and right are exchanged.
    """

    scale: float = 1.0
    flip: bool = False

    def apply(self, crop: Tensor) -> Tensor:
        """Return the view of a window ``(3, h, w)``.

        Example:
            >>> import torch
            >>> WindowView(flip=True).apply(torch.arange(3.0).view(1, 1, 3)).flatten().tolist()
            [2.0, 1.0, 0.0]
            >>> WindowView(scale=0.5).apply(torch.ones(3, 8, 6)).shape
            torch.Size([3, 4, 3])
        """
        if self.flip:
            crop = crop.flip(-1)
        if self.scale == 1:
            return crop
        size = [max(1, round(side * self.scale)) for side in crop.shape[-2:]]
        return F.interpolate(crop[None], size=size, mode='bilinear', align_corners=False)[0]

    def undo_map(self, group_map: Tensor, size: Sequence[int]) -> Tensor:
        """Return the segments of a view at the pixels of the window, ``(h, w)``, nearest."""
        if group_map.shape != tuple(size):
            group_map = F.interpolate(group_map[None, None].float(), size=tuple(size))[0, 0].to(
                group_map.dtype
            )
        return group_map.flip(-1) if self.flip else group_map

    def undo_logits(self, logits: Tensor, size: Sequence[int]) -> Tensor:
        """Return the logits ``(C, h', w')`` of a view at the pixels of the window, bilinear."""
        if logits.shape[-2:] != tuple(size):
            logits = F.interpolate(
                logits[None], size=tuple(size), mode='bilinear', align_corners=False
            )[0]
        return logits.flip(-1) if self.flip else logits


def window_views(scales: Sequence[float], flip: bool) -> tuple[WindowView, ...]:
    """Return the views of every window, in order.

    Example:
        >>> window_views([1.0, 0.5], flip=True)[1]
        WindowView(scale=1.0, flip=True)
        >>> len(window_views([1.0, 0.5], flip=True))
        4
    """
    return tuple(
        WindowView(scale, f) for scale in scales for f in ((False, True) if flip else (False,))
    )
