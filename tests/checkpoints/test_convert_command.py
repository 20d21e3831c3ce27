"""``groupvit convert``: one command for all converters."""

import sys

import pytest

from groupvit_cli import app as command
from groupvit_mmseg.conversion import command_line


def call(monkeypatch, *args):
    """Exit status of a command line."""
    monkeypatch.setattr(sys, 'argv', ['groupvit', *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code or 0


def test_weights_are_converted_to_the_format_asked_for(
    monkeypatch, capsys, tmp_path, write_official
):
    source, target = write_official(tmp_path), tmp_path / 'plugin.pth'
    heads = ('--num-heads', 6, 6, 6, '--text-heads', 4)
    # The command reads the weights once and hands them on.
    monkeypatch.setattr(command_line, 'read_weights', lambda _: pytest.fail('read again'))
    assert call(monkeypatch, 'convert', source, target, *heads) == 0
    assert 'numeric check: largest difference' in capsys.readouterr().out
    assert target.is_file()
    assert target.with_suffix('.py').is_file()
    assert call(monkeypatch, 'convert', source, target, *heads) == 2
    assert '--overwrite' in capsys.readouterr().err
    assert call(monkeypatch, 'convert', target, tmp_path / 'again.pth') == 2
    assert 'has the plugin format already' in capsys.readouterr().err
