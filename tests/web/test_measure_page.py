"""The benchmark of the page."""

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_page.py')


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_the_table(tool, weights, mode, capsys):
    argv = ['--model', str(weights), '--mode', mode, '--side', '64', '--runs', '2']
    assert tool.main([*argv, '--encodes', '1', '--pamr-steps', '1']) == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert f'64 x 64, 10 words, {mode}, 1 steps of PAMR' in head
    assert [line.rsplit(maxsplit=3)[0].strip() for line in lines] == [
        'encode',
        'a new word',
        'threshold',
        'opacity',
        'pixel',
    ]
    for line in lines:
        median, high, longest = map(float, line.split()[-3:])
        assert 0 < median <= high <= longest


def test_wrong_input_is_one_sentence(tool, capsys):
    assert tool.main(['--model', 'nowhere.pth']) == 2
    assert 'There is no checkpoint at nowhere.pth' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        tool.main(['--runs', '0'])
