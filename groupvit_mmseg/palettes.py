"""Colours of classes and segments, far from each other and the same on every call."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

RGBArray = NDArray[np.uint8]
# Easy to distinguish; enough for most figures.
_FIRST_COLOURS = (
    (230, 25, 75),
    (0, 158, 240),
    (255, 200, 25),
    (0, 178, 115),
    (170, 90, 230),
    (245, 130, 48),
    (70, 240, 240),
    (240, 120, 190),
    (150, 200, 40),
    (128, 90, 50),
)


def palette(count: int) -> RGBArray:
    """Return colours far from each other, the same on every call; they repeat after 226.

    Args:
        count (int): Number of colours.

    Returns:
        NDArray: RGB ``(count, 3)`` uint8; a longer palette begins with the shorter one.
    """
    colours = _spread_colours()
    return colours[np.arange(count) % len(colours)]


@lru_cache(maxsize=1)
def _spread_colours() -> RGBArray:
    """Return the first colours, then repeatedly that of a grid farthest from all before it."""
    hues, saturations, values = np.arange(24) / 24, (0.45, 0.7, 0.95), (0.55, 0.75, 0.95)
    grid = [colorsys.hsv_to_rgb(h, s, v) for h in hues for s in saturations for v in values]
    candidates = np.concatenate([np.array(_FIRST_COLOURS) / 255, grid]).astype(np.float32)
    lab = cv2.cvtColor(candidates[None], cv2.COLOR_RGB2Lab)[0]
    order = list(range(len(_FIRST_COLOURS)))
    nearest = np.linalg.norm(lab[:, None] - lab[None, order], axis=-1).min(axis=1)
    while len(order) < len(candidates):
        nearest[order] = -1
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[order[-1]], axis=-1))
    return (candidates[order] * 255).round().astype(np.uint8)


def class_palette(class_names: Sequence[str]) -> RGBArray:
    """Return the colours ``(K, 3)`` of classes; a first class called "background" is black."""
    if class_names and class_names[0] == 'background':
        return np.concatenate([np.zeros((1, 3), np.uint8), palette(len(class_names) - 1)])
    return palette(len(class_names))
