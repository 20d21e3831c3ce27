"""KEY=VALUE on command lines."""

import argparse
import random
import re
from pathlib import Path

import pytest
from mmengine.config import DictAction

from groupvit_mmseg.key_values import KeyValueAction, parse_value

TOOLS = Path(__file__).resolve().parents[1] / 'tools'
VALUES = [
    ('a photo of a {}.', 'a photo of a {}.'),
    ('[a photo of a {}., a {} (close up), {}]', ['a photo of a {}.', 'a {} (close up)', '{}']),
    ('traffic light, sky', ['traffic light', 'sky']),
    ('/data/my sets/VOC 2012', '/data/my sets/VOC 2012'),
    ('(1, [2, 0.5], None)', (1, [2, 0.5], None)),
    ("['traffic light', 'hot dog']", ['traffic light', 'hot dog']),
    ('1e-3', 0.001),
    ('false', False),
    (' 7 ', 7),
]


@pytest.mark.parametrize('text, expected', VALUES)
def test_values_keep_the_spaces_of_words_and_paths(text, expected):
    assert parse_value(text) == expected


def parser():
    parser = argparse.ArgumentParser()
    parser.add_argument('--change', nargs='+', action=KeyValueAction, default={})
    return parser


def test_settings_of_several_options_are_joined():
    args = parser().parse_args(['--change', 'a=1', 'b=x y', '--change', 'a=2', 'c=d=e'])
    assert args.change == {'a': 2, 'b': 'x y', 'c': 'd=e'}


@pytest.mark.parametrize('text', ['bg_thresh', '=1', 'sizes=[1,2'])
def test_wrong_forms_end_with_a_sentence(text, capsys):
    with pytest.raises(SystemExit) as end:
        parser().parse_args(['--change', text])
    assert end.value.code == 2
    assert re.search(rf'--change {re.escape(text)}: \w', capsys.readouterr().err)


def test_every_tool_reads_settings_so():
    sources = {path.name: path.read_text() for path in TOOLS.rglob('*.py')}
    assert any('action=KeyValueAction' in text for text in sources.values())
    assert [name for name, text in sources.items() if 'DictAction' in text] == []


@pytest.mark.parametrize(
    'text, message',
    [
        ('x=[1,2)', 'brackets do not match'),
        ('x=' + '[' * 51 + ']' * 51, 'more than 50 brackets'),
        ('x=[1,(2]', 'brackets do not match'),
    ],
)
def test_brackets_that_cannot_be_read_are_one_sentence(text, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--change', nargs='+', action=KeyValueAction)
    with pytest.raises(SystemExit):
        parser.parse_args(['--change', text])
    assert message in capsys.readouterr().err


def test_a_comma_within_brackets_of_a_text_does_not_split_it():
    # MMEngine's own parser recurses without end here.
    assert parse_value('resize(8,9)') == 'resize(8,9)'
    assert parse_value('a,resize(8,9),(1, 2)') == ['a', 'resize(8,9)', (1, 2)]


def test_random_texts_are_read_as_by_mmengine():
    rng, equal = random.Random(0), 0
    for _ in range(3000):
        text = ''.join(rng.choice('ab1.,,[]()') for _ in range(rng.randrange(1, 8)))
        try:
            expected = DictAction._parse_iterable(text)
        except (AssertionError, RecursionError):
            continue
        try:
            found = parse_value(text)
        except ValueError:  # brackets in a wrong order, which MMEngine only counts
            assert any(mark in text for mark in '()[]')
            continue
        assert found == expected or found != found, text
        equal += 1
    assert equal > 1500
