"""Load Python files that are no part of a package: tools, scripts, other tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load_file(path, *, imports_siblings=False):
    """Return a Python file as a new module.

    It is in ``sys.modules``, where dataclasses and pickles look for it.

    Args:
        path (str | Path): The file, absolute or relative to the root of the repository.
        imports_siblings (bool): Whether it imports files beside it, as scripts do.
    """
    path = ROOT / path
    spec = importlib.util.spec_from_file_location(f'loaded_{path.stem}', path)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        if imports_siblings:
            patch.setattr(sys, 'path', [str(path.parent), *sys.path])
        spec.loader.exec_module(module)
    return module
