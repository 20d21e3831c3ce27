"""The measurement of imports runs every command in a process of its own."""

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_import.py')


def test_the_table_has_every_command(tool, capsys):
    assert tool.main(['--runs', '1', '--modules', 'json', 'csv']) == 0
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=2)[0].strip() for line in lines] == [
        'python -c ""',
        'import json',
        'import csv',
        'groupvit --help',
    ]
    assert all(0 < float(line.split()[-2]) <= float(line.split()[-1]) for line in lines)


def test_a_command_runs_once_more_than_is_counted(tool, monkeypatch, capsys):
    calls = []
    times = iter([9.0, 9.0, 9.0, 3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(tool, 'seconds', lambda command: (calls.append(command), next(times))[1])
    assert tool.main(['--runs', '3', '--modules', 'json']) == 0
    assert len(calls) == 12
    assert capsys.readouterr().out.count('1.00     2.00') == 3


def test_wrong_input_is_one_sentence(tool, capsys):
    assert tool.main(['--runs', '1', '--modules', 'no_such_module']) == 2
    assert 'error: import no_such_module failed with status 1.' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        tool.main(['--runs', '0'])
    assert stop.value.code == 2
