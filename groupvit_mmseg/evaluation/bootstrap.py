"""Uncertainty of mIoU over the images of a set: confidence intervals and a paired test.

Images are what is drawn anew, because pixels of one image are not independent. Letters: ``N``
images, ``K`` classes, ``R`` resamples.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.evaluation.confusion import Pairs

RESAMPLES = 2000
"""int: Resamples by default: the ends of a 95 % interval vary by about a tenth of its width."""
AT_A_TIME = 200

Array = NDArray[np.float64]


class ImageAreas(NamedTuple):
    """Areas of each class in each image.

    Attributes:
        intersect (NDArray): Pixels in prediction and mask, ``(N, K)``.
        union (NDArray): Pixels in either, ``(N, K)``.
    """

    intersect: Array
    union: Array


class Interval(NamedTuple):
    """Confidence interval, in percent."""

    low: float
    high: float


class Comparison(NamedTuple):
    """Second result compared with the first on the same images.

    Attributes:
        difference (float): mIoU of the second minus that of the first, in percent.
        interval (Interval): Of the difference.
        p_value (float): Share of the random exchanges of the two results, image by image, that
            differ by as much or more; small if the difference is not by chance.
    """

    difference: float
    interval: Interval
    p_value: float


def image_areas(images: Sequence[Pairs], num_classes: int) -> ImageAreas:
    """Return the areas of each class in each image.

    Args:
        images (Sequence[Pairs]): Of :func:`.count_pairs`, by image.
        num_classes (int): Number of classes ``K``.

    Example:
        >>> areas = image_areas([[[0, 0, 3], [1, 0, 1], [1, 1, 2]]], num_classes=2)
        >>> areas.intersect.tolist(), areas.union.tolist()
        ([[3.0, 2.0]], [[4.0, 3.0]])
    """
    intersect = np.zeros((len(images), num_classes))
    union = np.zeros((len(images), num_classes))
    for index, pairs in enumerate(images):
        for label, predicted, count in pairs:
            union[index, label] += count
            if label == predicted:
                intersect[index, label] += count
            else:
                union[index, predicted] += count
    return ImageAreas(intersect, union)


def miou_of(intersect: Array, union: Array) -> Array:
    """Average the IoU over the classes that occur, in percent; ``(R, K)`` to ``(R,)``."""
    with np.errstate(invalid='ignore'), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of rows without any class
        return 100 * np.nanmean(intersect / union, axis=-1)


def bootstrap_interval(
    areas: ImageAreas, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the percentile interval of mIoU over images drawn with replacement.

    Args:
        areas (ImageAreas): Of at least one image.
        level (float): Confidence in (0, 1). Defaults to 0.95.
        resamples (int): Draws. Defaults to ``RESAMPLES``.
        seed (int): Seed of the draws. Defaults to 0.

    Example:
        >>> areas = image_areas([[[0, 0, 9], [1, 0, 1]], [[1, 1, 5], [1, 0, 5]]], num_classes=2)
        >>> interval = bootstrap_interval(areas)
        >>> interval.low < 52.3 < interval.high
        True
    """
    weights = _draws(len(areas.union), resamples, seed)
    values = np.concatenate([miou_of(w @ areas.intersect, w @ areas.union) for w in weights])
    return _percentiles(values, level)


def compare_paired(
    first: ImageAreas,
    second: ImageAreas,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare two results on the same images.

    Args:
        first (ImageAreas): Of ``N`` images.
        second (ImageAreas): Of the same images in the same order.
        level (float): Confidence of the interval, in (0, 1). Defaults to 0.95.
        resamples (int): Draws, and random exchanges. Defaults to ``RESAMPLES``.
        seed (int): Seed of both. Defaults to 0.

    Raises:
        ValueError: If the two are not of as many images and classes.

    Example:
        >>> good = image_areas([[[0, 0, 9], [1, 1, 9]]] * 20, num_classes=2)
        >>> bad = image_areas([[[0, 0, 9], [1, 0, 9]]] * 20, num_classes=2)
        >>> result = compare_paired(bad, good)
        >>> result.difference, result.interval, result.p_value < 0.001
        (75.0, Interval(low=75.0, high=75.0), True)
    """
    if first.union.shape != second.union.shape:
        raise ValueError(
            f'The results are of {first.union.shape} and {second.union.shape} images and classes: '
            'compare results of the same images.'
        )
    difference = _difference(np.ones((1, len(first.union))), first, second)[0]
    draws = _draws(len(first.union), resamples, seed)
    values = np.concatenate([_difference(weights, first, second) for weights in draws])
    extreme, generator = 0, np.random.default_rng(seed)
    for start in range(0, resamples, AT_A_TIME):
        shape = (min(AT_A_TIME, resamples - start), len(first.union))
        kept = generator.integers(0, 2, shape).astype(float)
        exchanged = [
            miou_of(
                kept @ one.intersect + (1 - kept) @ other.intersect,
                kept @ one.union + (1 - kept) @ other.union,
            )
            for one, other in ((first, second), (second, first))
        ]
        extreme += int((np.abs(exchanged[1] - exchanged[0]) >= abs(difference) - 1e-9).sum())
    p_value = (extreme + 1) / (resamples + 1)
    return Comparison(float(difference), _percentiles(values, level), p_value)


def _difference(weights: Array, first: ImageAreas, second: ImageAreas) -> Array:
    """Return the difference of mIoU for weights ``(R, N)`` of the images, ``(R,)``."""
    scores = [miou_of(weights @ each.intersect, weights @ each.union) for each in (first, second)]
    return scores[1] - scores[0]


def _draws(count: int, resamples: int, seed: int) -> list[Array]:
    """Return how often each of ``N`` images is drawn, ``(R, N)`` in parts."""
    generator = np.random.default_rng(seed)
    sizes = [min(AT_A_TIME, resamples - start) for start in range(0, resamples, AT_A_TIME)]
    shares = np.full(count, 1 / count)
    return [generator.multinomial(count, shares, size).astype(float) for size in sizes]


def _percentiles(values: Array, level: float) -> Interval:
    """Return the interval that holds the middle ``level`` of values; nan has no class at all."""
    low, high = np.nanpercentile(values, [50 * (1 - level), 50 * (1 + level)])
    return Interval(float(low), float(high))
