"""Results of a study: tables, learning curves and pictures of all variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from groupvit_mmseg.atomic_files import write_atomically, write_text
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.seed_statistics import (
    SeedScores,
    mean_and_deviation,
    mean_table,
    paired_difference,
    seed_table,
)
from groupvit_mmseg.benchmark.study import Study
from groupvit_mmseg.benchmark.study_types import PICTURES, Run, RunResult
from groupvit_mmseg.palettes import RGBArray
from groupvit_mmseg.visualization import draw_groups, draw_labels, enlarge, panel, save_figure

Results = Mapping[str, Mapping[int, RunResult]]
"""Mapping[str, Mapping[int, RunResult]]: Result of each finished run, by variant and seed."""

SIDE = 160
"""int: Pixels that the shorter side of a picture has at least, and at most almost twice."""


def collect_results(study: Study, runs: Sequence[Run]) -> dict[str, dict[int, RunResult]]:
    """Return the results of the finished runs, by variant and seed."""
    results: dict[str, dict[int, RunResult]] = {}
    for run in runs:
        result = run.result()
        if result is not None:
            results.setdefault(run.variant, {})[run.seed] = result
    return {name: results[name] for name in study.variants if name in results}


def metric_scores(results: Results, metric: str) -> dict[str, SeedScores]:
    """Return the scores of the variants that have a metric."""
    scores: dict[str, SeedScores] = {}
    for name, of_seed in results.items():
        values = {seed: result['metrics'].get(metric) for seed, result in of_seed.items()}
        known = {seed: value for seed, value in values.items() if value is not None}
        if known:
            scores[name] = known
    return scores


def study_table(study: Study, results: Results) -> str:
    """Return the tables of a study in Markdown: one of means, then one per metric."""
    columns: dict[str, Mapping[str, SeedScores]] = {
        metric: metric_scores(results, metric) for metric in study.metrics
    }
    trained = [name for name in results if study.source(name) == name]
    for title, field in dict(minutes='minutes', **{'pairs/s': 'pairs_per_s'}).items():
        columns[title] = {
            name: {seed: float(result[field]) for seed, result in results[name].items()}  # type: ignore[literal-required]
            for name in trained
        }
    parts = [f'# {study.title}', study.question, mean_table(columns, list(results))]
    for metric in study.metrics:
        if columns[metric]:
            parts += [f'## {metric}', seed_table(columns[metric], baseline=study.baseline)]
    parts.append(
        'A spread is the standard deviation over seeds; the error of a difference is the standard '
        'error of the differences paired by seed.'
    )
    return '\n\n'.join(parts) + '\n'


def study_content(study: Study, results: Results) -> dict[str, object]:
    """Return the content of the result file of a study: statistics, and the result of each run."""
    statistics: dict[str, dict[str, object]] = {}
    for metric in study.metrics:
        scores = metric_scores(results, metric)
        base = scores.get(study.baseline, {})
        for name, values in scores.items():
            mean, difference = mean_and_deviation(values), paired_difference(values, base)
            statistics.setdefault(name, {})[metric] = dict(
                mean=mean and mean.mean,
                deviation=mean and mean.spread,
                seeds=len(values),
                difference=difference and difference.mean,
                standard_error=difference and difference.spread,
            )
    return dict(
        title=study.title,
        question=study.question,
        baseline=study.baseline,
        metrics=list(study.metrics),
        statistics=statistics,
        runs={
            name: {str(seed): run for seed, run in each.items()} for name, each in results.items()
        },
    )


def write_report(study: Study, runs: Sequence[Run], out: Path) -> list[Path]:
    """Write ``result.json``, ``table.md``, ``curves.png`` and ``pictures.png``.

    Args:
        study (Study): The study.
        runs (Sequence[Run]): Its runs; those without a result are left out.
        out (Path): The folder.

    Returns:
        list[Path]: The files; none if no run is finished.
    """
    results = collect_results(study, runs)
    if not results:
        return []
    files = [out / name for name in ('result.json', 'table.md', 'pictures.png')]
    write_json(study_content(study, results), files[0])
    write_text(files[1], study_table(study, results))
    save_figure(draw_pictures(results, runs), files[2])
    if any(result['curve'] for each in results.values() for result in each.values()):
        draw_curves(study, results, out / 'curves.png')
        files.append(out / 'curves.png')
    return files


def draw_curves(study: Study, results: Results, path: Path) -> None:
    """Draw the mIoU of each variant over the epochs: the mean, and the range of the seeds."""
    figure = Figure(figsize=(7, 4.5), layout='constrained')
    axes = figure.add_subplot()
    for name, of_seed in results.items():
        epochs, curves = common_curve([result['curve'] for result in of_seed.values()])
        if not epochs:
            continue
        (line,) = axes.plot(epochs, curves.mean(0), 'o-', markersize=3, label=name)
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=line.get_color(), alpha=0.2)
    axes.set(xlabel='epoch', ylabel='mIoU of the validation', title=study.title)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    write_atomically(path, lambda stream: figure.savefig(stream, dpi=120, format='png'))


def common_curve(
    curves: Sequence[Mapping[str, Mapping[str, float]]],
) -> tuple[list[int], np.ndarray]:
    """Return the epochs that every seed has been validated at, and the mIoU ``(seeds, epochs)``.

    Example:
        >>> epochs, mious = common_curve([{'3': {'mIoU': 1.0}}, {'3': {'mIoU': 3.0}, '6': {}}])
        >>> epochs, mious.tolist()
        ([3], [[1.0], [3.0]])
    """
    known = [{int(e): point['mIoU'] for e, point in c.items() if 'mIoU' in point} for c in curves]
    epochs = sorted(set.intersection(*map(set, known))) if known else []
    return epochs, np.array([[each[epoch] for epoch in epochs] for each in known])


def draw_pictures(results: Results, runs: Sequence[Run]) -> RGBArray:
    """Draw test images, their truth, and the groups and prediction of each variant's first seed."""
    columns: list[list[RGBArray]] = []
    titles: list[str] = []
    for run in runs:
        if run.variant not in results or run.seed != next(iter(results[run.variant])):
            continue
        with np.load(run.folder / PICTURES) as arrays:
            pictures = dict(arrays)
        if not columns:
            titles += ['image', 'truth']
            columns += [_column(pictures, 'image'), _column(pictures, 'truth')]
        for name in ('groups', 'prediction'):
            column = _column(pictures, name)
            if column:
                titles.append(f'{run.variant}: {name}')
                columns.append(column)
    return panel([list(row) for row in zip(*columns)], titles)


def _column(pictures: Mapping[str, np.ndarray], name: str) -> list[RGBArray]:
    """Draw one kind of map, or the image itself, of every picture that has it."""
    classes = pictures['classes'].tolist()
    drawn = []
    for index in range(sum(key.startswith(f'{name}_') for key in pictures)):
        image, values = (_display_size(pictures[f'{key}_{index}']) for key in ('image', name))
        if name == 'image':
            drawn.append(image)
        elif name == 'groups':
            drawn.append(draw_groups(image, values))
        else:
            drawn.append(draw_labels(image, values, classes, opacity=0.8))
    return drawn


def _display_size(array: np.ndarray) -> np.ndarray:
    """Enlarge a small image or map, or take every n-th pixel of a large one."""
    step = max(1, min(array.shape[:2]) // SIDE)
    return enlarge(array[::step, ::step], SIDE)
