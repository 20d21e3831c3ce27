"""The examples in docstrings run, and the classes and functions that users call have one."""

import doctest
import importlib
import pkgutil

import pytest
from mmengine.logging import MMLogger

import groupvit_mmseg

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def examples():
    """Every docstring of the package that has an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(groupvit_mmseg.__path__, 'groupvit_mmseg.'):
        module = importlib.import_module(info.name)
        yield from (test for test in finder.find(module) if test.examples)


EXAMPLES = sorted(examples(), key=lambda test: test.name)


@pytest.mark.parametrize('test', EXAMPLES, ids=lambda test: test.name)
def test_example_runs(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A logger that an example were the first to use would write into the output of the example.
    MMLogger.get_current_instance()
    printed = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=printed.append)
    assert not printed, ''.join(printed)
