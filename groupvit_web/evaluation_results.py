"""The folder that ``groupvit evaluate`` writes: its table, the results of the sets, pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard, TypeVar

Content = TypeVar('Content')
TABLE, NOTES, PICTURES = 'table.csv', 'table.md', 'pictures'
LARGEST_FILE = 16 << 20
"""int: Bytes of a result file or table at most."""
KINDS = {
    'worst': 'The worst images',
    'best': 'The best images',
    'random': 'Random images',
    'confusion': 'Confusion of the classes',
}
"""dict: Pictures of a set by the end of their names, in the order in which they are shown."""


class ScoreTable(NamedTuple):
    """The table of all sets, as it was written, with the notes below it."""

    columns: list[str]
    rows: list[list[str]]
    notes: list[str]


class SetScores(NamedTuple):
    """Results of a set.

    Attributes:
        name (str): Name of the set.
        metrics (dict[str, float | None]): Scores in percent by name; None is undefined.
        class_iou (dict[str, float | None]): By class, in percent; None for an absent class. Empty
            for a set without masks.
        settings (dict[str, str]): What the scores depend on, by name.
        pictures (dict[str, Path]): Files by their title.
    """

    name: str
    metrics: dict[str, float | None]
    class_iou: dict[str, float | None]
    settings: dict[str, str]
    pictures: dict[str, Path]


class EvaluationResults(NamedTuple):
    """What a folder has.

    Attributes:
        table (ScoreTable, optional): The table; None if there is none or it cannot be read.
        sets (dict[str, SetScores]): Results by the name of the set.
        problems (list[str]): A sentence for each file that cannot be used.
    """

    table: ScoreTable | None
    sets: dict[str, SetScores]
    problems: list[str]


def has_results(folder: Path) -> bool:
    """Return whether a folder has a table of ``groupvit evaluate``."""
    return (folder / TABLE).is_file()


def read_results(folder: Path) -> EvaluationResults:
    """Read everything in a folder that can be read.

    Args:
        folder (Path): ``--out`` of ``groupvit evaluate``.

    Raises:
        OSError: If the folder cannot be listed.
        ValueError: If it has no result at all.
    """
    problems: list[str] = []
    table = _guarded(folder / TABLE, read_table, problems)
    sets = {}
    for path in sorted(folder.glob('*.json')):
        scores = _guarded(path, read_set, problems)
        if scores is not None:
            sets[scores.name] = scores
    if table is None and not sets:
        reasons = ' '.join(problems)
        raise ValueError(
            f'"{folder.name}" has no results: choose the folder of groupvit evaluate --out. '
            f'{reasons}'.strip()
        )
    return EvaluationResults(table, sets, problems)


def _guarded(path: Path, read: Callable[[Path], Content], problems: list[str]) -> Content | None:
    """Read a file; add a sentence to the problems if it cannot be used."""
    try:
        return read(path)
    except FileNotFoundError:
        problems.append(f'There is no {path.name}: repeat the evaluation, which continues.')
    except OSError as error:
        problems.append(f'{path.name} cannot be read: {error.strerror or error}.')
    except ValueError as error:
        problems.append(f'{path.name} {error}')
    return None


def read_table(path: Path) -> ScoreTable:
    """Read ``table.csv``, and the notes below the table in ``table.md`` if it is there.

    Columns in which no set has a value are left out.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no table; the sentence begins behind the name of the file.
    """
    try:
        columns, *rows = csv.reader(_read_text(path).splitlines(), strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError('is no table: repeat the evaluation.') from error
    if not columns or any(len(row) != len(columns) for row in rows):
        raise ValueError('is no table, or not a whole one: repeat the evaluation.')
    kept = [i for i in range(len(columns)) if any(row[i] not in ('', '-') for row in rows)]
    notes = _read_notes(path.with_name(NOTES))
    return ScoreTable([columns[i] for i in kept], [[row[i] for i in kept] for row in rows], notes)


def _read_notes(path: Path) -> list[str]:
    """Return the lines below the table of ``table.md``; none without the file."""
    if not path.is_file():
        return []
    lines = (line.strip() for line in _read_text(path).splitlines())
    return [line for line in lines if line and not line.startswith('|')]


def _read_text(path: Path) -> str:
    """Read a file that is not too large."""
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError('is too large to be a result.')
    return path.read_text(encoding='utf-8')


def read_set(path: Path) -> SetScores:
    """Read the result of a set and find its pictures.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no result; the sentence begins behind the name of the file.
    """
    text = _read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError('is no JSON file, or not a whole one: repeat the evaluation.') from error
    if not isinstance(content, dict) or not isinstance(content.get('set'), str):
        raise ValueError('is no result of groupvit evaluate.')
    name = content['set']
    return SetScores(
        name=name,
        metrics=_percentages(content.get('metrics'), 'metrics'),
        class_iou=_percentages(content.get('class_iou'), 'class_iou'),
        settings=_settings(content),
        pictures=_pictures(path.parent / PICTURES, name),
    )


def is_percentage(value: object) -> TypeGuard[float]:
    """Return whether a value of JSON is a number from 0 to 100, up to rounding."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and -0.01 <= value <= 100.01
    )


