"""Comparison of two configs as text, without executing them."""

import ast
from collections.abc import Iterator

# Settings that differ between runs without an effect on the result.
SETTINGS_OF_A_RUN = ('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name')
SETTINGS_OF_LOGGING = ('visualizer', 'vis_backends', 'log_level', 'log_processor', 'dist_params')
ABSENT = 'not set'


def config_changes(before: str, now: str) -> list[str]:
    """Return the settings in which two configs differ.

    Args:
        before (str): ``pretty_text`` of a config.
        now (str): ``pretty_text`` of another config.

    Returns:
        list[str]: ``name.of.setting before -> now`` for each, sorted by name; empty if one of the
        texts is not a config.

    Example:
        >>> config_changes('model = dict(depth=3)', 'model = dict(depth=4)')
        ['model.depth 3 -> 4']
    """
    first, second = (_settings(text) for text in (before, now))
    if not first or not second:
        return []
    names = sorted(name for name in first.keys() | second.keys() if not _is_ignored(name))
    pairs = ((name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names)
    return [f'{name} {old} -> {new}' for name, old, new in pairs if old != new]


def _is_ignored(name: str) -> bool:
    """Return whether a setting has no effect on the result."""
    return name.partition('.')[0] in SETTINGS_OF_A_RUN + SETTINGS_OF_LOGGING


def _settings(text: str) -> dict[str, str]:
    """Return the text of every value in a config by its dotted name."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {
        name: value
        for node in assignments
        if isinstance(node.targets[0], ast.Name)
        for name, value in _leaves(node.targets[0].id, node.value)
    }


def _leaves(name: str, node: ast.expr) -> Iterator[tuple[str, str]]:
    """Return name and text of every value in nested ``dict(...)``, ``{...}`` and ``[...]``."""
    inner: list[tuple[str, ast.expr]] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        inner = [(str(keyword.arg), keyword.value) for keyword in node.keywords]
    elif isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        inner = [(ast.unparse(key).strip('\'"'), value) for key, value in pairs if key is not None]
    elif isinstance(node, ast.List) and any(isinstance(e, ast.Call | ast.Dict) for e in node.elts):
        inner = [(str(index), value) for index, value in enumerate(node.elts)]
    if not inner:
        yield name, ast.unparse(node)
    for key, value in inner:
        yield from _leaves(f'{name}.{key}', value)
