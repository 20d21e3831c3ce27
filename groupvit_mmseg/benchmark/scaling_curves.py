"""How time and memory grow with a size: fitted exponents, a table and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from groupvit_mmseg.atomic_files import write_atomically


class Point(NamedTuple):
    """What one size takes.

    Attributes:
        value (int): The size.
        seconds (float): Time of one call.
        mib (float): Memory beyond that of the model, in MiB.
        limit (float): Seconds that the operations alone would take at the speed of a product of
            large matrices.
    """

    value: int
    seconds: float
    mib: float
    limit: float


class Curve(NamedTuple):
    """Points of one size, all else alike.

    Attributes:
        title (str): What is done.
        size (str): What grows.
        points (tuple[Point, ...]): By value, smallest first.
    """

    title: str
    size: str
    points: tuple[Point, ...]


def exponent(values: Sequence[float], results: Sequence[float]) -> float | None:
    """Fit the exponent with which results grow, over the upper half of the values.

    Args:
        values (Sequence[float]): Sizes above 0, ascending.
        results (Sequence[float]): A result of each.

    Returns:
        float, optional: Slope of a line through the logarithms; None below two positive results.

    Example:
        >>> round(exponent([1, 2, 4, 8], [9.0, 8.0, 16.0, 32.0]), 2)
        1.0
    """
    half = len(values) // 2 if len(values) > 3 else 0
    pairs = [(v, r) for v, r in list(zip(values, results, strict=True))[half:] if r > 0]
    if len(pairs) < 2:
        return None
    x, y = np.log(np.array(pairs, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def curve_table(curve: Curve) -> str:
    """Return a Markdown table of a curve, and a sentence with its exponents.

    Example:
        >>> points = (Point(1, 1.0, 2.0, 0.5), Point(2, 4.0, 4.0, 2.0))
        >>> print(curve_table(Curve('a product', 'rows', points)))
        | rows | seconds | at the speed of products | share | MiB |
        |---|---|---|---|---|
        | 1 | 1.000 | 0.500 | 50 % | 2 |
        | 2 | 4.000 | 2.000 | 50 % | 4 |
        <BLANKLINE>
        A product: time grows as rows^2.00, memory as rows^1.00.
    """
    lines = [f'| {curve.size} | seconds | at the speed of products | share | MiB |']
    lines.append('|---|---|---|---|---|')
    for p in curve.points:
        share = f'{100 * p.limit / p.seconds:.0f} %'
        lines.append(f'| {p.value} | {p.seconds:.3f} | {p.limit:.3f} | {share} | {p.mib:.0f} |')
    values = [p.value for p in curve.points]
    words = {
        'time grows': exponent(values, [p.seconds for p in curve.points]),
        'memory': exponent(values, [p.mib for p in curve.points]),
    }
    power = [f'{what} as {curve.size}^{e:.2f}' for what, e in words.items() if e is not None]
    title = curve.title[:1].upper() + curve.title[1:]
    return '\n'.join([*lines, '', f'{title}: {", ".join(power)}.' if power else f'{title}.'])


def draw_curves(curves: Sequence[Curve], path: str | Path) -> None:
    """Draw time and memory of each curve, with the time that operations alone would take.

    Args:
        curves (Sequence[Curve]): One above each other, three in a row.
        path (str | Path): PNG to write.
    """
    columns, rows = min(3, len(curves)), -(-len(curves) // 3)
    figure = Figure(figsize=(3.6 * columns, 4.6 * rows), layout='constrained')
    axes = figure.subplots(2 * rows, columns, squeeze=False)
    for each in axes.flat:
        each.set_visible(False)
    for number, curve in enumerate(curves):
        row, column = divmod(number, columns)
        time, memory = axes[2 * row, column], axes[2 * row + 1, column]
        values = [p.value for p in curve.points]
        _draw_line(time, values, [p.seconds for p in curve.points], 'measured', '#1f6fb2')
        _draw_line(time, values, [p.limit for p in curve.points], 'products', '#c1462c', '--')
        _draw_line(memory, values, [p.mib for p in curve.points], 'measured', '#1f6fb2')
        time.set(title=curve.title, ylabel='seconds')
        memory.set(xlabel=curve.size, ylabel='MiB')
        for each in (time, memory):
            _show_a_decade(each)
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=110, format='png'))


def _draw_line(
    axes: Axes,
    values: Sequence[int],
    results: Sequence[float],
    name: str,
    colour: str,
    line: str = '-',
) -> None:
    """Draw one line with its exponent, both axes in logarithms."""
    power = exponent(values, results)
    label = name if power is None else f'{name}, exponent {power:.2f}'
    above = [(v, r) for v, r in zip(values, results, strict=True) if r > 0]
    if not above:
        return
    x, y = zip(*above, strict=True)
    axes.loglog(x, y, line, color=colour, marker='.', label=label)
    axes.set_xticks(values, [str(value) for value in values], rotation=60, fontsize=7)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)


def _show_a_decade(axes: Axes) -> None:
    """Make the axes visible, and let them span a factor of ten at least."""
    axes.set_visible(True)
    low, high = axes.get_ylim()
    middle = (low * high) ** 0.5
    axes.set_ylim(min(low, middle / 10**0.5), max(high, middle * 10**0.5))
