"""Random flip and random erasing of training images."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray

# Values of a random number of 16 bits, by which the noise is looked up.
_NUM_DRAWS = 2**16
# Height by width of the erased rectangle, and its area as a share of the image (timm).
ASPECT_RATIO_RANGE = (3 / 10, 10 / 3)
AREA_RANGE = (0.02, 1 / 3)


@TRANSFORMS.register_module()
class RandomHorizontalFlip(BaseTransform):
    """Mirror an image, left to right, with a probability.

    The random numbers and the result are those of ``mmpretrain.RandomFlip``, without boxes, key
    points and masks.

    Required and modified key: img ``(H, W, 3)``, uint8.

    Args:
        prob (float): Probability. Defaults to 0.5.

    Raises:
        ValueError: If ``prob`` is outside [0, 1].

    Example:
        >>> flip = RandomHorizontalFlip(1.0)
        >>> flip(dict(img=np.array([[[1] * 3, [2] * 3]], np.uint8)))['img'].tolist()
        [[[2, 2, 2], [1, 1, 1]]]
    """

    def __init__(self, prob: float = 0.5) -> None:
        self.prob = _probability(prob)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Flip one image or leave it."""
        if np.random.random_sample() < self.prob:
            results['img'] = cv2.flip(results['img'], 1)
        return results


@TRANSFORMS.register_module()
class RandomPixelErasing(BaseTransform):
    """Replace a random rectangle by noise, a normal random number for each value (timm's 'pixel').

    The rectangles, and the distribution of the noise, are those of ``mmpretrain.RandomErasing``
    with ``mode='rand'`` and ``fill_std``. The noise is drawn from a table of 65,536 quantiles, to
    which probabilities are rounded, in a seventh of the time of ``np.random.normal``; every value
    of every image is drawn anew.

    Required and modified key: img, blue-green-red ``(H, W, 3)``, uint8; changed in place.

    Args:
        prob (float): Probability that an image is changed. Defaults to 0.25.
        mean (Sequence[float]): Mean of the noise, blue-green-red, before it is rounded down and
            clipped to 0 to 255. Defaults to ImageNet's mean.
        std (Sequence[float]): Its standard deviation. Defaults to ImageNet's.

    Raises:
        ValueError: If ``prob`` is outside [0, 1], or a standard deviation is not positive.

    Example:
        >>> erase = RandomPixelErasing(1.0)
        >>> bool((erase(dict(img=np.zeros((64, 64, 3), np.uint8)))['img'] > 0).any())
        True
    """

    def __init__(
        self,
        prob: float = 0.25,
        *,
        mean: Sequence[float] = (103.53, 116.28, 123.675),
        std: Sequence[float] = (57.375, 57.12, 58.395),
    ) -> None:
        self.prob = _probability(prob)
        if min(std) <= 0:
            raise ValueError(f'`std` is {std}: every one must be more than 0.')
        self.quantiles = [_quantiles(*moments) for moments in zip(mean, std, strict=True)]

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Erase a rectangle of one image or leave it."""
        if np.random.random_sample() <= self.prob:
            image = results['img']
            rows, columns = _random_rectangle(*image.shape[:2])
            self._fill(image[rows, columns])
        return results

    def _fill(self, region: NDArray[np.uint8]) -> None:
        """Replace a region by noise."""
        height, width, channels = region.shape
        draws = np.frombuffer(np.random.bytes(2 * region.size), np.uint16)
        for channel, draw in enumerate(draws.reshape(channels, height, width)):
            region[..., channel] = self.quantiles[channel].take(draw)


def _probability(prob: float) -> float:
    """Check and return a probability."""
    if not 0 <= prob <= 1:
        raise ValueError(f'`prob` is {prob}: it must be in [0, 1].')
    return prob


def _quantiles(mean: float, std: float) -> NDArray[np.uint8]:
    """Return the values of the noise in proportion to their probabilities, ``(65536)``."""
    normal = NormalDist(mean, std)
    ends = [round(_NUM_DRAWS * normal.cdf(value + 1)) for value in range(255)]
    counts = np.diff([0, *ends, _NUM_DRAWS])
    return np.repeat(np.arange(256, dtype=np.uint8), counts)


def _random_rectangle(height: int, width: int) -> tuple[slice, slice]:
    """Draw the rows and columns of a rectangle."""
    low, high = np.log(np.array(ASPECT_RATIO_RANGE, np.float32))
    aspect_ratio = math.exp(np.random.uniform(low, high))
    area = height * width * np.random.uniform(*AREA_RANGE)
    rows = min(round(math.sqrt(area * aspect_ratio)), height)
    columns = min(round(math.sqrt(area / aspect_ratio)), width)
    top = np.random.randint(height - rows) if height > rows else 0
    left = np.random.randint(width - columns) if width > columns else 0
    return slice(top, top + rows), slice(left, left + columns)
