"""The examples in the docstrings of the tabs' modules run."""

import doctest
import importlib

import pytest

MODULES = (
    'charts',
    'evaluation_results',
    'folders',
    'fragments',
    'growing_file',
    'training_log',
    'training_view',
)


@pytest.mark.parametrize('name', MODULES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f'groupvit_web.{name}')
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert tests
    failures = []
    for test in tests:
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=failures.append)
    assert failures == []
