"""The plain values of a config's text, by its syntax tree: nothing in it is executed."""

import ast
from collections.abc import Sequence

Values = dict[str, object]

UNREADABLE = object()
"""object: Stands for every value that is not plain."""


def parse_config(text: str) -> ast.Module | None:
    """Return the syntax tree of a text; None if it is none."""
    try:
        return ast.parse(text)
    # Brackets in brackets without end raise one of the last two.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def assigned(tree: ast.Module, name: str) -> list[ast.expr]:
    """Return the values of all statements ``name = ...``."""
    return [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == name for target in node.targets)
    ]


def literals(node: ast.Call | ast.Dict) -> Values:
    """Return the values in ``dict(...)`` or ``{...}`` whose keys are texts."""
    if isinstance(node, ast.Call):
        return {keyword.arg: literal(keyword.value) for keyword in node.keywords if keyword.arg}
    pairs = zip(node.keys, node.values, strict=True)
    return {
        key.value: literal(value)
        for key, value in pairs
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }


def literal(node: ast.expr) -> object:
    """Return a plain value; a class by its name, the values in ``dict(...)``."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        return literals(node)
    try:
        if isinstance(node, ast.Name | ast.Attribute):
            return ast.unparse(node)
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return UNREADABLE


def of_type(configs: Sequence[Values], *types: str) -> Values | None:
    """Return the first config of one of the types, with or without a module before its name."""
    for config in configs:
        kind = config.get('type')
        if isinstance(kind, str) and kind.rpartition('.')[2] in types:
            return config
    return None


def is_readable(value: object) -> bool:
    """Return whether a value is plain, and all values in it."""
    if isinstance(value, dict):
        return all(is_readable(each) for each in value.values())
    return value is not UNREADABLE


def entry(node: ast.expr | None, name: str) -> ast.expr | None:
    """Return the value of a key of ``dict(...)`` or ``{...}``; None where there is none."""
    if isinstance(node, ast.Call):
        return next((each.value for each in node.keywords if each.arg == name), None)
    pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
    return next(
        (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == name), None
    )
