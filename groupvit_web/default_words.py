"""The words that a page begins with, before a visitor types others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from groupvit_mmseg.checkpoints.config_syntax import parse_config
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.weight_files import read_weights
from groupvit_mmseg.text.vocabulary import is_background

EVERYDAY_WORDS = ('person', 'dog', 'cat', 'car', 'grass', 'sky', 'tree', 'building')
"""tuple[str, ...]: For models of which nothing else is known."""
_LARGEST = 40
"""int: Longer lists are those of a benchmark, and no beginning for a visitor."""


def default_words(source: str | Path) -> tuple[str, ...]:
    """Return the words that a model was validated with, if its file says so.

    Args:
        source (str | Path): The weights, as :func:`.locate` takes them.

    Raises:
        OSError: If there is no such file.
    """
    text = read_weights(locate(source)).config_text
    lists = [names for names in _class_names(text or '') if 1 < len(names) <= _LARGEST]
    return max(lists, key=len, default=EVERYDAY_WORDS)


def _class_names(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the lists named ``class_names`` in the text of a config, which is not run."""
    tree = parse_config(text)
    if tree is None:
        return
    keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
    for keyword in keywords:
        if keyword.arg != 'class_names' or not isinstance(keyword.value, ast.List | ast.Tuple):
            continue
        names = [one.value for one in keyword.value.elts if isinstance(one, ast.Constant)]
        words = tuple(name for name in names if isinstance(name, str))
        yield words[int(bool(words) and is_background(words[0])) :]
