"""Two results of the same set, image by image: which is better, where, and is it by chance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from groupvit_mmseg.benchmark.journal import read_results
from groupvit_mmseg.benchmark.result_types import JournalLine, SetResult
from groupvit_mmseg.evaluation.bootstrap import (
    Comparison,
    ImageAreas,
    Interval,
    bootstrap_interval,
    compare_paired,
    image_areas,
    miou_of,
)


class StoredResult(NamedTuple):
    """A result of ``tools/evaluate.py`` and the images that it consists of.

    Attributes:
        folder (Path): Folder of the evaluation.
        result (SetResult): Content of its file.
        images (list[JournalLine]): By image, in order.
        areas (ImageAreas): Areas of each class in each image.
    """

    folder: Path
    result: SetResult
    images: list[JournalLine]
    areas: ImageAreas


class ChangedImage(NamedTuple):
    """An image, its mIoU in both results in percent, and its number in the set."""

    image: str
    first: float
    second: float
    number: int


class SetComparison(NamedTuple):
    """Two results of one set.

    Attributes:
        name (str): Name of the set.
        scores (tuple[float, float]): mIoU of both, in percent.
        intervals (tuple[Interval, Interval]): Their 95 % intervals.
        comparison (Comparison): The second compared with the first.
        class_iou (dict[str, tuple[float | None, float | None]]): IoU of each class in both.
        changed (list[ChangedImage]): The images that changed most: those that became worse first.
    """

    name: str
    scores: tuple[float, float]
    intervals: tuple[Interval, Interval]
    comparison: Comparison
    class_iou: dict[str, tuple[float | None, float | None]]
    changed: list[ChangedImage]


def read_stored(folder: str | Path, name: str) -> StoredResult:
    """Read the result of a set from the folder of an evaluation.

    Raises:
        FileNotFoundError: If it has no such result.
        ValueError: If the result is not one of segmentation, or images of it are missing.
    """
    path = Path(folder) / f'{name}.json'
    if not path.is_file():
        raise FileNotFoundError(f'{folder} has no result of {name}: evaluate it into that folder.')
    try:
        result: SetResult = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no result of tools/evaluate.py: {error}.') from error
    if 'mIoU' not in result.get('metrics', {}):
        raise ValueError(f'{path} is no result of a segmentation: compare others.')
    count = result['images']['evaluated']
    lines = read_results(Path(folder) / 'journal', name)
    if any(index not in lines for index in range(count)):
        raise ValueError(
            f'{folder}/journal lacks some of the {count} images of {name}: evaluate it again.'
        )
    images = [lines[index] for index in range(count)]
    areas = image_areas([line['pairs'] for line in images], result['classes']['count'])
    return StoredResult(Path(folder), result, images, areas)


def compare_results(
    first: StoredResult, second: StoredResult, *, num_images: int = 10, seed: int = 0
) -> SetComparison:
    """Compare two results of the same images and classes.

    Args:
        first (StoredResult): The one to compare with.
        second (StoredResult): The other.
        num_images (int): Images to list that became worst, and as many that became better. Defaults
            to 10.
        seed (int): Seed of the resampling. Defaults to 0.

    Raises:
        ValueError: If images or classes differ.
    """
    name = first.result['set']
    keys = [
        (each.result['images']['digest'], len(each.images), list(each.result['class_iou']))
        for each in (first, second)
    ]
    files = zip(*([line.get('files') for line in each.images] for each in (first, second)))
    if keys[0] != keys[1] or any(a and b and a != b for a, b in files):
        raise ValueError(
            f'{first.folder} and {second.folder} have other images, masks or classes of {name}: '
            'compare evaluations of the same.'
        )
    results = (first.result, second.result)
    scores = [each['metrics']['mIoU'] for each in results]
    names = list(first.result['class_iou'])
    return SetComparison(
        name=name,
        scores=(scores[0], scores[1]),
        intervals=(
            bootstrap_interval(first.areas, seed=seed),
            bootstrap_interval(second.areas, seed=seed),
        ),
        comparison=compare_paired(first.areas, second.areas, seed=seed),
        class_iou={
            key: (results[0]['class_iou'][key], results[1]['class_iou'].get(key)) for key in names
        },
        changed=_changed(first, second, num_images),
    )


def _changed(first: StoredResult, second: StoredResult, count: int) -> list[ChangedImage]:
    """Return the images whose mIoU changed most, ascending by the change."""
    scores = [miou_of(each.areas.intersect, each.areas.union) for each in (first, second)]
    change = np.nan_to_num(scores[1] - scores[0])
    order = np.argsort(change, kind='stable')
    chosen: Sequence[int] = [
        *(i for i in order[:count] if change[i] < 0),
        *(i for i in order[-count:] if change[i] > 0),
    ]
    return [
        ChangedImage(first.images[i]['image'], float(scores[0][i]), float(scores[1][i]), int(i))
        for i in chosen
    ]
