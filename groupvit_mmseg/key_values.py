"""KEY=VALUE on a command line, as MMEngine reads it, but with the spaces within words kept."""

from __future__ import annotations

import re
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

# Spaces beside commas and brackets separate; all others belong to a word, a sentence or a path.
_BETWEEN = re.compile(r'(?<=[,(\[])\s+|\s+(?=[,)\]])')
_KEPT = '\0'  # stands for a space where MMEngine would delete one; no argument can hold it


class KeyValueAction(DictAction):
    """``DictAction`` that leaves spaces in values, and ends with a usage message for a wrong form.

    ``DictAction`` deletes every space: the template ``a photo of a {}.`` becomes ``aphotoofa{}.``,
    the class ``traffic light`` and the path of a folder with a space become other names.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the settings of one option to those before it."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for text in values or ():
            key, equals, value = text.partition('=')
            if not (key and equals):
                parser.error(f'{option_string} {text}: write it as KEY=VALUE, without spaces at =.')
            try:
                options[key] = parse_value(value)
            except AssertionError:
                parser.error(f'{option_string} {text}: a bracket is not closed, or not opened.')
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """A number, ``True``, ``False``, ``None``, a text, or a list or tuple of these.

    Args:
        text (str): As typed: ``0.5``, ``a,b``, ``[a photo of a {}., a {}.]``, ``(1, 2)``.

    Raises:
        AssertionError: If brackets do not match.
    """
    kept = _BETWEEN.sub('', text.strip()).replace(' ', _KEPT)
    return _with_spaces(DictAction._parse_iterable(kept))


def _with_spaces(value: Any) -> Any:
    """The value with its spaces back."""
    if isinstance(value, str):
        return value.replace(_KEPT, ' ')
    if isinstance(value, list | tuple):
        return type(value)(_with_spaces(one) for one in value)
    return value
