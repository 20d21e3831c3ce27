"""Turns a segmentation into Label Studio's results: brush masks as run lengths, or polygons.

Label Studio packs the red, green, blue and opacity of every pixel, row by row, into one string of
bits: 32 bits with the number of values, 5 with the bits of a value, 4 for each of the four sizes
that the length of a run may have, all but the first minus one; then, for each run, a one, two bits
that choose the size, the length minus one and the value. A mask has the same value four times per
pixel, 255 inside and 0 outside, so that every run is a multiple of four.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from labelling_config import Labelling
from numpy.typing import NDArray

from groupvit_mmseg.results import InferenceResult, polygons

CHANNELS, VALUE_BITS = 4, 8
LENGTH_BITS = (3, 4, 8, 16)
"""tuple[int, ...]: Sizes of the length of a run, in bits."""


class Outlining(NamedTuple):
    """How polygons are drawn.

    Attributes:
        min_area (int): Pixels that a mask or an outline must have. Defaults to 25.
        tolerance (float): Distance in pixels by which an outline may leave the mask, so that it has
            fewer points. Defaults to 1.0.
    """

    min_area: int = 25
    tolerance: float = 1.0


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Return a mask as the bytes of Label Studio's run-length encoding.

    Args:
        mask (NDArray): bool ``(H, W)``, of one pixel at least.

    Example:
        >>> encode_brush(np.array([[False, True]]))
        [0, 0, 0, 8, 57, 27, 252, 96, 6, 63, 192]
    """
    pixels = mask.ravel()
    starts = np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]])
    lengths = np.diff(np.r_[starts, pixels.size]) * CHANNELS
    bits = [f'{pixels.size * CHANNELS:032b}{VALUE_BITS - 1:05b}']
    bits += [f'{size - 1:04b}' for size in LENGTH_BITS]
    for start, length in zip(starts, lengths.tolist(), strict=True):
        bits.append(run_bits(length, f'{255 * int(pixels[start]):08b}'))
    text = ''.join(bits)
    text += '0' * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, 'big'))


def run_bits(length: int, value: str) -> str:
    """Return the bits of a run, which is divided where the largest size is too small for it."""
    largest = 1 << LENGTH_BITS[-1]
    full, rest = divmod(length, largest)
    parts = f'111{largest - 1:016b}{value}' * full
    if rest:
        index = next(i for i, size in enumerate(LENGTH_BITS) if rest <= 1 << size)
        parts += f'1{index:02b}{rest - 1:0{LENGTH_BITS[index]}b}{value}'
    return parts


def to_label_studio(
    result: InferenceResult,
    labelling: Labelling,
    outlining: Outlining = Outlining(),  # noqa: B008
) -> dict:
    """Return the prediction of a task.

    Args:
        result (InferenceResult): The segmentation of its image.
        labelling (Labelling): Where the masks go.
        outlining (Outlining): How polygons are drawn. Defaults to ``Outlining()``.

    Returns:
        dict: ``result``, a list with a mask for each label that occurs, or a polygon for each of
        its outlines, and ``score``, the mean confidence of all pixels in [0, 1].
    """
    confidence = result.confidence
    entries: list[dict] = []
    for label, mask in class_masks(result, outlining.min_area):
        for value in values_of(mask, labelling, label, outlining):
            entries.append(
                dict(
                    id=f'groupvit{len(entries)}',
                    from_name=labelling.control,
                    to_name=labelling.image,
                    type=f'{labelling.form}labels',
                    original_width=mask.shape[1],
                    original_height=mask.shape[0],
                    image_rotation=0,
                    value=value,
                    score=round(float(confidence[mask].mean()), 5),
                )
            )
    return dict(result=entries, score=round(float(confidence.mean()), 5))


def class_masks(result: InferenceResult, min_area: int) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yield number and mask ``(H, W)`` of every class but the background that occurs."""
    first = int(result.with_background)
    for label in range(first, len(result.class_names)):
        mask = result.label_map == label
        if mask.sum() >= max(min_area, 1):
            yield label - first, mask


def values_of(
    mask: NDArray[np.bool_], labelling: Labelling, label: int, outlining: Outlining
) -> Iterator[dict]:
    """Yield the ``value`` of each result of a mask: one brush mask, or its polygons."""
    labels = [labelling.labels[label]]
    if labelling.form == 'brush':
        yield dict(format='rle', rle=encode_brush(mask), brushlabels=labels)
        return
    for outline in polygons(mask):
        points = simplify(outline, outlining)
        if len(points):
            percent = points * 100.0 / [mask.shape[1], mask.shape[0]]
            yield dict(points=percent.tolist(), closed=True, polygonlabels=labels)


def simplify(outline: list[float], outlining: Outlining) -> NDArray[np.floating]:
    """Return the points ``(n, 2)`` of an outline with fewer of them; none of one too small."""
    points = np.asarray(outline, np.float32).reshape(-1, 2)
    if cv2.contourArea(points) < outlining.min_area:
        return points[:0]
    fewer = np.asarray(cv2.approxPolyDP(points, outlining.tolerance, True)[:, 0], np.float32)
    return fewer if len(fewer) >= 3 else points
