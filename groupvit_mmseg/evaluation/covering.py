"""Agreement of a segmentation without class names and those that people drew.

Covering, probabilistic Rand index and variation of information, as the Berkeley benchmark (Arbeláez
et al., TPAMI 2011) has them: over several annotators of each image. Letters: ``H, W`` pixels, ``R``
regions of the prediction, ``S`` of an annotator, ``A`` annotators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

Regions = NDArray[np.int64]
MAT_ERRORS = (KeyError, TypeError, IndexError, MatReadError, ValueError, NotImplementedError)


class CoveringScores(NamedTuple):
    """Agreement with all annotators of an image, or the mean over images.

    Attributes:
        covering (float): Mean over the pixels of the IoU of their region with the best region of
            the prediction, in percent; the mean over annotators.
        rand_index (float): Share of the pairs of pixels that prediction and annotator both join or
            both separate, in percent; the mean over annotators.
        variation (float): Variation of information in bits, lower is better; the mean over
            annotators.
    """

    covering: float
    rand_index: float
    variation: float


def covering_scores(regions: Regions, annotations: Sequence[Regions]) -> CoveringScores:
    """Compare a segmentation with those of several annotators.

    Args:
        regions (NDArray): Region of each pixel ``(H, W)``, any integers.
        annotations (Sequence[NDArray]): Regions by annotator, ``(H, W)`` each.

    Raises:
        ValueError: If there is no annotator, or sizes differ.

    Example:
        >>> halves = np.array([[0, 0, 1, 1]])
        >>> covering_scores(halves, [halves])
        CoveringScores(covering=100.0, rand_index=100.0, variation=0.0)
        >>> covering_scores(halves, [np.zeros((1, 4), int)]).covering
        50.0
    """
    if not annotations:
        raise ValueError('There is no annotation to compare with.')
    for each in annotations:
        if each.shape != regions.shape:
            raise ValueError(
                f'The regions have the size {regions.shape}, an annotation {each.shape}: resize '
                'the regions to the image.'
            )
    scores = [_compare(_contingency(regions, each)) for each in annotations]
    return mean_scores(scores)


def mean_scores(scores: Sequence[CoveringScores]) -> CoveringScores:
    """Average over images or annotators.

    Raises:
        ValueError: If there are none.
    """
    if not scores:
        raise ValueError('There is no image to average over.')
    return CoveringScores(*(float(value) for value in np.mean(scores, axis=0)))


def _contingency(regions: Regions, annotation: Regions) -> NDArray[np.float64]:
    """Count the pixels of each pair of regions, ``(R, S)``."""
    _, rows = np.unique(regions, return_inverse=True)
    _, columns = np.unique(annotation, return_inverse=True)
    width = int(columns.max()) + 1
    pairs = rows.reshape(-1) * width + columns.reshape(-1)
    counts = np.bincount(pairs, minlength=(int(rows.max()) + 1) * width).reshape(-1, width)
    return counts.astype(np.float64)


def _compare(counts: NDArray[np.float64]) -> CoveringScores:
    """Return the scores of one pair of segmentations from its contingency table ``(R, S)``."""
    total, rows, columns = counts.sum(), counts.sum(1), counts.sum(0)
    overlap = counts / (rows[:, None] + columns[None] - counts)
    covering = (overlap.max(0) * columns).sum() / total
    pairs = total * (total - 1) / 2
    together, mine, theirs = (
        float((each * (each - 1) / 2).sum()) for each in (counts, rows, columns)
    )
    agreement = pairs + 2 * together - mine - theirs
    rand = agreement / pairs if pairs else 1.0
    joint, first, second = (_entropy(each / total) for each in (counts, rows, columns))
    return CoveringScores(100 * covering, 100 * rand, abs(2 * joint - first - second))


def _entropy(shares: NDArray[np.float64]) -> float:
    """Return the entropy of a distribution in bits."""
    positive = shares[shares > 0]
    return float(-(positive * np.log2(positive)).sum())


def read_annotations(path: str | Path) -> list[Regions]:
    """Read the regions of all annotators from a file of BSDS500 (``groundTruth`` in a ``.mat``).

    Args:
        path (str | Path): The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has another layout.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no annotation at {path}.')
    try:
        content = loadmat(path)
        cells = content['groundTruth'].reshape(-1)
        maps = [cell['Segmentation'].reshape(-1)[0] for cell in cells]
        return [np.asarray(each, dtype=np.int64) for each in maps]
    except (
        KeyError,
        TypeError,
        IndexError,
        MatReadError,
        ValueError,
        NotImplementedError,
    ) as error:
        raise ValueError(
            f'{path} is no file of BSDS500: it needs groundTruth, a cell for each annotator with '
            f'a Segmentation ({error}).'
        ) from error
