"""Figures of the page: encoded pictures with a text for those who do not see them."""

from __future__ import annotations

import base64
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

RGBImage = NDArray[np.uint8]
# 4:4:4, or the edges between colours blur.
_JPEG = [
    cv2.IMWRITE_JPEG_QUALITY,
    90,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


class Figure(NamedTuple):
    """An encoded picture.

    Attributes:
        content (bytes): JPEG file.
        alt (str): Text for screen readers.
        size (tuple[int, int]): Height and width in pixels.
        title (str): Short title, such as the word of a heat map. Defaults to ''.
    """

    content: bytes
    alt: str
    size: tuple[int, int]
    title: str = ''

    @property
    def data_uri(self) -> str:
        """Address that contains the picture, for ``<img src>``."""
        return f'data:image/jpeg;base64,{base64.b64encode(self.content).decode()}'

    def array(self) -> RGBImage:
        """Decode the picture, RGB ``(h, w, 3)``."""
        pixels = cv2.imdecode(np.frombuffer(self.content, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def make_figure(pixels: RGBImage, alt: str, *, title: str = '') -> Figure:
    """Encode a picture.

    Args:
        pixels (NDArray): RGB ``(h, w, 3)``.
        alt (str): Text for screen readers.
        title (str): Short title. Defaults to ''.

    Example:
        >>> figure = make_figure(np.zeros((20, 30, 3), np.uint8), 'a black picture')
        >>> figure.size, figure.data_uri[:23], figure.array().shape
        ((20, 30), 'data:image/jpeg;base64,', (20, 30, 3))
    """
    done, content = cv2.imencode('.jpg', cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), _JPEG)
    assert done
    return Figure(content.tobytes(), alt, (pixels.shape[0], pixels.shape[1]), title)
