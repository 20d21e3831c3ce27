"""The reader of all images: training, evaluation, the demo and the figures get the same pixels.

Files are interpreted like this:

- **Bits.** 1, 2 and 4 bits of grey are spread over 0 to 255; of 16 bits the upper eight count, so
  that 32768 is a mid-grey of 128.
- **Transparency.** The image lies on white, as on a web page; PNG, WebP, GIF, TIFF.
- **Orientation.** The image is turned upright by its EXIF orientation.
- **Animations** are their first frame, TIFF files their first page.
- **CMYK** JPEG files are taken to be inverted, as Adobe writes them and browsers read them.

JPEG, and PNG and WebP without transparency, are decoded by OpenCV as MMSegmentation does it, bit by
bit; the rest by Pillow.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from groupvit_mmseg.datasets.decoder_messages import collected_messages
from groupvit_mmseg.datasets.image_containers import Container, open_container

# Pixels of a file that a user names: Pillow's own limit.
MAX_FILE_PIXELS = 178_956_970
# Pixels of a training image, of which every worker holds one; see `LoadImageText`.
MAX_TRAINING_PIXELS = 50_000_000

_PILLOW_FORMATS = ('PNG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM')
# Grey of 16 bits is mode 'I' there in some versions of Pillow, as grey of 32 bits is elsewhere.
_AT_MOST_16_BITS = ('PNG', 'PPM')
_TRANSPARENT_MODES = ('LA', 'La', 'PA', 'RGBA', 'RGBa')
_TIFF_TILE_WIDTH, _TIFF_TILE_LENGTH = 322, 323
# Grey, colour, or the opacity of each entry of a palette, as Pillow gives it.
_Transparency = int | tuple[int, ...] | bytes


class DecodedImage(NamedTuple):
    """An image and the complaints of its decoder.

    Attributes:
        pixels (NDArray): Blue-green-red ``(H, W, 3)``, uint8.
        complaints (list[str]): Lines of libjpeg, libpng or OpenCV about a damaged file that still
            gave an image.
    """

    pixels: NDArray[np.uint8]
    complaints: list[str]


def decode_image(data: bytes, *, max_pixels: int = MAX_FILE_PIXELS) -> DecodedImage:
    """Decode the bytes of an image file, interpreted as this module documents.

    The header and the lengths of the parts are checked first, so that no decoder allocates more
    than the image takes.

    Args:
        data (bytes): A JPEG, PNG, WebP, GIF, BMP, TIFF or PPM file; its name does not matter.
        max_pixels (int): Limit of width x height. Defaults to 178,956,970.

    Returns:
        DecodedImage: The pixels.

    Raises:
        ValueError: If the data is no such file, damaged, or larger. Every error of a decoder
            becomes one.

    Example:
        >>> import cv2
        >>> data = cv2.imencode('.png', np.full((2, 3, 3), 7, np.uint8))[1].tobytes()
        >>> decode_image(data).pixels.shape
        (2, 3, 3)
        >>> decode_image(data[:40])
        Traceback (most recent call last):
        ...
        ValueError: the PNG file is truncated
    """
    with collected_messages() as complaints:
        try:
            pixels = _decode(data, max_pixels)
        except MemoryError as error:
            raise ValueError('there is not enough memory to decode it') from error
        except Exception as error:  # decoders have no type of error in common
            raise ValueError(_first_line(error)) from error
    return DecodedImage(pixels, complaints)


def read_image(data: bytes, name: str, *, max_pixels: int = MAX_FILE_PIXELS) -> NDArray[np.uint8]:
    """Decode a file with a name, which errors and the log mention.

    Args:
        data (bytes): The file.
        name (str): Its path.
        max_pixels (int): Limit of width x height. Defaults to 178,956,970.

    Returns:
        NDArray: Blue-green-red ``(H, W, 3)``, uint8.

    Raises:
        ValueError: If the file is no image, or a damaged one.
    """
    try:
        pixels, complaints = decode_image(data, max_pixels=max_pixels)
    except ValueError as error:
        raise ValueError(f'{name} cannot be read as an image: {error}.') from error
    if complaints:
        print_log(
            f'{name} is damaged but could be read: {complaints[0]}',
            logger='current',
            level=logging.WARNING,
        )
    return pixels


def load_image(path: str | Path, *, max_pixels: int = MAX_FILE_PIXELS) -> NDArray[np.uint8]:
    """Read an image as red-green-blue; see :func:`.decode_image`.

    Args:
        path (str | Path): The file.
        max_pixels (int): Limit of width x height. Defaults to 178,956,970.

    Returns:
        NDArray: ``(H, W, 3)``, uint8.

    Example:
        >>> import PIL.Image
        >>> PIL.Image.new('RGB', (3, 2), 'red').save('red.png')
        >>> image = load_image('red.png')
        >>> image.shape, image[0, 0].tolist()
        ((2, 3, 3), [255, 0, 0])

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no image, or a damaged one.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no image at {path}.')
    pixels = read_image(Path(path).read_bytes(), str(path), max_pixels=max_pixels)
    return np.ascontiguousarray(pixels[..., ::-1])


