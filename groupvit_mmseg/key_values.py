"""KEY=VALUE on a command line, as MMEngine reads it, but with the spaces within words kept."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import DictAction

# Spaces beside commas and brackets separate; all others belong to a word, a sentence or a path.
_SEPARATING_SPACES = re.compile(r'(?<=[,(\[])\s+|\s+(?=[,)\]])')
_PAIRS = {'(': ')', '[': ']'}

_MAX_DEPTH = 50


class KeyValueAction(DictAction):
    """``DictAction`` that keeps spaces in values and refuses a wrong form with a usage message.

    ``DictAction`` deletes every space: the template ``a photo of a {}.`` becomes ``aphotoofa{}.``,
    the class ``traffic light`` and the path of a folder with a space become other names.

    Example:
        >>> parser = ArgumentParser()
        >>> _ = parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction)
        >>> parser.parse_args(['--cfg-options', 'a.b=0.5', 'names=[traffic light, sky]'])
        Namespace(cfg_options={'a.b': 0.5, 'names': ['traffic light', 'sky']})
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the settings of one option to those of the options before it."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in map(str, values or ()):
            key, equals, value = text.partition('=')
            if not (key and equals):
                parser.error(f'{option_string} {text}: write it as KEY=VALUE, without spaces at =.')
            try:
                options[key] = parse_value(value)
            except ValueError as error:
                parser.error(f'{option_string} {text:.200}: {error}.')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> object:
    """Parse a number, ``True``, ``False``, ``None``, a text, or a list or tuple of these.

    Args:
        text (str): As typed: ``0.5``, ``a,b``, ``[a photo of a {}., a {}.]``, ``(1, 2)``.

    Raises:
        ValueError: If brackets do not match, or are nested too deep.

    Example:
        >>> parse_value('(1, [hot dog, None])')
        (1, ['hot dog', None])
    """
    text = _SEPARATING_SPACES.sub('', text.strip())
    if _depth(text) > _MAX_DEPTH:
        raise ValueError(f'there are more than {_MAX_DEPTH} brackets in brackets')
    return _parse(text)


def _parse(text: str) -> object:
    """Parse as MMEngine, whose own parser takes exponential time or never ends for some texts."""
    text = text.strip('\'"')
    if len(text) > 1 and _PAIRS.get(text[0]) == text[-1]:
        values = [_parse(part) for part in _split(text[1:-1])]
        return tuple(values) if text[0] == '(' else values
    if ',' not in text:
        return DictAction._parse_int_float_bool(text)
    parts = _split(text)
    if parts == [text]:  # the comma is in brackets: f(a,b) is a text
        return text
    return [_parse(part) for part in parts]


def _split(text: str) -> list[str]:
    """Split at the commas outside of brackets; a last comma separates nothing."""
    parts, start, open_brackets = [], 0, []
    for index, character in enumerate(text):
        if character in _PAIRS:
            open_brackets.append(_PAIRS[character])
        elif character in _PAIRS.values():
            if not open_brackets or open_brackets.pop() != character:
                raise ValueError('brackets do not match')
        elif character == ',' and not open_brackets:
            parts.append(text[start:index])
            start = index + 1
    if open_brackets:
        raise ValueError('brackets do not match')
    return [*parts, text[start:]] if start < len(text) else parts


def _depth(text: str) -> int:
    """Return how many brackets are open at most, whatever closes them."""
    depth = deepest = 0
    for character in text:
        depth = max(0, depth + (character in _PAIRS) - (character in _PAIRS.values()))
        deepest = max(deepest, depth)
    return deepest
