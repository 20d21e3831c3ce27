"""The result of ``tools/quickstart.py`` and ``tools/real.py``: before and after the training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from groupvit_web.evaluation_results import is_percentage

FILE = 'result.json'
LARGEST_FILE = 16 << 20


class Outcome(NamedTuple):
    """The mIoU of a way to evaluate, in percent, untrained and trained; None if not measured."""

    name: str
    untrained: float | None
    trained: float | None


def find_result(folder: Path, root: Path) -> Path | None:
    """Return the result file of a work directory: in it, or in the folder of the quickstart above.

    Args:
        folder (Path): The work directory.
        root (Path): Nothing above this folder is read.
    """
    places = [folder, folder.parent] if folder.name == 'train' else [folder]
    paths = (place / FILE for place in places if place.resolve().is_relative_to(root.resolve()))
    return next((path for path in paths if path.is_file()), None)


def read_outcomes(path: Path) -> list[Outcome]:
    """Return the results in a file of either tool.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no result of these tools.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise ValueError(f'{path.name} is too large to be a result of a training.')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{path.name} is no JSON file, or not a whole one.') from error
    if not isinstance(content, dict) or not {'untrained', 'trained'} <= set(content):
        raise ValueError(f'{path.name} is no result of tools/quickstart.py or tools/real.py.')
    return list(_outcomes(content))


def _outcomes(content: Mapping[str, object]) -> Iterator[Outcome]:
    """Yield the results of each way."""
    untrained = _scores(content['untrained'])
    for key, value in content.items():
        if key.startswith('trained'):
            for way, score in _scores(value).items():
                name = ' '.join(filter(None, (way.replace('_', ' '), key[8:])))
                yield Outcome(name or 'mIoU', untrained.get(way), score)


def _scores(part: object) -> dict[str, float]:
    """Return the mIoU of each way; that of ``tools/real.py`` has no name."""
    if not isinstance(part, dict):
        return {}
    ways = {'': part['metrics']} if 'metrics' in part else part
    return {
        way: float(values['mIoU'])
        for way, values in ways.items()
        if isinstance(values, dict) and is_percentage(values.get('mIoU'))
    }
