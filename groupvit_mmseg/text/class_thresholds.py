"""Thresholds of single classes: from a text such as ``"cat=0.6, dog=0.4"``, or from a mapping."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import TypeGuard

from groupvit_mmseg.text.vocabulary import parse_class_names


def read_class_thresholds(thresholds: object) -> dict[str, float]:
    """Read the thresholds of classes.

    Args:
        thresholds (object): A text ``"NAME=NUMBER, ..."`` or a mapping of names to numbers, each in
            [0, 1]; None for none.

    Returns:
        dict[str, float]: By name.

    Raises:
        ValueError: If it is neither, or a threshold is no number in [0, 1] or given twice.

    Example:
        >>> read_class_thresholds('a cat = .6, dog=0.4')
        {'cat': 0.6, 'dog': 0.4}
    """
    if thresholds is None or thresholds == '':
        return {}
    if isinstance(thresholds, str):
        return _parse(thresholds)
    if not isinstance(thresholds, Mapping):
        raise ValueError(
            f'class_thresholds = {thresholds!r:.60} is neither a text "cat=0.6, dog=0.4" nor a '
            'mapping of class names to numbers.'
        )
    return {name: check_threshold(value, str(name)) for name, value in thresholds.items()}


def check_threshold(value: object, name: str) -> float:
    """Return the threshold of a class as a float.

    Args:
        value (object): The threshold.
        name (str): The class.

    Raises:
        ValueError: If it is no number in [0, 1]; True and False are no numbers.
    """
    if not is_number(value):
        raise ValueError(f'The threshold {value!r:.40} of {name} is no number: give one in [0, 1].')
    if not 0 <= value <= 1:
        raise ValueError(f'The threshold {value} of {name} is outside [0, 1].')
    return float(value)


def parse_threshold(text: str, name: str) -> float:
    """Return the threshold of a class that a text states; errors as :func:`check_threshold`."""
    try:
        value: object = float(text)
    except ValueError:
        value = text
    return check_threshold(value, name)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def _parse(text: str) -> dict[str, float]:
    """Split a text at its commas, and each part at its last ``=``."""
    thresholds: dict[str, float] = {}
    for part in text.split(','):
        word, equals, number = (piece.strip() for piece in part.rpartition('='))
        if not equals or not word:
            raise ValueError(
                f'{part.strip()!r} in {text!r} is not NAME=NUMBER: write thresholds as '
                '"cat=0.6, dog=0.4".'
            )
        (name,) = parse_class_names(word)
        if name in thresholds:
            raise ValueError(f'{text!r} holds two thresholds of {name}: leave one out.')
        thresholds[name] = parse_threshold(number, name)
    return thresholds
