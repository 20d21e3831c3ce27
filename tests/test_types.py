"""Annotations name real types: ``Any`` in few of them, and in none without a reason."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 0.01
"""float: Share of the parameters whose annotation may contain ``Any``."""


def parameters(path):
    """Annotations of a file's parameters but ``self`` and ``cls``; None where there is none."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            args = node.args
            rest = [each for each in (args.vararg, args.kwarg) if each]
            for arg in [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]:
                if arg.arg not in ('self', 'cls'):
                    yield arg.annotation


def is_any(annotation):
    """Whether an annotation contains ``Any``."""
    return annotation is not None and any(
        isinstance(node, ast.Name) and node.id == 'Any' for node in ast.walk(annotation)
    )


@pytest.mark.parametrize('folder', ['groupvit_mmseg', 'groupvit_web', 'tools', 'demo'])
def test_few_parameters_are_any(folder):
    annotations = [a for path in (ROOT / folder).rglob('*.py') for a in parameters(path)]
    assert len(annotations) > 20
    assert sum(map(is_any, annotations)) <= LIMIT * len(annotations)


def test_parameters_of_the_package_are_annotated():
    bare = {
        path.name: count
        for path in sorted((ROOT / 'groupvit_mmseg').rglob('*.py'))
        if (count := sum(annotation is None for annotation in parameters(path)))
    }
    assert not bare
