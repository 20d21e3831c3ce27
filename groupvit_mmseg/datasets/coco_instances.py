"""Reads files of COCO's instances and checks their form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

MAX_SIDE, MAX_PIXELS = 16_000, 16_000_000  # COCO's images have 640 x 640 pixels at most


class RunLengths(TypedDict):
    """A mask as the lengths of runs down its columns, which COCO may have compressed to a text."""

    size: list[int]
    counts: list[int] | str


Segmentation = list[list[float]] | RunLengths
"""Polygons as x, y, x, y, ... or run lengths."""


class Image(TypedDict):
    """An entry of ``images``."""

    id: int
    file_name: str
    height: int
    width: int


class _Annotation(TypedDict):
    """What every entry of ``annotations`` must have."""

    image_id: int
    category_id: int
    segmentation: Segmentation
    area: float


class Annotation(_Annotation, total=False):
    """An entry of ``annotations``: one object."""

    id: int
    iscrowd: int


class Category(TypedDict):
    """An entry of ``categories``."""

    id: int
    name: str


class Instances(TypedDict):
    """Content of an ``instances_*.json``."""

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def read_instances(path: Path) -> Instances:
    """Read an ``instances_*.json``; the form of its entries is checked, not their values.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has another form; names the entry.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There are no annotations at {path}.')
    try:
        content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (ValueError, RecursionError) as error:  # of the encoding, too
        raise ValueError(f'{path} is no JSON ({error}): give instances_*.json.') from error
    check_instances(content, path)
    return content


def check_instances(content: object, path: Path) -> None:
    """Check that the content of a file has the form of :class:`Instances`.

    Raises:
        ValueError: If it has not; names the first entry that is wrong.
    """
    keys = ('images', 'annotations', 'categories')
    if not isinstance(content, dict):
        raise ValueError(f'{path} has no {", ".join(keys)}: give instances_*.json.')
    missing = [key for key in keys if not isinstance(content.get(key), list)]
    if missing:
        raise ValueError(f'{path} has no {", ".join(sorted(missing))}: give instances_*.json.')
    if not content['images']:
        raise ValueError(f'{path} lists no image: there is no mask to draw.')
    for key, name, problem_of in (
        ('images', 'Image', _image_problem),
        ('categories', 'Category', _category_problem),
        ('annotations', 'Annotation', _annotation_problem),
    ):
        for number, entry in enumerate(content[key], 1):
            problem = problem_of(entry) if isinstance(entry, dict) else 'is no object'
            if problem:
                label = entry.get('id', number) if isinstance(entry, dict) else number
                raise ValueError(f'{name} {label!r:.40} {problem}.')


def _image_problem(entry: Mapping[str, object]) -> str | None:
    """Describe an entry of ``images`` that cannot be used."""
    name, height, width = entry.get('file_name'), entry.get('height'), entry.get('width')
    if not isinstance(name, str) or not _is_key(entry.get('id')):
        return 'has no id or file_name'
    if not (type(height) is int and type(width) is int and min(height, width) > 0):
        return 'has no height and width'
    if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        return f'has {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}'
    return None


def _category_problem(entry: Mapping[str, object]) -> str | None:
    """Describe an entry of ``categories`` that cannot be used."""
    has_both = type(entry.get('id')) is int and isinstance(entry.get('name'), str)
    return None if has_both else 'has no id or name'


def _annotation_problem(entry: Mapping[str, object]) -> str | None:
    """Describe an entry of ``annotations`` that cannot be used."""
    missing = {'image_id', 'category_id', 'segmentation', 'area'} - set(entry)
    if missing:
        return f'has no {", ".join(sorted(missing))}'
    if not _is_key(entry['image_id']) or not _is_key(entry['category_id']):
        return 'has no number of an image or category'
    if not isinstance(entry['area'], int | float) or not isinstance(entry.get('iscrowd', 0), int):
        return 'has no number as area or iscrowd'
    shape = entry['segmentation']
    if isinstance(shape, dict):
        counts = shape.get('counts')
        is_mask = isinstance(shape.get('size', []), list) and isinstance(counts, list | str)
        return None if is_mask else 'has run lengths without size and counts'
    return None if isinstance(shape, list) else 'has no polygons or run lengths'


def _is_key(value: object) -> bool:
    """Return whether a value can be the id of an entry."""
    return type(value) in (int, str)
