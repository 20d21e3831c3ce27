"""Operations of RandAugment on the colours of an image, equal to mmcv's bit for bit.

mmcv computes most of them pixel by pixel in float32. The result for a value depends on the value
alone, or also on the image's histogram or mean: here it is looked up in a table of 256 entries,
which mmcv's own function computes. An image is blue-green-red ``(H, W, 3)``, uint8.
"""

import math

import cv2
import mmcv
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_VALUES = np.arange(256, dtype=np.uint8)
# Values below it become brighter.
_SOLARIZE_ADD_LIMIT = 128
# Pillow's ImageFilter.SMOOTH.
_SMOOTH = np.array([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13


def auto_contrast(image: Image) -> Image:
    """Stretch each channel to 0 to 255.

    Example:
        >>> auto_contrast(np.array([[[10, 0, 7], [20, 255, 7]]], np.uint8)).tolist()
        [[[0, 0, 7], [255, 255, 7]]]
    """
    tables = [_stretching_table(np.asarray(channel, np.uint8)) for channel in cv2.split(image)]
    return _look_up(image, np.stack(tables, axis=-1))


def _stretching_table(channel: Image) -> Image:
    """Return the table that maps the smallest value to 0 and the largest to 255."""
    low, high, *_ = cv2.minMaxLoc(channel)
    if low >= high:
        return _VALUES
    scale = 255.0 / (high - low)
    return np.clip(np.arange(256) * scale + -low * scale, 0, 255).astype(np.uint8)


def equalize(image: Image) -> Image:
    """Flatten the histogram of each channel.

    Example:
        >>> int(equalize(np.zeros((2, 2, 3), np.uint8)).max())
        0
    """
    tables = [_flattening_table(image, channel) for channel in range(3)]
    return _look_up(image, np.stack(tables, axis=-1))


def _flattening_table(image: Image, channel: int) -> Image:
    """Return the table that flattens the histogram of a channel."""
    counts = cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel().astype(np.int64)
    step = (counts.sum() - counts[counts.nonzero()[0][-1]]) // 255
    if step == 0:
        return _VALUES
    table = (counts.cumsum() + step // 2) // step
    return np.concatenate([[0], np.minimum(table[:-1], 255)]).astype(np.uint8)


def invert(image: Image) -> Image:
    """Subtract every value from 255.

    Example:
        >>> invert(np.full((1, 1, 3), 200, np.uint8)).tolist()
        [[[55, 55, 55]]]
    """
    return np.asarray(cv2.bitwise_not(image), np.uint8)


def posterize(image: Image, bits: float) -> Image:
    """Keep the upper bits of every value.

    Args:
        image (NDArray): The image.
        bits (float): 0 to 8, rounded up.

    Example:
        >>> posterize(np.full((1, 1, 3), 200, np.uint8), 0.4).tolist()
        [[[128, 128, 128]]]
    """
    return _look_up(image, mmcv.posterize(_VALUES, math.ceil(bits)))


def solarize(image: Image, threshold: float) -> Image:
    """Invert the values that reach a threshold.

    Example:
        >>> solarize(np.array([[[10, 99, 100]]], np.uint8), 100).tolist()
        [[[10, 99, 155]]]
    """
    return _look_up(image, mmcv.solarize(_VALUES, threshold))


def solarize_add(image: Image, addend: float) -> Image:
    """Add to the values below 128, up to 255.

    Example:
        >>> solarize_add(np.array([[[10, 127, 128]]], np.uint8), 100).tolist()
        [[[110, 227, 128]]]
    """
    brighter = np.minimum(_VALUES + addend, 255)
    return _look_up(image, np.where(_VALUES < _SOLARIZE_ADD_LIMIT, brighter, _VALUES))


def brighten(image: Image, factor: float) -> Image:
    """Multiply every value.

    Example:
        >>> brighten(np.array([[[10, 100, 200]]], np.uint8), 1.5).tolist()
        [[[15, 150, 255]]]
    """
    return _look_up(image, _blend(_VALUES, np.zeros_like(_VALUES), factor))


def change_contrast(image: Image, factor: float) -> Image:
    """Multiply the differences to the mean of the grey image.

    Example:
        >>> change_contrast(np.array([[[10] * 3, [30] * 3]], np.uint8), 2).tolist()
        [[[0, 0, 0], [40, 40, 40]]]
    """
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    mean = round(cv2.sumElems(gray)[0] / gray.size)
    return _look_up(image, _blend(_VALUES, np.full_like(_VALUES, mean), factor))


def change_saturation(image: Image, factor: float) -> Image:
    """Multiply the differences to the grey image.

    Example:
        >>> change_saturation(np.full((1, 1, 3), 9, np.uint8), 0.5).tolist()
        [[[9, 9, 9]]]
    """
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(image, factor, gray, 1 - factor, 0), np.uint8)


def sharpen(image: Image, factor: float) -> Image:
    """Multiply the differences to a smoothed image.

    Example:
        >>> int(sharpen(np.full((3, 3, 3), 9, np.uint8), 1.5).max())
        9
    """
    return _blend(image, np.asarray(cv2.filter2D(image, -1, _SMOOTH), np.uint8), factor)


def _blend(image: Image, other: Image, factor: float) -> Image:
    """Return ``image * factor + other * (1 - factor)``, rounded down as mmcv does."""
    blended = cv2.addWeighted(
        image.astype(np.float32), factor, other.astype(np.float32), 1 - factor, 0
    )
    return np.clip(blended, 0, 255, out=blended).astype(np.uint8)


def _look_up(image: Image, table: NDArray) -> Image:
    """Map all values through a table ``(256)``, or one for each channel ``(256, 3)``."""
    table = np.ascontiguousarray(table, np.uint8)
    return np.asarray(cv2.LUT(image, table.reshape(1, 256, -1)), np.uint8)
