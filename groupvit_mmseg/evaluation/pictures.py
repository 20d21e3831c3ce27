"""Pictures of an evaluation: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

MAX_CLASSES = 40


def draw_confusion(matrix: NDArray[np.int64], names: Sequence[str], path: str | Path) -> None:
    """Draws what share of each class's pixels is labelled as which class.

    Args:
        matrix (NDArray): Pixels ``(K, K)``; rows are labels, columns predictions.
        names (Sequence[str]): Names of the classes.
        path (str | Path): The picture; its suffix decides the format. Of more than 40 classes,
            those with the most pixels in masks and predictions are drawn.
    """
    weight = matrix.sum(0) + matrix.sum(1)
    kept = np.sort(np.argsort(-weight, kind='stable')[:MAX_CLASSES])
    kept = kept[weight[kept] > 0]
    shares = matrix[np.ix_(kept, kept)] / np.maximum(matrix[kept].sum(1, keepdims=True), 1)
    side = 2.5 + 0.24 * len(kept)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.add_subplot()
    picture = axes.imshow(100 * shares, cmap='Blues', vmin=0, vmax=100)
    labels = [names[index] for index in kept]
    axes.set_xticks(range(len(kept)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(kept)), labels, fontsize=7)
    axes.set_xlabel('labelled as')
    axes.set_ylabel('is')
    figure.colorbar(picture, ax=axes, shrink=0.7, label='% of the pixels of a class')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
