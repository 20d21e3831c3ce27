"""Words as the page sends them: a list of chips, each with other names and a colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypedDict, TypeGuard

from groupvit_mmseg.palettes import palette
from groupvit_web.errors import PageError

COLOURS = tuple('#{:02x}{:02x}{:02x}'.format(*colour) for colour in palette(48).tolist())
"""tuple[str, ...]: Colours of new words, ``#rrggbb``."""
_COLOUR = re.compile(r'#[0-9a-fA-F]{6}')


class ChipValue(TypedDict):
    """A chip in the browser."""

    word: str
    aliases: list[str]
    colour: str


class Chip(NamedTuple):
    """A word of the list.

    Attributes:
        word (str): The word.
        aliases (tuple[str, ...]): Other names for the same class.
        colour (tuple[int, int, int]): RGB, 0 to 255.
    """

    word: str
    aliases: tuple[str, ...]
    colour: tuple[int, int, int]


def chip_values(words: Iterable[str]) -> list[ChipValue]:
    """Return chips for words, each in a colour of its own.

    Args:
        words (Iterable[str]): The words; ``'cat = kitten'`` adds other names.

    Example:
        >>> chip_values(['cat = kitten', 'dog'])[0]
        {'word': 'cat', 'aliases': ['kitten'], 'colour': '#e6194b'}
    """
    chips: list[ChipValue] = []
    for index, text in enumerate(words):
        word, *aliases = (name.strip() for name in text.split('='))
        chips.append({'word': word, 'aliases': aliases, 'colour': COLOURS[index % len(COLOURS)]})
    return chips


def read_chips(value: object) -> tuple[Chip, ...]:
    """Check what a browser sent as the list of words.

    Args:
        value (object): A list of :class:`ChipValue`, or None for no word.

    Raises:
        PageError: If it is something else.

    Example:
        >>> read_chips([{'word': 'cat', 'aliases': [], 'colour': '#00ff80'}])
        (Chip(word='cat', aliases=(), colour=(0, 255, 128)),)
    """
    if value is None:
        return ()
    if not _is_list(value):
        raise PageError('The words are no list: reload the page.')
    return tuple(_read_chip(entry) for entry in value)


def _read_chip(entry: object) -> Chip:
    """Check one chip."""
    if not isinstance(entry, Mapping):
        raise PageError('A word of the list has no name: reload the page.')
    word, aliases, colour = (entry.get(key) for key in ('word', 'aliases', 'colour'))
    names = [name for name in aliases if isinstance(name, str)] if _is_list(aliases) else []
    if not isinstance(word, str) or not _is_list(aliases) or len(names) != len(aliases):
        raise PageError('A word of the list is no text: reload the page.')
    if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
        raise PageError(f'The colour of "{word}" is none: choose it again.')
    red, green, blue = bytes.fromhex(colour[1:])
    return Chip(word, tuple(names), (red, green, blue))


def _is_list(value: object) -> TypeGuard[list[object]]:
    """Tell whether a value is a list."""
    return isinstance(value, list)
