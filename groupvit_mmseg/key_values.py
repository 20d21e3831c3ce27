"""KEY=VALUE on a command line, as MMEngine reads it, but with the spaces within words kept."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from mmengine.config import DictAction

# Spaces beside commas and brackets separate; all others belong to a word, a sentence or a path.
_SEPARATING_SPACES = re.compile(r'(?<=[,(\[])\s+|\s+(?=[,)\]])')
_SPACE_MARK = '\0'  # replaces spaces that MMEngine would delete; no argument can contain it

_MAX_DEPTH = 50  # of brackets; MMEngine's parser takes time and stack for each


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
    marked = _SEPARATING_SPACES.sub('', text.strip()).replace(' ', _SPACE_MARK)
    if _depth(marked) > _MAX_DEPTH:
        raise ValueError(f'there are more than {_MAX_DEPTH} brackets in brackets')
    try:
        return _restore_spaces(DictAction._parse_iterable(marked))
    except AssertionError as error:
        raise ValueError('brackets do not match') from error
    except RecursionError as error:  # MMEngine splits "a,(1,2)" without end
        raise ValueError('put the whole list into brackets, [a,(1,2)]') from error


def _depth(text: str) -> int:
    """Return how many brackets are open at most, whatever closes them."""
    depth = deepest = 0
    for character in text:
        depth = max(0, depth + (character in '([') - (character in ')]'))
        deepest = max(deepest, depth)
    return deepest


def _restore_spaces(value: object) -> object:
    """Replace the marks in a value by spaces."""
    if isinstance(value, str):
        return value.replace(_SPACE_MARK, ' ')
    if isinstance(value, list | tuple):
        return type(value)(_restore_spaces(item) for item in value)
    return value
