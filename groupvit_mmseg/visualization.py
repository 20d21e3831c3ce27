"""Figures: groups and labels drawn over an image, and panels of images and figures.

Images and figures are RGB arrays ``(H, W, 3)`` uint8, maps are integer arrays ``(H, W)``. Enlarge
small images before drawing (:func:`enlarge`), or names have no room.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.palettes import RGBArray, class_palette, palette

IndexMap = NDArray[np.integer]
IGNORED, IGNORED_OF_16_BITS = 255, 65535
_INK, _PAPER = (33, 33, 33), (255, 255, 255)
_GAP = 6


def enlarge(array: NDArray, min_side: int) -> NDArray:
    """Repeat pixels a whole number of times until the shorter side has ``min_side`` of them.

    Args:
        array (NDArray): Image ``(H, W, 3)`` or map ``(H, W)``.
        min_side (int): Pixels the shorter side has at least.

    Returns:
        NDArray: The array, its sides multiplied by one factor; unchanged if it is large enough.

    Example:
        >>> enlarge(np.array([[1, 2]]), min_side=2).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    factor = -(-min_side // min(array.shape[:2]))
    return array if factor <= 1 else array.repeat(factor, 0).repeat(factor, 1)


def percent(share: float, decimals: int = 0) -> str:
    """Write a share in percent; one that occurs is never 0.

    Args:
        share (float): In [0, 1].
        decimals (int): Defaults to 0.

    Example:
        >>> percent(0.127), percent(0.002), percent(0.0)
        ('13%', '<1%', '0%')
        >>> percent(0.127, 1), percent(0.0002, 1)
        ('12.7%', '<0.1%')
    """
    smallest = 10 ** -(decimals + 2)
    is_small = 0 < share < smallest
    return f'<{smallest:.{decimals}%}' if is_small else f'{share:.{decimals}%}'


def draw_groups(image: RGBArray, group_map: IndexMap, *, opacity: float = 0.65) -> RGBArray:
    """Paint each segment in its colour and outline it.

    Args:
        image (NDArray): RGB ``(H, W, 3)``.
        group_map (NDArray): Segment of every pixel ``(H, W)``.
        opacity (float): Weight of the colour over the image, in [0, 1]. Defaults to 0.65.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8.

    Example:
        >>> image, group_map = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), int)
        >>> draw_groups(image, group_map, opacity=1.0)[0, 0].tolist()
        [230, 25, 75]
    """
    _check_sizes(image, group_map)
    colours = palette(int(group_map.max()) + 1)
    painted = _blend(image, group_map, colours, np.full(len(colours), opacity))
    painted[_outlines(group_map)] = _PAPER
    return painted


def draw_labels(
    image: RGBArray,
    label_map: IndexMap,
    class_names: Sequence[str],
    *,
    opacity: float = 0.6,
    with_names: bool = True,
    colours: RGBArray | None = None,
) -> RGBArray:
    """Paint each class over the image and write its name on its largest region.

    Classes whose colour is black are left unpainted, such as a first class called "background", as
    are ignored pixels (255 or 65535); names that do not fit their region are left out (``legend``
    lists them all).

    Args:
        image (NDArray): RGB ``(H, W, 3)``.
        label_map (NDArray): Class of every pixel ``(H, W)``.
        class_names (Sequence[str]): Names of the classes, by index.
        opacity (float): Weight of the colour over the image, in [0, 1]. Defaults to 0.6.
        with_names (bool): Whether to write the names. Defaults to True.
        colours (NDArray, optional): RGB ``(K, 3)`` uint8, by class; None takes
            :func:`.class_palette`. Defaults to None.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8.

    Example:
        >>> image, label_map = np.zeros((64, 64, 3), np.uint8), np.ones((64, 64), int)
        >>> draw_labels(image, label_map, ['background', 'cat'], opacity=1.0)[0, 0].tolist()
        [230, 25, 75]
    """
    _check_sizes(image, label_map)
    is_class = np.asarray(label_map < len(class_names))
    if not (is_class | np.isin(label_map, (IGNORED, IGNORED_OF_16_BITS))).all():
        raise ValueError(
            f'The label map has class {int(label_map.max())}, but only {len(class_names)} classes '
            'have a name: give all names.'
        )
    colours = class_palette(class_names) if colours is None else colours
    colours = np.concatenate([colours, np.zeros((1, 3), np.uint8)])  # the last of ignored pixels
    weights = np.where(colours.any(axis=-1), opacity, 0.0)
    painted = _blend(image, np.where(is_class, label_map, len(class_names)), colours, weights)
    painted[_outlines(label_map)] = _PAPER
    return _write_names(painted, label_map, class_names) if with_names else painted


def legend(
    label_map: IndexMap,
    class_names: Sequence[str],
    *,
    width: int,
    colours: RGBArray | None = None,
) -> RGBArray:
    """Draw a strip of swatches, names and shares of the classes that occur.

    Args:
        label_map (NDArray): Class of every pixel ``(H, W)``.
        class_names (Sequence[str]): Names of the classes, by index.
        width (int): Width of the strip in pixels; entries wrap.
        colours (NDArray, optional): As :func:`draw_labels` takes them. Defaults to None.

    Returns:
        NDArray: RGB ``(h, width, 3)`` uint8.
    """
    font, line = _font(13), 20
    counts = np.bincount(label_map[label_map < len(class_names)])
    present = np.flatnonzero(counts)
    order = np.argsort(-counts[present], kind='stable')
    entries, x, y = [], _GAP, _GAP // 2
    for index in present[order]:
        share = counts[index] / label_map.size
        text = f'{class_names[index]} {percent(share)}'
        step = int(font.getlength(text)) + 34
        if x > _GAP and x + step > width:
            x, y = _GAP, y + line
        entries.append((x, y, int(index), text))
        x += step
    strip = Image.new('RGB', (width, y + line + _GAP // 2), _PAPER)
    draw = ImageDraw.Draw(strip)
    colours = class_palette(class_names) if colours is None else colours
    for x, y, index, text in entries:
        draw.rectangle((x, y + 3, x + 13, y + 16), tuple(colours[index].tolist()), _INK)
        draw.text((x + 18, y + 10), text, _INK, font, anchor='lm')
    return np.asarray(strip)


def panel(
    rows: Sequence[Sequence[RGBArray]], titles: Sequence[str], *, footer: str = ''
) -> RGBArray:
    """Put images and figures side by side in rows under column titles.

    Args:
        rows (Sequence[Sequence[NDArray]]): RGB arrays, as many per row as there are titles; a
            column is as wide as its widest array, a row as high as its highest.
        titles (Sequence[str]): One title per column.
        footer (str): A line below everything, '' for none. Defaults to ''.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8.

    Raises:
        ValueError: If there is no row, or a row has not as many arrays as there are titles.

    Example:
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> panel([[image, image]], ['image', 'labels']).shape
        (70, 138, 3)
    """
    if not rows or any(len(row) != len(titles) for row in rows):
        raise ValueError(f'A panel needs rows of {len(titles)} images, one under each title.')
    widths = [max(row[i].shape[1] for row in rows) for i in range(len(titles))]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    size = max(12, min(22, min(widths) // 10))
    head, foot = size + 2 * _GAP, (size + 2 * _GAP if footer else _GAP)
    lefts = np.cumsum([_GAP] + [width + _GAP for width in widths]).tolist()
    tops = np.cumsum([head] + [height + _GAP for height in heights]).tolist()
    sheet = Image.new('RGB', (lefts[-1], tops[-1] - _GAP + foot), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for title, left, width in zip(titles, lefts, widths):
        draw.text((left + width / 2, head / 2), title, _INK, _font(size, title, width), 'mm')
    for row, top in zip(rows, tops):
        for cell, left in zip(row, lefts):
            sheet.paste(Image.fromarray(cell), (left, top))
    bottom = (_GAP, tops[-1] - _GAP + foot / 2)
    draw.text(bottom, footer, _INK, _font(size, footer, lefts[-1] - 2 * _GAP), 'lm')
    return np.asarray(sheet)


def save_figure(figure: RGBArray, path: str | Path) -> None:
    """Write a figure to a file atomically.

    Args:
        figure (NDArray): RGB ``(H, W, 3)`` uint8.
        path (str | Path): The file; its folder is made, its suffix decides the format.
    """
    kind = Image.registered_extensions()[Path(path).suffix.lower()]
    write_atomically(path, lambda stream: Image.fromarray(figure).save(stream, format=kind))


def _check_sizes(image: RGBArray, index_map: IndexMap) -> None:
    """Refuse a map of another size than its image."""
    if image.shape[:2] != index_map.shape:
        raise ValueError(
            f'The image is {image.shape[:2]} pixels and its map {index_map.shape}: resize one.'
        )


def _blend(image: RGBArray, index_map: IndexMap, colours: RGBArray, weights: NDArray) -> RGBArray:
    """Mix each pixel with the colour of its index, by the weight of that index."""
    values = np.arange(256)[:, None] * (1 - weights)[:, None, None]  # (K, 256, 1)
    table = (values + colours[:, None] * weights[:, None, None]).round().astype(np.uint8)
    row = index_map.astype(np.int32) * 256
    return np.stack([table[..., c].take(row + image[..., c]) for c in range(3)], axis=-1)


def _outlines(index_map: IndexMap) -> NDArray[np.bool_]:
    """Return the pixels whose right or lower neighbour differs."""
    edges = np.zeros(index_map.shape, bool)
    edges[:, :-1] |= index_map[:, :-1] != index_map[:, 1:]
    edges[:-1] |= index_map[:-1] != index_map[1:]
    return edges


def _write_names(figure: RGBArray, label_map: IndexMap, class_names: Sequence[str]) -> RGBArray:
    """Write each class's name at the innermost pixel of its largest region, if it has room."""
    sheet = Image.fromarray(figure)
    draw = ImageDraw.Draw(sheet)
    font = _font(max(11, min(20, min(label_map.shape) // 16)))
    counts = np.bincount(label_map[label_map < len(class_names)])
    for index in np.flatnonzero(counts).tolist():
        name = class_names[index]
        x, y, radius = _innermost(label_map == index)
        if name == 'background' or radius < font.size / 2:
            continue
        half = font.getlength(name) / 2 + 3
        x = min(max(x, half), max(half, label_map.shape[1] - half))
        box = (x - half, y - font.size * 0.7, x + half, y + font.size * 0.7)
        draw.rounded_rectangle(box, radius=3, fill=_INK)
        draw.text((x, y), name, _PAPER, font, 'mm')
    return np.asarray(sheet)


def _innermost(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the pixel farthest from the edge of a mask, x and y, and its distance."""
    pixels = mask.astype(np.uint8)
    left, top, width, height = cv2.boundingRect(pixels)
    padded = np.pad(pixels[top : top + height, left : left + width], 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(left + x), float(top + y), float(distance[y, x])


@lru_cache(maxsize=32)
def _font(size: int, text: str = '', width: float = 0) -> ImageFont.FreeTypeFont:
    """Return Matplotlib's DejaVu Sans, smaller if a text would be wider than ``width``."""
    import matplotlib  # for its font alone: the import takes time

    path = str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'))
    font = ImageFont.truetype(path, size)
    if width and size > 7 and font.getlength(text) > width:
        return _font(size - 1, text, width)
    return font
