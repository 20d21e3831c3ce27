"""Line charts as SVG that a page can show in light and dark colours."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Mapping, Sequence
from html import escape

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from groupvit_web.training_run import Series

INK = '#010203'
"""str: Stands for the colour of the text around the chart, ``currentColor`` in the SVG."""
COLOURS = ('#2f7fd1', '#c8641e', '#1d9467', '#a25fd0', '#c2477f', '#8a7a1f')
"""tuple[str, ...]: Of the lines; each has a contrast of 3 to 1 with white and with dark grey."""
DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    '-',
    (0, (5, 1.6)),
    (0, (1.4, 1.2)),
    (0, (6, 1.5, 1.4, 1.5)),
    (0, (9, 2)),
    (0, (3, 3)),
)
SIZE = (4.6, 2.9)
"""tuple[float, float]: Of a chart in inches of 72 units; legible where it is 300 pixels wide."""
PLACE = (0.17, 0.18, 0.8, 0.71)
"""tuple[float, float, float, float]: Of the axes in a chart: left, bottom, width, height."""
STYLE = {
    'svg.fonttype': 'none',  # text stays text
    'svg.hashsalt': 'groupvit',
    'text.parse_math': False,  # a name with a dollar sign is no formula
    'font.family': 'sans-serif',
    'font.size': 11,
    'text.color': INK,
    'axes.labelcolor': INK,
    'axes.edgecolor': INK,
    'xtick.color': INK,
    'ytick.color': INK,
    'grid.color': INK,
}

_STYLE_LOCK = threading.Lock()  # Matplotlib's settings are of the whole process


def line_chart(
    lines: Mapping[str, Series],
    *,
    title: str,
    name: str,
    unit: str = '',
    limits: tuple[float | None, float | None] = (None, None),
) -> str:
    """Draw lines over the steps of a training.

    Args:
        lines (Mapping[str, Series]): Values by name, at most six names.
        title (str): Title of the chart.
        name (str): Prefix of the identifiers in the SVG, different for all charts of a page.
        unit (str): Label of the vertical axis. Defaults to ''.
        limits (tuple[float | None, float | None]): Of the vertical axis; None fits the values.
            Defaults to (None, None).

    Returns:
        str: An ``<svg>`` element as wide as its surroundings, with a description for readers of
        screens.
    """
    with _STYLE_LOCK, matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes(PLACE)
        for index, (label, series) in enumerate(lines.items()):
            _draw_line(axes, label, series, index)
        axes.set_title(title, fontsize=12)
        axes.set_xlabel('step')
        axes.set_ylabel(_axis_label(list(lines), unit))
        axes.set_ylim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(alpha=0.18, linewidth=0.7)
        axes.spines[['top', 'right']].set_visible(False)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9.5, handlelength=2.6)
        stream = io.StringIO()
        figure.savefig(stream, format='svg', transparent=True, metadata={'Date': None})
    return _embedded(stream.getvalue(), name=name, description=describe(title, lines))


def _draw_line(axes: Axes, label: str, series: Series, index: int) -> None:
    """Draw one line; few values get markers, or one alone would not be seen."""
    axes.plot(
        series.steps,
        series.values,
        label=label,
        color=COLOURS[index % len(COLOURS)],
        linestyle=DASHES[index % len(DASHES)],
        marker='o' if len(series.steps) <= 25 else '',
        markersize=4,
    )


def _axis_label(names: Sequence[str], unit: str) -> str:
    """Return the label of the vertical axis, which names a single line."""
    return ' in '.join(filter(None, (*names, unit))) if len(names) == 1 else unit


def describe(title: str, lines: Mapping[str, Series]) -> str:
    """Return a text that says what a chart shows: first, last and extreme values of each line.

    Example:
        >>> series = Series(np.array([10, 20]), np.array([8.0, 4.0]))
        >>> describe('Losses', {'loss': series})
        'Losses: loss from 8 at step 10 to 4 at step 20, lowest 4, highest 8.'
    """
    parts = []
    for label, (steps, values) in lines.items():
        if len(steps):
            parts.append(
                f'{label} from {values[0]:.3g} at step {steps[0]} to {values[-1]:.3g} at step '
                f'{steps[-1]}, lowest {values.min():.3g}, highest {values.max():.3g}'
            )
    return f'{title}: {"; ".join(parts) or "no values yet"}.'


def table_of(lines: Mapping[str, Series], count: int) -> tuple[list[str], list[list[str]]]:
    """Return a chart as a table: its values at about ``count`` of its steps, the last included.

    Args:
        lines (Mapping[str, Series]): Values by name.
        count (int): Number of rows at most.

    Returns:
        tuple[list[str], list[list[str]]]: Column names and rows; a cell is empty where a line has
        no value at a step.
    """
    steps = np.unique(np.concatenate([series.steps for series in lines.values()]))
    shown = steps[np.unique(np.linspace(0, len(steps) - 1, min(count, len(steps))).astype(int))]
    values = [dict(zip(each.steps.tolist(), each.values.tolist())) for each in lines.values()]
    rows = [[str(step), *(_cell(line.get(step)) for line in values)] for step in shown.tolist()]
    return ['step', *lines], rows


def _cell(value: float | None) -> str:
    """Format a value of a table."""
    return '' if value is None else f'{value:.4g}'


def _embedded(svg: str, *, name: str, description: str) -> str:
    """Turn the file that Matplotlib writes into an element of a page."""
    svg = svg[svg.index('<svg') :].replace(INK, 'currentColor')
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf'\g<1>{name}-', svg)
    # The style sheet would be one of the whole page.
    svg = re.sub(r'<(metadata|style)\b.*?</\1>', '', svg, flags=re.DOTALL)
    head, rest = svg.split('>', 1)
    head = re.sub(r'\b(width|height)="[^"]*"', '', head)
    label = escape(description, quote=True)
    style = 'width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt'
    return f'{head} role="img" aria-label="{label}" style="{style}">{rest}'
