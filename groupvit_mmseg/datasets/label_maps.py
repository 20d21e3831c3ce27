"""Masks of labels read from files of any depth, without changing a label."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import mmcv
import numpy as np
from mmengine import fileio
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray
from PIL import Image

from groupvit_mmseg.datasets.image_containers import image_format, open_container
from groupvit_mmseg.datasets.image_decoding import MAX_FILE_PIXELS, check_size, check_tiles
from groupvit_mmseg.registry import type_name

IGNORED = 255
"""int: Label of pixels to ignore, in files and in memory, of labels of 8 bits."""
LARGEST_LABEL = 2**16 - 1
"""int: Largest label of 16 bits, that of pixels to ignore in memory."""
ORIENTATION = 274  # tag of EXIF
TURNS = (5, 6, 7, 8)  # orientations that exchange width and height
SAVE_AS = 'save it as an 8-bit PNG of labels, grey or with a palette.'

ConfigT = TypeVar('ConfigT')


@TRANSFORMS.register_module()
class LoadLabelMap(LoadAnnotations):
    """``LoadAnnotations`` that refuses masks whose labels it would change.

    ``LoadAnnotations`` keeps the lowest 8 bits of a label, so that 256 + 3 becomes 3, and accepts a
    mask of any size. On all other files both give the same. :class:`GroupViTRunner` and the tools
    replace ``LoadAnnotations`` by this class; configs keep the old name, by which MMSegmentation
    leaves the masks out at inference.

    Args:
        ignore_index (int): Label of the files that does not count; it becomes 255. One above 255,
            up to 65535, says that labels have 16 bits; it becomes 65535. Defaults to 255.
        **kwargs: Arguments of ``LoadAnnotations``.

    Attributes:
        ignored (int): Label of ``gt_seg_map`` that does not count.

    Raises:
        ValueError: With the file's name, if it is no map of labels 0 to 255 (of 16 bits: 65535), or
            of another size than its image.

    Example:
        >>> import cv2
        >>> _ = cv2.imwrite('mask.png', np.array([[0, 1], [2, 255]], np.uint8))
        >>> results = dict(seg_map_path='mask.png', seg_fields=[], reduce_zero_label=True)
        >>> LoadLabelMap()(results)['gt_seg_map'].tolist()
        [[255, 0], [1, 255]]
    """

    def __init__(self, *, ignore_index: int = IGNORED, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.ignored = ignored_label(ignore_index)
        self._warned_of_orientation = False

    def _load_seg_map(self, results: dict) -> None:
        """Read one mask into ``gt_seg_map``, uint8 or uint16 ``(H, W)``."""
        path = results['seg_map_path']
        data = fileio.get(path, backend_args=self.backend_args)
        bits: Literal[8, 16] = 8 if self.ignored == IGNORED else 16
        labels = decode_label_map(data, path, backend=self.imdecode_backend, bits=bits)
        self._check_size(path, labels.shape, results.get('img_path'), results.get('ori_shape'))
        dtype, ignored = labels.dtype, self.ignored
        if self.ignore_index != ignored:
            labels = np.where(labels == self.ignore_index, ignored, labels).astype(dtype)
        if self._reduces_zero_label(results['reduce_zero_label']):
            labels = np.where(np.isin(labels, (0, ignored)), ignored, labels - 1).astype(dtype)
        if results.get('label_map') is not None:
            labels = _relabelling(results['label_map'], dtype)[labels]
        results['gt_seg_map'] = labels
        results['seg_fields'].append('gt_seg_map')

    def _reduces_zero_label(self, of_set: bool) -> bool:
        """Return whether label 0 is ignored and the others count from 0, as in the data set."""
        if self.reduce_zero_label not in (None, of_set):
            raise ValueError(
                f'The data set has reduce_zero_label={of_set}, its pipeline '
                f'{self.reduce_zero_label}: set it in the data set only.'
            )
        return of_set

    def _check_size(
        self,
        mask: str,
        shape: tuple[int, ...],
        image: str | None,
        image_shape: tuple[int, ...] | None,
    ) -> None:
        """Refuse a mask of another size than its image; warn if its orientation is unclear."""
        if image_shape is None or image is None:
            return
        if shape != tuple(image_shape[:2]):
            raise ValueError(size_sentence(mask, shape, image, image_shape))
        orientation = exif_orientation(image)
        unclear = orientation > 1 and (orientation not in TURNS or shape[0] == shape[1])
        if unclear and not self._warned_of_orientation:
            self._warned_of_orientation = True
            warnings.warn(
                f'{image} has EXIF orientation {orientation}, and its size does not tell whether '
                f'its mask {mask} is turned too: save such images upright, '
                'without the tag.',
                stacklevel=2,
            )


def ignored_label(ignore_index: int) -> int:
    """Return the label in memory of the pixels that have the label ``ignore_index`` in files.

    Args:
        ignore_index (int): Of a data set; one above 255 says that labels have 16 bits.

    Raises:
        ValueError: If it is above 65535.

    Example:
        >>> ignored_label(0), ignored_label(1000)
        (255, 65535)
    """
    if ignore_index > LARGEST_LABEL:
        raise ValueError(
            f'ignore_index = {ignore_index} is above {LARGEST_LABEL}, the largest label of 16 bits.'
        )
    return LARGEST_LABEL if ignore_index > IGNORED else IGNORED


def decode_label_map(
    data: bytes,
    path: str,
    *,
    backend: str = 'pillow',
    max_pixels: int = MAX_FILE_PIXELS,
    bits: Literal[8, 16] = 8,
) -> NDArray[np.unsignedinteger]:
    """Decode the labels of a mask file, ``(H, W)``: grey of any depth, bits, or palette indices.

    Args:
        data (bytes): The file's content.
        path (str): Its name, for messages.
        backend (str): Decoder, as ``mmcv.imfrombytes`` knows it. Defaults to ``'pillow'``.
        max_pixels (int): Limit of width x height. Defaults to 178,956,970.
        bits (int): Bits of a label of the result, 8 or 16. Defaults to 8.

    Raises:
        ValueError: If the file cannot be decoded, has colours or alpha, or a label that is no whole
            number of so many bits.
    """
    try:
        _check_container(data, max_pixels)
        if backend == 'pillow':
            labels = _decode_by_pillow(data, max_pixels)
        else:
            labels = mmcv.imfrombytes(data, flag='unchanged', backend=backend)
    # Decoders raise many types on damaged files: SyntaxError, struct.error, EOFError, ...
    except Exception as error:
        reason = str(error).split(' <')[0]  # without the object's address
        raise ValueError(f'The mask {path} cannot be decoded ({reason}): {SAVE_AS}') from error
    if labels is None:
        raise ValueError(f'The mask {path} cannot be decoded: {SAVE_AS}')
    labels = np.squeeze(labels) if labels.ndim == 3 else labels
    if labels.ndim != 2:
        raise ValueError(
            f'The mask {path} has colours instead of labels (shape {labels.shape}): {SAVE_AS}'
        )
    return as_labels(labels, path, np.uint8 if bits == 8 else np.uint16)


def _check_container(data: bytes, max_pixels: int) -> None:
    """Refuse an image of a known format whose header claims more than the file or the limit has."""
    if image_format(data) is not None:
        size = open_container(data).size
        if size is not None:
            check_size(size, max_pixels)


def _decode_by_pillow(data: bytes, max_pixels: int) -> NDArray:
    """Return the stored pixels; Pillow scales grey of 2 and 4 bits to 0 ... 255."""
    with Image.open(io.BytesIO(data)) as image:
        if image.format == 'JPEG':
            raise ValueError('JPEG changes labels')
        check_tiles(image, max_pixels)
        depth = 8
        if image.format == 'PNG':
            depth = data[24]  # of the header, which comes first
        elif image.format == 'TIFF':
            depth = min(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
        pixels = np.array(image)
        return pixels // (255 // (2**depth - 1)) if image.mode == 'L' and depth < 8 else pixels


def as_labels(
    labels: NDArray, path: str, dtype: type[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """Convert labels to an unsigned type of 8 or 16 bits.

    Args:
        labels (NDArray): Numbers of any type.
        path (str): The file that they are of, for messages.
        dtype (type): ``np.uint8`` or ``np.uint16``.

    Raises:
        ValueError: If a label would change.
    """
    if labels.dtype in (np.uint8, np.bool_, dtype):
        return labels.astype(dtype)
    with np.errstate(invalid='ignore'):
        small = labels.astype(dtype)
    wrong = labels[small != labels]
    if wrong.size:
        largest = np.iinfo(dtype).max
        more = '' if largest > IGNORED else '; of 16 bits with ignore_index=65535 in the data set'
        raise ValueError(
            f'The mask {path} ({labels.dtype}) has label {wrong.flat[0]}: labels are whole numbers '
            f'from 0 to {largest - 1}, and {largest} for pixels to ignore{more}.'
        )
    return small


def size_sentence(
    mask: str, mask_shape: tuple[int, ...], image: str, image_shape: tuple[int, ...]
) -> str:
    """Return the error message for a mask of another size than its image, with advice."""
    (height, width), (image_height, image_width) = mask_shape[:2], image_shape[:2]
    orientation = exif_orientation(image)
    todo = 'save both at the same size.'
    if orientation in TURNS and (height, width) == (image_width, image_height):
        todo = (
            f'the image is turned by its EXIF orientation {orientation} and the mask is not: save '
            'the image upright without the tag, or turn the mask.'
        )
    return (
        f'The mask {mask} has {width} x {height} pixels, but its image {image} has '
        f'{image_width} x {image_height}: {todo}'
    )


def exif_orientation(path: str | Path) -> int:
    """Read the EXIF orientation of a local file; 1, upright, if it has none or is elsewhere."""
    try:
        with Image.open(path) as image:
            return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the reader of the image reports any fault of it
        return 1


def _relabelling(label_map: Mapping[int, int], dtype: np.dtype) -> NDArray[np.unsignedinteger]:
    """Return the new label of each old one of a type; those that are not named stay."""
    table = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)
    for old, new in label_map.items():
        if old < len(table):
            table[old] = new
    return table


def reading_label_maps(config: ConfigT, **options: int) -> ConfigT:
    """Copy a pipeline or a data set's config with LoadLabelMap instead of LoadAnnotations.

    Args:
        config (ConfigT): A dict, a list or a plain value; those within are searched.
        **options: Further arguments of :class:`LoadLabelMap`.
    """
    if isinstance(config, list | tuple):
        return type(config)(reading_label_maps(one, **options) for one in config)
    if not isinstance(config, dict):
        return config
    has_boxes = any(key.startswith('with_') for key in config)  # MMDetection's of the same name
    if type_name(config) == 'LoadAnnotations' and not has_boxes:
        return type(config)({**config, 'type': 'mmseg.LoadLabelMap', **options})
    return type(config)(
        {key: reading_label_maps(value, **options) for key, value in config.items()}
    )
