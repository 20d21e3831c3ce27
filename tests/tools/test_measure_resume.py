import re

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    """The script as a module."""
    return load_file('tools/benchmarks/measure_resume.py')


def test_measures_at_the_last_whole_batch_before_the_place(tool, tiny_config, tmp_path, capsys):
    tiny_config.dump(tmp_path / 'config.py')
    tool.main([str(tmp_path / 'config.py'), '--at', '23'])
    printed = capsys.readouterr().out
    assert 'first batch of an epoch at 16 samples: ' in printed
    assert re.search(r'100,000 samples cost -?[\d.]+ s, -?[\d.]+ s of the processor', printed)


def test_the_batch_it_waits_for_is_the_one_at_the_place(tool, tiny_config):
    loader = tool.build_loader(tiny_config)
    in_order = [batch['keys'] for batch in loader]
    tool.seconds_of_first_batch(loader, 16)
    assert loader.sampler.start == 16
    assert next(iter(loader))['keys'] == in_order[2]


def test_less_than_a_batch_is_refused(tool, tiny_config, tmp_path, capsys):
    tiny_config.dump(tmp_path / 'config.py')
    assert tool.main([str(tmp_path / 'config.py'), '--at', '7']) == 2
    assert '7 samples are no whole batch' in capsys.readouterr().err
