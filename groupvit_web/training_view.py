"""What the training tab shows of a work directory, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from groupvit_web.charts import COLOURS, line_chart, table_of
from groupvit_web.fragments import STYLES, message, picture, table
from groupvit_web.training_log import Progress, TrainingLog, thin_out
from groupvit_web.training_result import Outcome
from groupvit_web.training_run import Picture, Series

MOST_POINTS = 500
MOST_LINES = len(COLOURS)
TABLE_ROWS = 30
MUCH_UNREAD = 1 << 20
QUIET_SECONDS = 120
"""int: Time without an entry after which a run may have ended."""


class Chart(NamedTuple):
    """A chart of the tab.

    Attributes:
        name (str): Its identifier.
        title (str): Its title.
        prefixes (tuple[str, ...]): Beginnings of the names of its values.
        unit (str): Of the vertical axis. Defaults to ''.
        limits (tuple[float | None, float | None]): Of the vertical axis.
    """

    name: str
    title: str
    prefixes: tuple[str, ...]
    unit: str = ''
    limits: tuple[float | None, float | None] = (None, None)


SCORES = Chart('scores', 'Validations', (), unit='%')
CHARTS = (
    Chart('losses', 'Losses', ('loss',)),
    SCORES,
    Chart(
        'groups',
        'Use of the groups',
        ('group_entropy_', 'dead_groups_', 'segment_similarity'),
        limits=(-0.05, 1.05),
    ),
    Chart('rate', 'Learning rate', ('lr',), limits=(0, None)),
    Chart('speed', 'Speed', ('samples_per_s',), limits=(0, None)),
)


def status_html(
    progress: Progress | None, *, seconds_per_entry: float = 0.0, unread: int = 0
) -> str:
    """Return how far a training is, with a bar.

    Args:
        progress (Progress, optional): None before the first entry of the log.
        seconds_per_entry (float): Usual time between two entries. Defaults to 0.
        unread (int): Bytes of the log that were not read yet. Defaults to 0.
    """
    if unread > MUCH_UNREAD:
        return STYLES + message(f'Reading the log: {unread / 1e6:,.0f} MB are left.')
    if progress is None:
        return STYLES + message('This run has logged no step yet.')
    step, total = progress.step, progress.total_steps
    words = [f'Step {step:,} of {total:,} ({step / total:.0%}).' if total else f'Step {step:,}.']
    if progress.is_finished:
        words.append('No further entry is to come: the training has ended or is about to.')
    else:
        if progress.seconds_left is not None:
            words.append(f'{duration(progress.seconds_left)} left.')
        words.append(f'Last entry {duration(progress.seconds_since_entry)} ago.')
        if progress.seconds_since_entry > max(QUIET_SECONDS, 5 * seconds_per_entry):
            words.append('The run may have ended.')
    bar = (
        f'<progress max="{total}" value="{min(step, total)}" aria-label="Progress of the training">'
        '</progress>'
        if total
        else ''
    )
    return f'{STYLES}<div class="gv-status">{bar}{message(" ".join(words))}</div>'


def duration(seconds: float) -> str:
    """Write a duration in its two largest units.

    Example:
        >>> duration(59.6), duration(3725), duration(90000)
        ('1 min 0 s', '1 h 2 min', '1 d 1 h')
    """
    rest = round(seconds)
    parts: list[str] = []
    for size, unit in ((86400, 'd'), (3600, 'h'), (60, 'min'), (1, 's')):
        count, rest = divmod(rest, size)
        if count or parts or unit == 's':
            parts.append(f'{count} {unit}')
    return ' '.join(parts[:2])


def seconds_per_entry(log: TrainingLog) -> float:
    """Return the usual time between two entries of the last run, 0 if it is not known."""
    times = log.series('time').values
    interval = log.runs[-1].interval if log.runs else 0
    return float(times[-1]) * interval if len(times) and np.isfinite(times[-1]) else 0.0


def alerts_html(warnings: Sequence[str]) -> str:
    """Return the warnings, the last ten of them."""
    return ''.join(message(text, alert=True) for text in warnings[-10:])


def chart_lines(log: TrainingLog) -> list[tuple[Chart, dict[str, Series]]]:
    """Return the charts for which there are values, each with its lines."""
    charts = {
        chart: {name: log.series(name) for name in log.names if name.startswith(chart.prefixes)}
        for chart in CHARTS
    }
    charts[SCORES] = _scores(log)
    shown = ((chart, _shown(lines)) for chart, lines in charts.items())
    return [(chart, lines) for chart, lines in shown if lines]


def _shown(lines: Mapping[str, Series]) -> dict[str, Series]:
    """Return the lines that have finite values, with fewer points."""
    thin = {name: thin_out(series, MOST_POINTS) for name, series in lines.items()}
    return {name: series for name, series in thin.items() if len(series.steps)}


def _scores(log: TrainingLog) -> dict[str, Series]:
    """Return the mIoU of the validations, or all their scores if there is no mIoU."""
    validations = log.validations()
    names = list(dict.fromkeys(name for _, scores in validations for name in scores))
    names = [name for name in names if 'mIoU' in name] or names
    lines = {}
    for name in names:
        points = [(step, scores[name]) for step, scores in validations if name in scores]
        steps, values = zip(*points)
        lines[name] = Series(np.array(steps, np.int64), np.array(values, np.float64))
    return lines


def charts_html(charts: Sequence[tuple[Chart, Mapping[str, Series]]]) -> str:
    """Return all charts beside each other, below each other where the page is narrow."""
    if not charts:
        return message('No curve yet.')
    return f'<div class="gv-grid">{"".join(_chart(*each) for each in charts)}</div>'


def _chart(chart: Chart, lines: Mapping[str, Series]) -> str:
    """Return a chart; more lines than colours are named below."""
    names = list(lines)
    drawn = {name: lines[name] for name in names[:MOST_LINES]}
    svg = line_chart(
        drawn, title=chart.title, name=chart.name, unit=chart.unit, limits=chart.limits
    )
    rest = names[MOST_LINES:]
    note = message(f'In the table only: {", ".join(rest)}.') if rest else ''
    return f'<figure class="gv-card">{svg}{note}</figure>'


def tables_html(charts: Sequence[tuple[Chart, Mapping[str, Series]]]) -> str:
    """Return the values of all charts as tables."""
    parts = []
    for chart, lines in charts:
        columns, rows = table_of(lines, TABLE_ROWS)
        numeric = range(len(columns))
        parts.append(table(columns, rows, caption=chart.title, numeric=numeric))
    return ''.join(parts) or message('No values yet.')


def nearest_step(pictures: Sequence[Picture], step: float | None) -> int | None:
    """Return the step nearest to a wish of which there are pictures; the last for None."""
    steps = sorted({each.step for each in pictures})
    if not steps or step is None:
        return steps[-1] if steps else None
    return min(steps, key=lambda each: abs(each - step))


def pictures_html(pictures: Sequence[Picture], step: float | None) -> str:
    """Return the pictures of groups that were drawn after a step.

    Args:
        pictures (Sequence[Picture]): All pictures.
        step (float, optional): The nearest step is shown; None for the last.
    """
    shown = nearest_step(pictures, step)
    if shown is None:
        return message(
            'No pictures of groups: add GroupMapHook to custom_hooks of the config to draw them.'
        )
    figures = [_picture(each) for each in pictures if each.step == shown]
    return f'<div class="gv-grid gv-pictures">{"".join(figures)}</div>'


def _picture(each: Picture) -> str:
    """Return a picture, or a sentence in its place."""
    number = int(each.name.rpartition('_')[2]) + 1
    alt = f'Groups of validation image {number} after step {each.step}, each in its colour'
    try:
        return picture(each.path, alt=alt, caption=f'image {number}, step {each.step:,}')
    except (OSError, ValueError) as error:
        is_sentence = isinstance(error, ValueError)
        return message(str(error) if is_sentence else f'{each.path.name} cannot be read.')


def outcomes_html(outcomes: Sequence[Outcome]) -> str:
    """Return the mIoU before and after the training as a table."""
    rows = [[each.name, _percent(each.untrained), _percent(each.trained)] for each in outcomes]
    columns = ['evaluation', 'untrained', 'trained']
    return table(columns, rows, caption='mIoU in percent, from result.json', numeric=[1, 2])


def _percent(value: float | None) -> str:
    """Format a percentage; a dash for None."""
    return '-' if value is None else f'{value:.1f}'
