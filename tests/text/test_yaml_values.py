"""YAML as values: the same from libyaml and from PyYAML's parser, and a megabyte in seconds."""

import random
import re
import time
from contextlib import suppress

import pytest
import yaml

from groupvit_mmseg.text import yaml_values
from groupvit_mmseg.text.class_file_yaml import parse_json, parse_yaml
from groupvit_mmseg.text.yaml_values import LONGEST, MAX_DEPTH, read_yaml

both_parsers = pytest.mark.parametrize('parser', ['libyaml', 'PyYAML'])


@pytest.fixture
def events(parser, monkeypatch):
    """Reads with one of the parsers."""
    if parser == 'PyYAML':
        monkeypatch.setattr(yaml_values, '_Events', yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip('PyYAML was built without libyaml')


VALUES = [
    '',
    '# nothing\n',
    'cat',
    '- cat\n- "no"\n- no\n- 1\n- 1.5\n- ~\n- 12:30\n- 2026-01-01\n- 0x1F\n- .inf',
    "- 'a ''b'' c'\n- \"\\x41\\u00e9\"\n- |\n  two\n  lines\n- >\n  one\n  line",
    'classes: [background, {name: cat, words: [kitten, tomcat], threshold: 0.5}]\nbg_thresh: 0.9',
    '{a: {b: [c, {d: e}]}, ? f : g, 1: 2, null: 3}',
    '- !!str 5\n- !!int "5"\n- !!float 5\n- !!bool yes\n- !!seq [a]\n- !!map {a: b}\n- ! 5',
    '- &one cat\n- &two [a, b]',
    '- C# book\n- a:b\n- "a: b"\n- -1\n- --\n- a - b',
    '---\n- cat\n...\n',
    '%YAML 1.1\n---\n- cat\n',
    '- \u00e9\n- \U0001f408\n- \u732b',
    '-\n- []\n- {}\n- ""\n',
]


@both_parsers
@pytest.mark.parametrize('text', VALUES)
def test_values_are_those_of_the_safe_loader(events, text):
    value, expected = read_yaml(text), yaml.safe_load(text)
    assert repr(value) == repr(expected)


@both_parsers
@pytest.mark.parametrize(
    'text,sentence',
    [
        ('a: 1\nb: 2\na: 3', "line 3: the key 'a' is there twice."),
        ('- &one cat\n- *one', 'line 2: *one is an alias: write out what it stands for.'),
        (
            '- cat\n- !!python/name:os.getcwd',
            'line 2: could not determine a constructor for the tag',
        ),
        (
            '- cat\n- !!python/object/apply:os.getcwd []',
            'line 2: could not determine a constructor',
        ),
        ('- !!set {a}', 'line 1: could not determine a constructor for the tag'),
        ('- cat\n---\n- dog', 'line 2: but found another document.'),
        ('cat\n--- |\n dog', 'line 2: but found another document.'),
        ('? [a]\n: b', 'line 1: found unhashable key.'),
        ('- !!int x', 'not valid YAML (invalid literal'),
        ('- !!binary x', 'line 1: '),
        ('- cat\n- "dog', 'line '),
        ('- cat\n - dog: - x', 'line 2: '),
        ('a: b: c', 'line 1: mapping values are not allowed'),
        ('- \x07', ''),
        ('[' * (MAX_DEPTH + 1), 'not a class list: it has lists in lists without end.'),
        ('[' * 200_000, 'not a class list: it has lists in lists without end.'),
        ('- ' * 200_000, 'not a class list: it has lists in lists without end.'),
        ('{a: ' * 400, 'not a class list: it has lists in lists without end.'),
        ('- !!int ' + '1:' * LONGEST + '1', 'line 1: a value of 201 characters is no text.'),
        ('- !!float ' + '9' * 500_000, 'line 1: a value of 500000 characters is no text.'),
    ],
)
def test_what_is_not_read_is_one_sentence(events, text, sentence):
    with pytest.raises(ValueError, match='^' + re.escape(sentence)) as error:
        read_yaml(text)
    assert '\n' not in str(error.value)


@both_parsers
def test_the_depth_below_the_limit_is_read(events):
    value = read_yaml('[' * (MAX_DEPTH - 1) + ']' * (MAX_DEPTH - 1))
    for _ in range(MAX_DEPTH - 2):
        (value,) = value
    assert value == []


def test_a_number_of_many_digits_is_a_text():
    """PyYAML's constructor takes hours for a megabyte of digits to the base of 60."""
    text = '1:' * 400_000 + '1'
    assert read_yaml(f'- {text}') == [text]


def test_both_parsers_read_the_same_of_random_texts(monkeypatch):
    if not yaml.__with_libyaml__:
        pytest.skip('PyYAML was built without libyaml')
    chance, pieces = (
        random.Random(1),
        [*'abc', '- ', ': ', '\n', '  ', '[', ']', '{', '}', ', ', '"'],
    )
    read = 0
    for _ in range(3000):
        text = ''.join(chance.choice(pieces) for _ in range(chance.randrange(1, 14)))
        values = []
        for parser in (yaml.CSafeLoader, yaml.SafeLoader):
            monkeypatch.setattr(yaml_values, '_Events', parser)
            try:
                values.append(repr(read_yaml(text)))
            except ValueError:
                values.append(None)
        if None not in values:
            read += 1
            assert values[0] == values[1], text
    assert read > 300


BYTES = 2**20 - 64


def filled(unit, head='', tail=''):
    """A megabyte of a unit."""
    return head + unit * ((BYTES - len(head) - len(tail)) // len(unit)) + tail


LARGE = {
    'a list of one word': filled('- a\n'),
    'a list of words': ''.join(f'- w{number}\n' for number in range(110_000))[:BYTES],
    'one line': filled('a,', '[', 'a]'),
    'empty lists': filled('[],', '[', '[]]'),
    'mappings': filled('- name: a\n'),
    'lists to the limit': filled('[' * 90 + ']' * 90 + ',', '[', '1]'),
    'digits to the base of 60': filled('1:', '- ', '1'),
}


@pytest.mark.slow
@pytest.mark.parametrize('kind', LARGE)
def test_a_megabyte_of_yaml_takes_seconds(kind):
    if not yaml.__with_libyaml__:
        pytest.skip('PyYAML was built without libyaml')
    assert seconds_of(parse_yaml, LARGE[kind]) < 6


def test_a_part_of_a_megabyte_takes_seconds():
    if not yaml.__with_libyaml__:
        pytest.skip('PyYAML was built without libyaml')
    assert seconds_of(parse_yaml, LARGE['one line'][: 2**18] + ']') < 2


def test_json_takes_seconds():
    assert seconds_of(parse_json, '["a"' + ', "a"' * 2**16 + ']') < 2


def seconds_of(parse, text):
    """Processor time of a reader, which may refuse."""
    begin = time.process_time()
    with suppress(ValueError):
        parse(text)
    return time.process_time() - begin


@pytest.mark.parametrize('text', ['a: !!seq sky', '- !!map x', '!!seq cat', '- !!set x'])
def test_a_tag_of_a_list_on_a_scalar_is_one_sentence(text):
    with pytest.raises(ValueError, match=r'line 1: expected a (sequence|mapping) node'):
        read_yaml(text)
