"""Pictures that visitors send: checked by their header, decoded, reduced for display.

Every file is either a picture or one clear sentence. Letters: ``H, W`` pixels of the picture,
``h, w`` of the displayed one.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from groupvit_mmseg.datasets.image_containers import Container, open_container
from groupvit_mmseg.datasets.image_decoding import decode_image
from groupvit_web.errors import PageError
from groupvit_web.file_kinds import kind_of_file
from groupvit_web.limits import Limits

RGBImage = NDArray[np.uint8]
SMALLEST_SIDE = 320
"""int: Pictures with a shorter side are displayed enlarged, each pixel as a square."""


class Picture(NamedTuple):
    """A picture that can be segmented; :func:`read_picture` makes it.

    The pixels at full size are decoded again when they are needed, so that the pictures of many
    visitors take little memory.

    Attributes:
        name (str): Name of the file, for messages and downloads.
        source (Path | bytes): The file, or its content.
        key (str): Hash of the pixels: equal pictures have equal keys.
        size (tuple[int, int]): Height and width ``H, W``.
        shown (NDArray): The displayed picture, RGB ``(h, w, 3)`` uint8.
        factor (int): Displayed pixels per pixel and axis of an enlarged picture, otherwise 1.
        notes (tuple[str, ...]): Sentences about the file, such as that it is an animation.
    """

    name: str
    source: Path | bytes
    key: str
    size: tuple[int, int]
    shown: RGBImage
    factor: int
    notes: tuple[str, ...] = ()

    @property
    def is_reduced(self) -> bool:
        """Whether the displayed picture has fewer pixels than the picture."""
        return self.shown.shape[0] < self.size[0]

    @property
    def view_key(self) -> tuple[object, ...]:
        """Key of what is displayed: equal pictures that are displayed in one size have one."""
        return (self.key, self.shown.shape, self.factor)

    @property
    def view(self) -> RGBImage:
        """The displayed picture before it is enlarged: each of its pixels once."""
        return self.shown[:: self.factor, :: self.factor]

    def enlarged(self, array: NDArray) -> NDArray:
        """Enlarge a map or image of the size of :attr:`view` to that of ``shown``."""
        if self.factor == 1:
            return array
        return array.repeat(self.factor, 0).repeat(self.factor, 1)

    def pixels(self) -> RGBImage:
        """Decode the picture at full size, RGB ``(H, W, 3)`` uint8.

        Raises:
            PageError: If the file is no longer there, or is another one.
        """
        pixels = _decode(_content(self.source, self.name), self.name)
        if pixels.shape[:2] != self.size:
            raise PageError(f'{self.name} has changed: choose the picture again.')
        return pixels


def read_picture(
    source: str | Path | bytes, *, name: str | None = None, limits: Limits | None = None
) -> Picture:
    """Read a picture that a visitor sent.

    Args:
        source (str | Path | bytes): The file, or its content.
        name (str, optional): Its name for messages; None takes that of the file. Defaults to None.
        limits (Limits, optional): None takes the defaults. Defaults to None.

    Returns:
        Picture: The picture, upright, on white where it is transparent.

    Raises:
        PageError: If it is no picture, a damaged one, or exceeds a limit.

    Example:
        >>> content = cv2.imencode('.png', np.zeros((20, 30, 3), np.uint8))[1].tobytes()
        >>> picture = read_picture(content)
        >>> picture.size, picture.factor, picture.shown.shape
        ((20, 30), 16, (320, 480, 3))
        >>> read_picture(b'%PDF-1.7', name='scan.pdf')
        Traceback (most recent call last):
            ...
        groupvit_web.errors.PageError: scan.pdf is a PDF document: save the page as PNG or JPEG.
    """
    limits = limits or Limits()
    if isinstance(source, str):
        source = Path(source)
    if name is None:
        name = source.name if isinstance(source, Path) else 'The picture'
    _check_bytes(source, name, limits)
    content = _content(source, name)
    container = _container(content, name)
    notes = _check_header(container, name, limits)
    pixels = _decode(content, name)
    shown, factor = _for_display(pixels, limits.shown_side)
    return Picture(name, source, _hash(pixels), pixels.shape[:2], shown, factor, notes)


def _check_bytes(source: Path | bytes, name: str, limits: Limits) -> None:
    """Refuse a file that is missing, or too long to be read."""
    try:
        count = len(source) if isinstance(source, bytes) else source.stat().st_size
    except OSError as error:
        raise PageError(f'{name} is not there any more: choose the picture again.') from error
    if count > limits.file_bytes:
        raise PageError(
            f'{name} has {count / 2**20:.0f} MiB, more than the limit of '
            f'{limits.file_bytes / 2**20:.0f} MiB: save it smaller, or as JPEG.'
        )


def _content(source: Path | bytes, name: str) -> bytes:
    """Return the content of a file."""
    try:
        return source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise PageError(f'{name} cannot be read: choose the picture again.') from error


def _container(content: bytes, name: str) -> Container:
    """Read the header of a picture file.

    Raises:
        PageError: If the file is of another kind, or damaged.
    """
    try:
        return open_container(content)
    except ValueError as error:
        kind = kind_of_file(content)
        if kind is not None:
            raise PageError(f'{name} {kind}.') from error
        raise PageError(f'{name} cannot be used: {error}.') from error


def _check_header(container: Container, name: str, limits: Limits) -> tuple[str, ...]:
    """Refuse a picture of too many pixels before it is decoded; return notes about the file."""
    size, is_animated = container.size, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # the limit is ours
            with Image.open(io.BytesIO(container.data)) as image:
                size = size or image.size
                is_animated = bool(getattr(image, 'is_animated', False))
    except Image.DecompressionBombError as error:
        raise PageError(f'{name} {_too_many(size, limits)}') from error
    except Exception as error:  # Pillow's plugins raise errors of many types
        if size is None:
            raise PageError(
                f'{name} cannot be used: the {container.format} file has a damaged header.'
            ) from error
    if size is not None and size[0] * size[1] > limits.pixels:
        raise PageError(f'{name} {_too_many(size, limits)}')
    if not is_animated:
        return ()
    if container.format in ('TIFF', 'JPEG'):  # a JPEG of several pictures is an MPO
        what = 'pages' if container.format == 'TIFF' else 'pictures'
        return (f'{name} has several {what}: the first one is used.',)
    return (f'{name} is an animation: its first frame is used.',)


def _too_many(size: tuple[int, int] | None, limits: Limits) -> str:
    """Return the end of the sentence about a picture of too many pixels."""
    has = f'has {size[0]} x {size[1]} pixels, more' if size else 'has more pixels'
    return f'{has} than the limit of {limits.pixels / 1e6:g} million: reduce it.'


def _decode(content: bytes, name: str) -> RGBImage:
    """Decode to RGB ``(H, W, 3)``; the header has been checked."""
    try:
        pixels, _ = decode_image(content)
    except ValueError as error:
        raise PageError(f'{name} cannot be used: {error}.') from error
    return np.ascontiguousarray(pixels[..., ::-1])


def _for_display(pixels: RGBImage, longest: int) -> tuple[RGBImage, int]:
    """Reduce a large picture, or repeat the pixels of a small one; return also the repetitions."""
    height, width = pixels.shape[:2]
    if max(height, width) > longest:
        scale = longest / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), 1
    factor = min(-(-SMALLEST_SIDE // min(height, width)), longest // max(height, width))
    return pixels.repeat(factor, 0).repeat(factor, 1), factor


def _hash(pixels: RGBImage) -> str:
    """Return a hash of the size and the pixels."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return digest.hexdigest()
