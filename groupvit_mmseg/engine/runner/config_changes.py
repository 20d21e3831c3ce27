"""What differs between two configs that travel as text; neither of them is executed."""

import ast
from collections.abc import Iterator

# What differs between any two runs, and decides nothing.
OF_ONE_RUN = ('work_dir', 'load_from', 'resume', 'launcher', 'experiment_name')
OF_ONE_RUN_TOO = ('visualizer', 'vis_backends', 'log_level', 'log_processor', 'dist_params')
ABSENT = 'not set'


def config_changes(before: str, now: str) -> list[str]:
    """Settings in which two configs differ.

    Args:
        before (str): ``pretty_text`` of a config.
        now (str): The same of another one.

    Returns:
        list[str]: One ``name.of.setting before -> now`` each, by name; nothing where one of the
        texts is no config.
    """
    first, second = (_settings(text) for text in (before, now))
    if not first or not second:
        return []
    names = sorted(name for name in first.keys() | second.keys() if not _of_one_run(name))
    pairs = ((name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names)
    return [f'{name} {old} -> {new}' for name, old, new in pairs if old != new]


def _of_one_run(name: str) -> bool:
    """Whether a setting is of one run, or of how it is watched."""
    return name.partition('.')[0] in OF_ONE_RUN + OF_ONE_RUN_TOO


def _settings(text: str) -> dict[str, str]:
    """Every value in a config by its dotted name, as text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {
        name: value
        for node in assigned
        if isinstance(node.targets[0], ast.Name)
        for name, value in _leaves(node.targets[0].id, node.value)
    }


def _leaves(name: str, node: ast.expr) -> Iterator[tuple[str, str]]:
    """Name and text of every value in ``dict(...)``, ``{...}`` and ``[...]``, of any depth."""
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
