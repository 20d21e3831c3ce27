"""Writes the masks, the class file and the list of images of a set of very many classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically, write_text
from groupvit_mmseg.datasets.label_maps import LARGEST_LABEL
from groupvit_mmseg.text.class_file_yaml import parse_json
from groupvit_mmseg.text.vocabulary import fold_word

MASKS, CLASSES, LIST = 'masks', 'classes.json', 'val.txt'
"""str: The parts of the written folder."""
LabelMap = NDArray[np.uint16]
MakeMask = Callable[[], LabelMap]


class WrittenSet(NamedTuple):
    """Counts of the written masks.

    Attributes:
        num_masks (int): Masks.
        num_classes (int): Classes that occur in them.
        num_ignored (int): Masks without any class.
    """

    num_masks: int
    num_classes: int
    num_ignored: int


def renumbered(numbers: NDArray[np.uint16], classes: Sequence[int], count: int) -> LabelMap:
    """Return the label of each pixel: the place of its number among the classes, or 65535.

    Args:
        numbers (NDArray): Numbers of the published file ``(H, W)``.
        classes (Sequence[int]): Number of each class, in the order of the labels.
        count (int): Largest number that the published names have.

    Raises:
        ValueError: If a pixel has a larger number.

    Example:
        >>> renumbered(np.array([[0, 7, 300]], np.uint16), [300, 7], 300).tolist()
        [[65535, 1, 0]]
    """
    largest = int(numbers.max(initial=0))
    if largest > count:
        raise ValueError(f'has the number {largest}, but the names end at {count}')
    table = np.full(count + 1, LARGEST_LABEL, np.uint16)
    table[list(classes)] = np.arange(len(classes))
    return table[numbers]


def class_entries(synonyms: Sequence[Sequence[str]]) -> list[dict[str, object]]:
    """Return the entries of a class file, in which no word names two classes.

    A class has its first word that no other class has as a name; where every word is taken, all of
    them, joined by "or". The rest are its further words, unless they name another class too.

    Args:
        synonyms (Sequence[Sequence[str]]): Words of each class, in the order of the labels.

    Raises:
        ValueError: If two classes have the same words.

    Example:
        >>> class_entries([['screen', 'CRT screen'], ['screen'], ['lamp', 'light']])[0]
        {'name': 'CRT screen', 'words': []}
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for label in sorted(range(len(synonyms)), key=lambda label: (len(synonyms[label]), label)):
        free = (word for word in synonyms[label] if fold_word(word) not in taken)
        names[label] = next(free, ' or '.join(synonyms[label]))
        if fold_word(names[label]) in taken:
            raise ValueError(f'Two classes are called {names[label]!r}: mend the names.')
        taken.add(fold_word(names[label]))
    owners: dict[str, set[int]] = {}
    for label, words in enumerate(synonyms):
        for word in words:
            owners.setdefault(fold_word(word), set()).add(label)

    def further(label: int) -> list[str]:
        words = {fold_word(word): word for word in synonyms[label]}
        return [word for key, word in words.items() if key not in taken and len(owners[key]) == 1]

    return [dict(name=names[label], words=further(label)) for label in range(len(synonyms))]


def write_label_set(
    out: Path,
    synonyms: Sequence[Sequence[str]],
    masks: Mapping[str, MakeMask],
    *,
    workers: int = 1,
    overwrite: bool = False,
) -> WrittenSet:
    """Write masks of 16 bits, their class file and, once all are there, the list of their names.

    Args:
        out (Path): The folder.
        synonyms (Sequence[Sequence[str]]): Words of each class, in the order of the labels.
        masks (Mapping[str, Callable]): Functions that return the labels ``(H, W)``, 65535 for
            pixels to ignore, by the name of the image without ending.
        workers (int): Processes. Defaults to 1.
        overwrite (bool): Whether the folder may have files of an earlier run. Defaults to False.

    Raises:
        FileExistsError: If the folder has such files, and ``overwrite`` is off.
        ValueError: If there is no image, or a mask or a class cannot be used.
    """
    if not masks:
        raise ValueError('There is no image to write a mask of: check the folder and the list.')
    present = next((each for each in (LIST, CLASSES, MASKS) if (out / each).exists()), None)
    if present and not overwrite:
        raise FileExistsError(f'{out} has {present} already: --overwrite writes them again.')
    classes = json.dumps(class_entries(synonyms), indent=1, ensure_ascii=False) + '\n'
    parse_json(classes)
    (out / LIST).unlink(missing_ok=True)  # without it the set cannot be evaluated
    write_text(out / CLASSES, classes)
    write = partial(_write_mask, out / MASKS)
    labels = _run(write, masks, workers)
    write_text(out / LIST, ''.join(f'{name}\n' for name in masks))
    found = set().union(*labels) - {LARGEST_LABEL}
    return WrittenSet(len(labels), len(found), sum(each <= {LARGEST_LABEL} for each in labels))


def _write_mask(folder: Path, name: str, make_mask: MakeMask) -> set[int]:
    """Write one mask; return its labels."""
    mask = make_mask()
    content = cv2.imencode('.png', mask)[1].tobytes()
    write_atomically(folder / f'{name}.png', lambda stream: stream.write(content))
    return set(np.unique(mask).tolist())


def _run(
    write: Callable[[str, MakeMask], set[int]], masks: Mapping[str, MakeMask], workers: int
) -> list[set[int]]:
    """Write every mask, in this process or in several."""
    if workers <= 1:
        return list(map(write, masks, masks.values()))
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(write, masks, masks.values(), chunksize=16))
