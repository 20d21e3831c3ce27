"""The smallest picture that can be segmented."""

from collections.abc import Sequence
from typing import Any

import cv2

TOO_THIN = 'it is too long and thin to be resized: cut it into parts'


def check_picture_size(size: Sequence[int], backbone: Any, *, name: str) -> None:
    """Refuse a picture with a side below one patch.

    Args:
        size (Sequence[int]): Height and width in pixels.
        backbone (Any): Its ``patch_size`` counts; without one any pixel will do.
        name (str): The picture, for the message.

    Raises:
        ValueError: If a side is too short.
    """
    patch_size = int(getattr(backbone, 'patch_size', 1))
    height, width = size
    if min(height, width) < patch_size:
        raise ValueError(
            f'{name} has {width} x {height} pixels: each side needs at least {patch_size}, a patch '
            'of the model.'
        )


def too_thin(error: Exception) -> bool:
    """Whether OpenCV refused to resize a picture because less than a pixel would be left of a side.

    Args:
        error (Exception): What a transform raised.
    """
    return isinstance(error, cv2.error) and error.func == 'resize'
