"""Check that an image is large enough to be segmented."""

from collections.abc import Sequence

import cv2

TOO_THIN = 'it is too long and thin to be resized: cut it into parts'


def check_image_size(size: Sequence[int], backbone: object, *, name: str) -> None:
    """Refuse an image with a side shorter than a patch.

    Args:
        size (Sequence[int]): Height and width in pixels.
        backbone (object): Backbone of the model; without ``patch_size`` every size is accepted.
        name (str): Name of the image, for the message.

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
    """Return whether OpenCV refused to resize an image to less than one pixel in width or height.

    Args:
        error (Exception): Error of a transform.
    """
    return isinstance(error, cv2.error) and error.func == 'resize'
