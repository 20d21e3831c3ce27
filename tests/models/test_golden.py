"""The golden tool itself: passes on the official values, fails on a wrong one."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / 'tests/data/golden').glob('*.npz'))


@pytest.fixture
def run_tool(monkeypatch, capsys):
    """Runs the tool in this process; gives its exit status, output and error output."""
    spec = importlib.util.spec_from_file_location(
        'check_golden', ROOT / 'tools/analysis_tools/check_golden.py'
    )
    tool = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, 'check_golden', tool)
    spec.loader.exec_module(tool)

    def run(path):
        monkeypatch.setattr(sys, 'argv', ['check_golden.py', str(path)])
        return tool.main(), *capsys.readouterr()

    return run


def test_files_are_there():
    assert [path.stem for path in FILES] == ['golden_two_stage', 'golden_wide']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_array_is_met(run_tool, path):
    status, output, errors = run_tool(path)
    assert status == 0, output + errors
    assert '42 of 42 arrays within tolerance' in output
    assert 'FAILED' not in output


def test_a_changed_or_unknown_array_fails(run_tool, tmp_path):
    with np.load(FILES[0]) as file:
        arrays = dict(file)
    arrays['image/pooled'] = arrays['image/pooled'] + 1e-3
    arrays['image/something_new'] = np.zeros(3)
    np.savez(tmp_path / 'changed.npz', **arrays)
    status, output, _ = run_tool(tmp_path / 'changed.npz')
    assert status == 1
    failed = [line.split()[0] for line in output.splitlines() if 'FAILED' in line]
    assert failed == ['image/pooled', 'image/something_new']


@pytest.mark.parametrize('content', [b'', b'not a zip file'])
def test_unreadable_file_is_one_sentence(run_tool, tmp_path, content):
    path = tmp_path / 'bad.npz'
    path.write_bytes(content)
    status, _, errors = run_tool(path)
    assert status == 2
    assert errors.startswith('error: ')
    assert len(errors.splitlines()) == 1