def _percentages(part: object, key: str) -> dict[str, float | None]:
    """Check scores by name."""
    if not isinstance(part, dict) or not all(
        value is None or is_percentage(value) for value in part.values()
    ):
        raise ValueError(f'has no percentages under "{key}": repeat the evaluation.')
    return {str(name): None if value is None else float(value) for name, value in part.items()}


def _settings(content: Mapping[str, object]) -> dict[str, str]:
    """Return what the scores depend on; what is missing is left out."""
    protocol, images = _part(content, 'protocol'), _part(content, 'images')
    checkpoint, classes = _part(content, 'checkpoint'), _part(content, 'classes')
    settings = {
        'images': images.get('evaluated'),
        'images of the set': images.get('files'),
        'classes': classes.get('count'),
        'protocol': protocol.get('name'),
        **{f'protocol, {key}': value for key, value in _part(protocol, 'fields').items()},
        'checkpoint': checkpoint.get('file'),
        'SHA-256': checkpoint.get('sha256'),
        'precision': content.get('precision'),
        **{f'version of {key}': value for key, value in _part(content, 'versions').items()},
    }
    return {key: _text(value) for key, value in settings.items() if value is not None}


def _part(content: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return a part of a result; empty if it is missing or no mapping."""
    part = content.get(key)
    return part if isinstance(part, dict) else {}


def _text(value: object) -> str:
    """Write a value of JSON on one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pictures(folder: Path, name: str) -> dict[str, Path]:
    """Return the pictures of a set that are there, by title."""
    pictures = {}
    for kind, title in KINDS.items():
        path = folder / f'{name}_{kind}.{"png" if kind == "confusion" else "jpg"}'
        if '/' not in name and path.is_file():
            pictures[title] = path
    return pictures


ORDERS: dict[str, Callable[[tuple[str, float | None]], tuple[float, str]]] = {
    'lowest first': lambda row: (row[1] if row[1] is not None else 1e9, row[0]),
    'highest first': lambda row: (-row[1] if row[1] is not None else 1e9, row[0]),
    'by name': lambda row: (0, row[0].casefold()),
    'as in the class list': lambda row: (0, ''),
}
"""dict: Keys to sort classes by; absent classes are last where IoU counts."""


def sorted_classes(
    class_iou: Mapping[str, float | None], order: str
) -> Sequence[tuple[str, float | None]]:
    """Return classes with their IoU in an order.

    Args:
        class_iou (Mapping[str, float | None]): IoU by class in percent, None for absent classes.
        order (str): A key of ``ORDERS``.

    Raises:
        ValueError: If there is no such order.

    Example:
        >>> sorted_classes({'cat': 40.0, 'dog': None, 'bus': 20.0}, 'lowest first')
        [('bus', 20.0), ('cat', 40.0), ('dog', None)]
    """
    if order not in ORDERS:
        raise ValueError(f'There is no order "{order}": choose {", ".join(ORDERS)}.')
    return sorted(class_iou.items(), key=ORDERS[order])
