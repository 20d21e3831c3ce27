"""Published scores of GroupViT and of other methods, by method and set, from ``published.csv``.

They are their authors' numbers, each under a protocol of its own; none was measured here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple


class PublishedScores(NamedTuple):
    """Scores of one method.

    Attributes:
        method (str): Name in tables.
        protocol (str): Protocol of the numbers: a key of ``PRESETS``, or ``its own``.
        source (str): Publication that states them.
        note (str): What else they were made with; empty for nothing.
        scores (Mapping[str, float]): mIoU (ImageNet: top-1) in percent by the name of the set.
    """

    method: str
    protocol: str
    source: str
    note: str
    scores: Mapping[str, float]


def _read() -> tuple[PublishedScores, ...]:
    """Read the data file."""
    text = files(__package__).joinpath('published.csv').read_text(encoding='utf-8')
    rows = csv.DictReader(text.splitlines())
    origin = ('method', 'protocol', 'source', 'note')
    return tuple(
        PublishedScores(
            row['method'],
            row['protocol'],
            row['source'],
            row['note'],
            MappingProxyType(
                {key: float(value) for key, value in row.items() if key not in origin and value}
            ),
        )
        for row in rows
    )


PUBLISHED = _read()
"""tuple[PublishedScores, ...]: The methods in the order of the data file: GroupViT first."""
PUBLISHED_BY = tuple(each.method for each in PUBLISHED)
"""tuple[str, ...]: Their names, the columns of tables."""


def scores_of(set_name: str) -> tuple[float | None, ...]:
    """Return the published scores of a set, in the order of ``PUBLISHED_BY``.

    Example:
        >>> scores_of('voc21')[PUBLISHED_BY.index('TCL + PAMR')]
        55.0
    """
    return tuple(each.scores.get(set_name) for each in PUBLISHED)
