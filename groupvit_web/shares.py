"""The table of shares: how much of a picture each class covers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.request import Colour


class Share(NamedTuple):
    """A row of the table of shares.

    Attributes:
        name (str): Class, ``'background'`` included.
        share (float): Share of the pixels, in [0, 1].
        confidence (float, optional): Mean confidence of its pixels, in [0, 1]; None without pixels.
        colour (Colour, optional): Its colour; None for the background, which is not painted.
        words (tuple[str, ...]): The words that stand for it.
    """

    name: str
    share: float
    confidence: float | None
    colour: Colour | None
    words: tuple[str, ...]


def table_of_shares(
    result: InferenceResult,
    classes: ClassList,
    colours: NDArray[np.uint8],
    confidence: NDArray[np.float32],
) -> tuple[Share, ...]:
    """Return a row for each class, the largest share first.

    Args:
        result (InferenceResult): The segmentation.
        classes (ClassList): Its ``K`` classes.
        colours (NDArray): RGB ``(K, 3)``.
        confidence (NDArray): Of each pixel.
    """
    labels = result.label_map.ravel()
    counts = np.bincount(labels, minlength=len(classes.class_names))
    sums = np.bincount(labels, confidence.ravel(), minlength=len(counts))
    words: dict[int, list[str]] = {label: [] for label in range(len(counts))}
    for word, label in zip(classes.words, classes.word_classes, strict=True):
        words[label].append(word)
    return tuple(
        Share(
            classes.class_names[label],
            float(counts[label] / labels.size),
            float(sums[label] / counts[label]) if counts[label] else None,
            _colour(colours[label]) if label or not classes.with_background else None,
            tuple(words[label]),
        )
        for label in np.argsort(-counts, kind='stable').tolist()
    )


def _colour(values: NDArray[np.uint8]) -> Colour:
    """Return red, green and blue as numbers."""
    red, green, blue = values.tolist()
    return red, green, blue
