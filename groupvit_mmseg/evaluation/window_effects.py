"""Why sliding windows give other labels than a whole image: votes of windows, borders, classes.

Letters: ``H, W`` pixels, ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.models.windows import Window, WindowedImage

NEAR = 16
"""int: A border is near within this part of a window's side: 28 pixels of 448."""


class WindowEffects(NamedTuple):
    """Pixels of one or more images, by how whole image and windows differ.

    Attributes:
        pixels (int): All pixels.
        differing (int): Those whose label differs.
        split (int): Of these, pixels whose windows do not agree with each other: the windows cut
            the image into parts that mean something else.
        united (int): Of these, pixels whose windows agree, against the whole image: context that
            none of the windows has, or classes that the whole image leaves out.
        near (int): Pixels near a border of a window inside the image.
        near_differing (int): Of these, pixels whose label differs.
        changes (Tensor): Pixels by label of the whole image and label of the windows, ``(K, K)``.
    """

    pixels: int
    differing: int
    split: int
    united: int
    near: int
    near_differing: int
    changes: Tensor

    def plus(self, other: WindowEffects) -> WindowEffects:
        """Return the sums of both."""
        return WindowEffects(
            pixels=self.pixels + other.pixels,
            differing=self.differing + other.differing,
            split=self.split + other.split,
            united=self.united + other.united,
            near=self.near + other.near,
            near_differing=self.near_differing + other.near_differing,
            changes=self.changes + other.changes,
        )


def window_effects(
    whole: Tensor, slide: Tensor, windowed: WindowedImage, num_classes: int
) -> WindowEffects:
    """Compare the labels of a whole image with those of its windows.

    Args:
        whole (Tensor): Labels ``(H, W)`` of the whole image, at the size of the network's input.
        slide (Tensor): Labels ``(H, W)`` of the averaged windows.
        windowed (WindowedImage): The windows.
        num_classes (int): Number of classes ``K``.

    Example:
        >>> group_maps = [torch.zeros(1, 2, dtype=torch.uint8)] * 2
        >>> windows = [(slice(0, 1), slice(0, 2)), (slice(0, 1), slice(1, 3))]
        >>> scores = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])]
        >>> image = WindowedImage((1, 3), windows, group_maps, scores)
        >>> slide = image.pixel_scores().argmax(0)
        >>> effects = window_effects(torch.tensor([[0, 0, 0]]), slide, image, num_classes=2)
        >>> slide.tolist(), effects.differing, effects.split, effects.united
        ([[0, 1, 1]], 2, 1, 1)
    """
    differs = whole != slide
    agree = windows_agree(windowed)
    near = near_borders(windowed.size, windowed.windows).to(differs.device)
    pairs = whole.flatten() * num_classes + slide.flatten()
    changes = torch.bincount(pairs, minlength=num_classes**2).view(num_classes, num_classes)
    return WindowEffects(
        pixels=differs.numel(),
        differing=int(differs.sum()),
        split=int((differs & ~agree).sum()),
        united=int((differs & agree).sum()),
        near=int(near.sum()),
        near_differing=int((near & differs).sum()),
        changes=changes.cpu(),
    )


def windows_agree(windowed: WindowedImage) -> Tensor:
    """Return whether all windows that cover a pixel give it the same label, ``(H, W)``."""
    first = torch.full(windowed.size, -1, device=windowed.scores[0].device)
    agree = torch.ones_like(first, dtype=torch.bool)
    for (rows, columns), group_map, table in zip(
        windowed.windows, windowed.group_maps, windowed.scores, strict=True
    ):
        labels = table.argmax(dim=1)[group_map.long()]  # (h, w)
        seen = first[rows, columns]
        agree[rows, columns] &= (seen < 0) | (seen == labels)
        first[rows, columns] = torch.where(seen < 0, labels, seen)
    return agree


def near_borders(size: tuple[int, int], windows: Sequence[Window]) -> Tensor:
    """Return the pixels near a border of a window that is none of the image, ``(H, W)``."""
    near = torch.zeros(size, dtype=torch.bool)
    for axis, length in enumerate(size):
        for window in windows:
            other = window[1 - axis]
            for edge in (window[axis].start, window[axis].stop):
                if 0 < edge < length:
                    distance = max(1, (window[axis].stop - window[axis].start) // NEAR)
                    band = slice(max(0, edge - distance), edge + distance)
                    place = (band, other) if axis == 0 else (other, band)
                    near[place] = True
    return near
