"""The measurement of the losses computes what one of many ranks computes."""

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_losses.py')


def test_the_table_names_each_loss_and_skips_what_needs_too_much(tool, capsys):
    tool.main(['--ranks', '2', '--batches', '16', '--chunk-sizes', '4'])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ['contrastive', '16', '8', '4'],
        ['multi-label', '16', '8', '4'],
    ]
    tool.main(['--ranks', '2', '--batches', '16', '--limit-gib', '0'])
    assert capsys.readouterr().out.count('skipped: over --limit-gib') == 4


@pytest.mark.parametrize(
    'argv, message',
    [
        (['--batches', '0'], '--batches 0 must be at least 16'),
        (['--batches', '64', '8', '--ranks', '32'], '--batches 8 must be at least 32'),
        (['--ranks', '0'], '--ranks 0 must be at least 1'),
        (['--prompts', '0'], '--prompts 0 must be at least 1'),
        (['--chunk-sizes', '0'], '--chunk-sizes 0 must be at least 1'),
    ],
)
def test_numbers_without_a_measurement_are_refused(tool, capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        tool.parse_args(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
