"""Mutated inputs of every parser: documented errors only, bounded memory and time, no other file.

The default suite gives each parser a few inputs; ``make test-faults`` gives many, and
``tests/faults/campaign.py`` any number.
"""

import os
from pathlib import Path

import pytest

from loading import load_file

HERE = Path(__file__).resolve().parent
QUICK = 60
MANY = int(os.environ.get('FAULT_INPUTS', '5000'))
campaign = load_file(HERE / 'campaign.py')
NAMES = list(campaign.module('parsers').Parsers)


@pytest.mark.parametrize('name', NAMES)
def test_a_few_inputs(name):
    report = campaign.run(name, range(QUICK))
    assert report.faults == []
    assert sum(report.outcomes.values()) == QUICK


@pytest.mark.faults
@pytest.mark.parametrize('name', NAMES)
def test_many_inputs(name):
    report = campaign.run(name, range(MANY))
    assert report.faults == []
    assert sum(report.outcomes.values()) == MANY
    # Inputs that are refused, and some that are not: the seeds are valid and changes small.
    assert report.outcomes['returned'] > 0


@pytest.mark.parametrize('name', NAMES)
def test_valid_files_are_read(name, tmp_path):
    parser = campaign.module('parsers').Parsers[name]
    read = 0
    for number, data in enumerate(parser.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            parser.run(data, folder)
            read += 1
        except parser.errors:
            continue
    assert read > 0


def _breaks(kind):
    """A parser that breaks one promise, for the campaign to notice."""

    def run(data, folder):
        if kind == 'undocumented':
            raise KeyError('x')
        if kind == 'memory':
            try:
                bytearray(2**30)
            except MemoryError as error:
                raise ValueError('it is damaged') from error
        if kind == 'hang':
            while True:
                pass
        if kind == 'crash':
            os.abort()
        if kind == 'escape':
            (folder.parent / 'x').touch()

    return run


@pytest.mark.parametrize('kind', ['undocumented', 'memory', 'crash', 'escape', 'hang'])
def test_every_kind_of_fault_is_noticed(kind, monkeypatch):
    parsers = campaign.module('parsers')
    monkeypatch.setitem(parsers.Parsers, 'broken', parsers.Parser(_breaks(kind), lambda: [b'abc']))
    monkeypatch.setattr(campaign, 'SECONDS', 0.2)
    report = campaign.run('broken', range(2), warm_up=False)
    assert [fault.kind for fault in report.faults] == [kind, kind]


def test_faulty_inputs_are_written(monkeypatch, tmp_path, capsys):
    parsers = campaign.module('parsers').Parsers
    broken = parsers['cfg-options']._replace(run=_breaks('undocumented'))
    monkeypatch.setitem(parsers, 'cfg-options', broken)
    arguments = ['--parser', 'cfg-options', '--count', '2', '--first', '7', '--out', str(tmp_path)]
    assert campaign.main(arguments) == 1
    assert capsys.readouterr().out.startswith('cfg-options: 2 undocumented')
    mutated, seeds = campaign.module('mutations').mutated, campaign.material('cfg-options')
    written = {path.name: path.read_bytes() for path in (tmp_path / 'cfg-options').iterdir()}
    assert written == {f'{number}.bin': mutated(seeds, number) for number in (7, 8)}
