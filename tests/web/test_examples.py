"""The examples in the docstrings of the page run."""

import doctest
import importlib
from pathlib import Path

import pytest

import groupvit_web

MODULES = sorted(
    path.stem
    for path in Path(groupvit_web.__file__).parent.glob('*.py')
    if '>>> ' in path.read_text(encoding='utf-8')
)


def test_there_are_examples():
    assert {'uploads', 'byte_cache', 'deadline'} <= set(MODULES)


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f'groupvit_web.{name}')
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testmod(module, optionflags=flags)
    assert result.attempted > 0
    assert result.failed == 0
