"""Statistics over seeds, and the tables that show them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SeedScores = Mapping[int, float]
"""Mapping[int, float]: Score by seed."""


class Estimate(NamedTuple):
    """A mean over seeds with its spread.

    Attributes:
        mean (float): Mean.
        spread (float, optional): Standard deviation of scores, or standard error of a difference;
            None for fewer than two seeds.
        num_seeds (int): Number of seeds.
    """

    mean: float
    spread: float | None
    num_seeds: int

    def text(self, *, digits: int = 2, signed: bool = False) -> str:
        """Return ``mean ± spread``, with a sign for a difference."""
        sign = '+' if signed else ''
        spread = '' if self.spread is None else f' ± {self.spread:.{digits}f}'
        return f'{self.mean:{sign}.{digits}f}{spread}'


def mean_and_deviation(scores: SeedScores) -> Estimate | None:
    """Return the mean and the standard deviation (``n - 1``) over seeds; None without a seed.

    Example:
        >>> mean_and_deviation({0: 1.0, 1: 3.0}).text()
        '2.00 ± 1.41'
    """
    values = list(scores.values())
    if not values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return Estimate(statistics.mean(values), spread, len(values))


def paired_difference(scores: SeedScores, baseline: SeedScores) -> Estimate | None:
    """Return the mean difference over the seeds that both have, and its standard error.

    The standard error is the standard deviation of the differences over the root of their number.

    Args:
        scores (SeedScores): Scores of a variant.
        baseline (SeedScores): Scores of the baseline.

    Returns:
        Estimate | None: None without a common seed.

    Example:
        >>> paired_difference({0: 5.0, 1: 8.0, 2: 9.0}, {0: 4.0, 1: 6.0}).text(signed=True)
        '+1.50 ± 0.50'
    """
    differences = {seed: scores[seed] - baseline[seed] for seed in scores if seed in baseline}
    estimate = mean_and_deviation(differences)
    if estimate is None or estimate.spread is None:
        return estimate
    return estimate._replace(spread=estimate.spread / math.sqrt(estimate.num_seeds))


def seed_table(scores: Mapping[str, SeedScores], *, baseline: str, head: str = 'variant') -> str:
    """Return a Markdown table of one metric: a row per variant, a column per seed.

    Args:
        scores (Mapping[str, SeedScores]): Scores of every variant.
        baseline (str): The variant that the others are compared with.
        head (str): Title of the first column. Defaults to ``'variant'``.

    Example:
        >>> rows = {'hard': {0: 4.0, 1: 6.0}, 'soft': {0: 5.0, 1: 8.0}}
        >>> print(seed_table(rows, baseline='hard'))
        | variant | mean ± deviation | difference to hard ± error | seeds | seed 0 | seed 1 |
        |---|---|---|---|---|---|
        | hard | 5.00 ± 1.41 | - | 2 | 4.00 | 6.00 |
        | soft | 6.50 ± 2.12 | +1.50 ± 0.50 | 2 | 5.00 | 8.00 |
    """
    seeds = sorted({seed for each in scores.values() for seed in each})
    titles = [head, 'mean ± deviation', f'difference to {baseline} ± error', 'seeds']
    rows = []
    for name, each in scores.items():
        mean = mean_and_deviation(each)
        difference = None
        if name != baseline:
            difference = paired_difference(each, scores.get(baseline, {}))
        per_seed = [f'{each[seed]:.2f}' if seed in each else '-' for seed in seeds]
        cells = [_text(mean), _text(difference, signed=True), str(len(each))]
        rows.append([name, *cells, *per_seed])
    return markdown_table([*titles, *(f'seed {seed}' for seed in seeds)], rows)


def mean_table(
    columns: Mapping[str, Mapping[str, SeedScores]], variants: Sequence[str], head: str = 'variant'
) -> str:
    """Return a Markdown table of means and deviations: a row per variant, a column per metric.

    Args:
        columns (Mapping[str, Mapping[str, SeedScores]]): Scores of the variants by metric.
        variants (Sequence[str]): Names of the rows, in order.
        head (str): Title of the first column. Defaults to ``'variant'``.

    Example:
        >>> print(mean_table({'mIoU': {'hard': {0: 4.0, 1: 6.0}}}, ['hard', 'soft']))
        | variant | mIoU |
        |---|---|
        | hard | 5.00 ± 1.41 |
        | soft | - |
    """
    rows = [
        [name, *(_text(mean_and_deviation(scores.get(name, {}))) for scores in columns.values())]
        for name in variants
    ]
    return markdown_table([head, *columns], rows)


def markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table without a line break at its end."""
    lines = [titles, *rows]
    texts = ['| ' + ' | '.join(cells) + ' |' for cells in lines]
    return '\n'.join([texts[0], '|---' * len(titles) + '|', *texts[1:]])


def _text(estimate: Estimate | None, *, signed: bool = False) -> str:
    """Return an estimate as a cell."""
    return '-' if estimate is None else estimate.text(signed=signed)
