"""Config files that cannot be read, and the configs of sets that cannot be used."""

import pytest
from mmengine.config import Config

from groupvit_mmseg.benchmark.sets import read_benchmark
from groupvit_mmseg.config_files import merge_options, read_config

BROKEN = [
    ('a = (\n', r"SyntaxError: '\(' was never closed"),
    ('a = 1\nb = c\n', "NameError: name 'c' is not defined, line 2"),
    ('a = 1 + "x"\n', 'TypeError: unsupported operand'),
]
UNUSABLE = [
    ('test_dataloader = [1]', 'has no test_dataloader with a data set'),
    ('test_dataloader = dict(batch_size=1)', 'has no test_dataloader with a data set'),
    ("test_dataloader = dict(dataset=dict(data_root='d'))", 'has no test_dataloader with a data'),
    (
        "test_dataloader = dict(dataset=dict(type='BaseSegDataset', metainfo=['cat']))",
        r"The metainfo of .*own.py is \['cat'\]",
    ),
    (
        "test_dataloader = dict(dataset=dict(type='BaseSegDataset', metainfo=None))",
        'names no classes or no folder',
    ),
]
NEW_STYLE = """
from mmseg.datasets import BaseSegDataset
test_dataloader = dict(
    dataset=dict(type=BaseSegDataset, metainfo=dict(classes=['cat', 'dog']), data_root='pets')
)
"""


@pytest.mark.parametrize('text, reason', BROKEN)
def test_a_broken_config_is_named_with_its_line(tmp_path, text, reason):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(ValueError, match=rf'The config .*own.py cannot be read \({reason}'):
        read_config(tmp_path / 'own.py')


def test_a_module_that_is_missing_is_an_import_error(tmp_path):
    (tmp_path / 'own.py').write_text("custom_imports = dict(imports=['not_there'])")
    with pytest.raises(ImportError, match='not_there'):
        read_config(tmp_path / 'own.py')


@pytest.mark.parametrize('text, reason', UNUSABLE)
def test_the_config_of_a_set_is_refused_in_a_sentence(tmp_path, text, reason):
    (tmp_path / 'own.py').write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_benchmark(tmp_path / 'own.py')


def test_a_set_may_be_of_the_new_kind_of_config(tmp_path):
    (tmp_path / 'own.py').write_text(NEW_STYLE)
    assert read_benchmark(tmp_path / 'own.py').class_set == ('cat', 'dog')


@pytest.mark.parametrize('key', ['a.3.b', 'a.b.c', 'depth.width', 'a.0.b.c.d', 'a.-1.b'])
def test_a_setting_that_fits_no_value_is_one_sentence(key):
    cfg = Config(dict(a=[dict(b=1)], depth=6))
    with pytest.raises(ValueError, match=f'The setting {key} does not fit the config'):
        merge_options(cfg, {key: 1})


def test_a_setting_of_any_number_of_dots_is_one_sentence():
    with pytest.raises(ValueError, match=r'The setting a.a.a.*has more than 50 dots'):
        merge_options(Config(dict(a=1)), {'.'.join('a' * 52): 1})
