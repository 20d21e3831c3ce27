"""Figures of a gallery: everything a model says about one image, on one sheet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from groupvit_mmseg.inference.encoded_image import EncodedImage
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.visualization import (
    IndexMap,
    RGBArray,
    draw_groups,
    draw_labels,
    enlarge,
    legend,
    panel,
)

SIDE = 320
"""int: Pixels of the shorter side of an image on a sheet."""
COLUMNS = 2
WHITE = 255


class Cell(NamedTuple):
    """A figure with its title."""

    title: str
    figure: RGBArray


def example_sheet(
    encoded: EncodedImage, result: InferenceResult, truth: IndexMap | None = None
) -> RGBArray:
    """Draw an image, its groups by stage, words, a score, confidence, and the truth if it is known.

    Args:
        encoded (EncodedImage): The image after the backbone.
        result (InferenceResult): Its segmentation.
        truth (NDArray, optional): Class of every pixel ``(H, W)``, 255 where it is unknown.
            Defaults to None.

    Returns:
        NDArray: RGB ``(h, w, 3)`` uint8, two figures wide; an image has at least 320 pixels on its
        shorter side.
    """
    image, names = _fit(result.image), result.class_names
    cells = [Cell('image', image)]
    if truth is not None:
        cells.append(Cell('ground truth', _labelled(image, _fit(truth), names)))
    stages = range(1, encoded.num_stages + 1)
    cells += [
        Cell(_stage(stage, encoded), draw_groups(image, _fit(encoded.group_map(stage))))
        for stage in stages
    ]
    cells.append(Cell('words', _labelled(image, _fit(result.label_map), names)))
    for index in _words_to_show(result)[: 1 + len(cells) % COLUMNS]:
        cells.append(Cell(f'score of "{names[index]}"', draw_heat(image, result.scores[index])))
    cells.append(Cell('confidence', draw_heat(image, result.confidence)))
    return _grid(cells)


def _stage(stage: int, encoded: EncodedImage) -> str:
    """Return the title of the groups of a stage."""
    count = int(encoded.whole.soft_assignments[stage - 1].shape[1])
    return f'groups of stage {stage} (at most {count})'


def _words_to_show(result: InferenceResult) -> list[int]:
    """Return classes by their share, the second first: the largest is often the ground."""
    names = [name for name in result.shares if name != 'background'] or list(result.class_names)
    names = [*names[1:2], *names[:1], *names[2:]]
    return [result.class_names.index(name) for name in names]


def _labelled(image: RGBArray, labels: IndexMap, names: Sequence[str]) -> RGBArray:
    """Draw labels over an image, with a strip of names and shares below."""
    figure = draw_labels(image, labels, names, opacity=0.75)
    return np.concatenate([figure, legend(labels, names, width=image.shape[1])])


def draw_heat(image: RGBArray, values: NDArray[np.floating]) -> RGBArray:
    """Draw values over a grey image, dark for 0 and bright for the largest, with a scale below.

    Args:
        image (NDArray): RGB ``(h, w, 3)`` uint8.
        values (NDArray): At least 0, of any size ``(H, W)``; resized to the image.

    Returns:
        NDArray: RGB, as wide as the image.
    """
    height, width = image.shape[:2]
    largest = float(values.max())
    scaled = (values / largest if largest > 0 else values).astype(np.float32)
    resized = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    heat = 0.25 * grey + 0.75 * _colours(resized)
    ramp = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (12, width))
    strip = panel([[_colours(ramp)]], ('',), footer=f'0 (left) to {largest:.2g} (right)')
    return np.concatenate([heat.round().astype(np.uint8), _strip(strip, width)])


def _colours(values: NDArray) -> RGBArray:
    """Return the colours of values in [0, 1]: dark blue to yellow, also told apart in grey."""
    bytes_ = (values * 255).round().clip(0, 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(bytes_, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)


def _strip(figure: RGBArray, width: int) -> RGBArray:
    """Cut the margins off a panel of one strip, to a width."""
    left = (figure.shape[1] - width) // 2
    return figure[18:, left : left + width]


def _fit(array: NDArray) -> NDArray:
    """Resize an image or a map of labels, so that its shorter side has 320 pixels.

    Small ones are enlarged by a whole factor, so that their pixels stay squares.
    """
    if min(array.shape[:2]) < SIDE:
        return enlarge(array, SIDE)
    factor = SIDE / min(array.shape[:2])
    size = tuple(max(1, round(side * factor)) for side in array.shape[1::-1])
    if array.ndim == 3:
        return cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    resized = cv2.resize(array.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return resized.astype(array.dtype)


def _grid(cells: Sequence[Cell]) -> RGBArray:
    """Put figures with titles into rows of two."""
    titled = [panel([[cell.figure]], (cell.title,)) for cell in cells]
    width = max(figure.shape[1] for figure in titled)
    rows = []
    for start in range(0, len(titled), COLUMNS):
        row = titled[start : start + COLUMNS]
        height = max(figure.shape[0] for figure in row)
        padded = [_pad(figure, height, width) for figure in row]
        blanks = [np.full((height, width, 3), WHITE, np.uint8)] * (COLUMNS - len(row))
        rows.append(np.concatenate([*padded, *blanks], axis=1))
    return np.concatenate(rows)


def _pad(figure: RGBArray, height: int, width: int) -> RGBArray:
    """Fill a figure up with white below and on the right."""
    missing = (0, height - figure.shape[0]), (0, width - figure.shape[1]), (0, 0)
    return np.pad(figure, missing, constant_values=WHITE)


def encode_figure(figure: RGBArray, quality: int = 85) -> tuple[bytes, str]:
    """Encode a figure as JPEG or as PNG, whichever is smaller.

    Args:
        figure (NDArray): RGB ``(H, W, 3)`` uint8.
        quality (int): Of JPEG, 1 to 95. Defaults to 85.

    Returns:
        tuple[bytes, str]: Content of a file, and its suffix.

    Example:
        >>> encode_figure(np.zeros((64, 64, 3), np.uint8))[1]
        '.png'
    """
    files = []
    for suffix, kind, options in (
        ('.jpg', 'JPEG', dict(quality=quality)),
        ('.png', 'PNG', dict(optimize=True)),
    ):
        stream = io.BytesIO()
        Image.fromarray(figure).save(stream, kind, **options)
        files.append((stream.getvalue(), suffix))
    return min(files, key=lambda file: len(file[0]))
