"""Animations of figures, for notebooks and pages."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGBArray = NDArray[np.uint8]
COLOURS = 256


def animated_png(
    figures: Sequence[RGBArray], *, milliseconds: int = 250, last_milliseconds: int = 2000
) -> bytes:
    """Join figures to an animated PNG, which browsers, notebooks and code hosts show as an image.

    All frames share a palette of 256 colours, which keeps the file small.

    Args:
        figures (Sequence[NDArray]): RGB ``(H, W, 3)`` uint8 of one size, in order.
        milliseconds (int): Time of each frame, above 0. Defaults to 250.
        last_milliseconds (int): Time of the last frame, after which the animation begins again.
            Defaults to 2000.

    Returns:
        bytes: Content of the file. Frames that equal the one before are joined with it.

    Raises:
        ValueError: If there is no figure, or their sizes differ.

    Example:
        >>> black = np.zeros((4, 6, 3), np.uint8)
        >>> content = animated_png([black, black + 255])
        >>> Image.open(io.BytesIO(content)).n_frames
        2
    """
    sizes = {figure.shape for figure in figures}
    if len(sizes) != 1:
        raise ValueError(
            f'An animation needs figures of one size, and these have {len(sizes)}: {sorted(sizes)}.'
        )
    palette = Image.fromarray(np.concatenate(figures)).quantize(COLOURS)
    frames = [
        Image.fromarray(figure).quantize(palette=palette, dither=Image.Dither.NONE)
        for figure in figures
    ]
    stream = io.BytesIO()
    frames[0].save(
        stream,
        format='PNG',
        save_all=True,
        append_images=frames[1:],
        duration=[milliseconds] * (len(frames) - 1) + [last_milliseconds],
        loop=0,
        optimize=True,
    )
    return stream.getvalue()