def _first_line(error: Exception) -> str:
    """Return the first line of a decoder's message, without a full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('.') if lines else type(error).__name__


def _decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Decode to blue-green-red."""
    container = open_container(data)
    if container.size is not None:
        check_size(container.size, max_pixels)
    if container.plain:
        return _decode_with_opencv(container)
    return _decode_with_pillow(container, max_pixels)


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse images without pixels and those with too many."""
    width, height = size
    if width <= 0 or height <= 0:
        raise ValueError(f'it has {width} x {height} pixels')
    if width * height > max_pixels:
        raise ValueError(f'{width * height} pixels are more than max_pixels={max_pixels}')


def _decode_with_opencv(container: Container) -> NDArray[np.uint8]:
    """Decode as MMSegmentation does; OpenCV turns JPEG files upright."""
    if not container.complete:  # OpenCV fills missing pixels with grey, Pillow refuses
        with _opened(container, ('JPEG',)) as image:
            image.load()
    pixels = cv2.imdecode(np.frombuffer(container.data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f'the {container.format} file is damaged')
    return np.asarray(pixels, np.uint8)


def _decode_with_pillow(container: Container, max_pixels: int) -> NDArray[np.uint8]:
    """Decode the first frame, upright, on white."""
    with _opened(container, _PILLOW_FORMATS) as image:
        check_tiles(image, max_pixels)
        image.load()
        upright = ImageOps.exif_transpose(image)
        return np.ascontiguousarray(_on_white(upright, container)[..., ::-1])


@contextmanager
def _opened(container: Container, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """Open the image with Pillow, which reads only the header."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # we have our own limits; other warnings do not help
        try:
            image = Image.open(io.BytesIO(container.data), formats=formats)
        except UnidentifiedImageError as error:  # its message is an address in memory
            raise ValueError(f'the {container.format} file has a damaged header') from error
        with image:
            yield image


def check_tiles(image: Image.Image, max_pixels: int) -> None:
    """Refuse an opened image that is too large, or a TIFF file whose tiles are: one is allocated.

    Raises:
        ValueError: If it is.
    """
    check_size(image.size, max_pixels)
    tags = getattr(image, 'tag_v2', {})
    tile = (int(tags.get(_TIFF_TILE_WIDTH, 1)), int(tags.get(_TIFF_TILE_LENGTH, 1)))
    check_size(tile, max_pixels)


def _on_white(image: Image.Image, container: Container) -> NDArray[np.uint8]:
    """Return red-green-blue ``(H, W, 3)``, with white behind transparent pixels."""
    short = container.format in _AT_MOST_16_BITS
    if image.mode.startswith('I;16') or (image.mode == 'I' and short):
        return _upper_bits(image)
    if image.mode in ('I', 'F'):
        raise ValueError(f'its pixels have 32 bits (mode {image.mode}): save it with 8 or 16')
    if 'transparency' in image.info:
        image.info['transparency'] = _key_of_8_bits(image.info['transparency'], container)
    if 'transparency' not in image.info and image.mode not in _TRANSPARENT_MODES:
        return np.asarray(image.convert('RGB'))
    values = np.asarray(image.convert('RGBA')).astype(np.uint16)
    colours, alpha = values[..., :3], values[..., 3:]
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _key_of_8_bits(key: _Transparency, container: Container) -> _Transparency:
    """Return the transparent colour as Pillow compares it; a palette's transparency stays."""
    if container.key_depth in (2, 4) and isinstance(key, int):
        return key * 255 // (2**container.key_depth - 1)
    if container.key_depth == 16 and isinstance(key, tuple):
        return tuple(value >> 8 for value in key)
    return key


def _upper_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Return the upper bits of 16-bit grey, ``(H, W, 3)``."""
    values = np.asarray(image)
    gray = (values >> 8).astype(np.uint8)
    transparent = image.info.get('transparency')
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return np.repeat(gray[..., None], 3, axis=2)
