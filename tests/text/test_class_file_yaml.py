"""Class files in YAML and JSON: a class list, or one sentence with the file's name."""

import json

import pytest

from groupvit_mmseg.text import class_file
from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_list import make_class_list

FULL = """
classes:
  - background
  - a cat
  - name: dog
    words: [puppy, hound]
    threshold: 0.6
    templates: ["a {} at play.", "a {}."]
  - C# book
  - "no"     # quoted: a word
  - '7'
background_words: [sky, the wall]
bg_thresh: 0.9
templates: identity
alias_pooling: mean
"""
EXPECTED = dict(
    class_names=('background', 'cat', 'dog', 'C# book', 'no', '7'),
    with_background=True,
    background_words=('sky', 'wall'),
    aliases={'dog': ('puppy', 'hound')},
    class_templates={'dog': ('a {} at play.', 'a {}.')},
    bg_thresh=0.9,
    templates=('{}',),
    alias_pooling='mean',
    class_thresholds={'dog': 0.6},
)


def read(tmp_path, content, name='classes.yaml'):
    (tmp_path / name).write_text(content, encoding='utf-8')
    return read_class_file(tmp_path / name)


@pytest.mark.parametrize('name', ['classes.yaml', 'classes.yml', 'CLASSES.YAML', 'c.json'])
def test_every_field_of_a_class_list_can_be_written_down(tmp_path, name):
    content = FULL
    if name.endswith('.json'):
        dog = dict(name='dog', words=['puppy', 'hound'], threshold=0.6)
        dog['templates'] = ['a {} at play.', 'a {}.']
        content = json.dumps(
            dict(
                classes=['background', 'a cat', dog, 'C# book', 'no', '7'],
                background_words=['sky', 'the wall'],
                bg_thresh=0.9,
                templates='identity',
                alias_pooling='mean',
            )
        )
    file = read(tmp_path, content, name)
    assert file == EXPECTED
    assert make_class_list(**file)._asdict() == EXPECTED


@pytest.mark.parametrize(
    'name, content',
    [
        ('c.yaml', '- cat\n- name: dog\n  words: [puppy]\n'),
        ('c.yaml', 'classes: [cat, {name: dog, words: [puppy]}]'),
        ('c.json', '["cat", {"name": "dog", "words": ["puppy"]}]'),
        ('c.txt', 'cat\ndog, puppy'),
    ],
)
def test_a_list_of_names_means_the_same_in_every_format(tmp_path, name, content):
    assert read(tmp_path, content, name) == dict(
        class_names=('cat', 'dog'),
        with_background=False,
        background_words=(),
        aliases={'dog': ('puppy',)},
        class_templates={},
    )


def test_a_first_class_called_background_may_wait_for_a_threshold(tmp_path):
    file = read(tmp_path, '- Background\n- cat')
    assert (file['class_names'], file['with_background']) == (('background', 'cat'), True)
    assert 'bg_thresh' not in file


def test_half_a_character_of_json_is_no_name(tmp_path):
    with pytest.raises(ValueError, match='class 1 has half a character in'):
        read(tmp_path, '["\\ud800", "cat"]', 'c.json')


@pytest.mark.parametrize(
    'content, message',
    [
        ('- cat\n- no', 'class 2 is read as False, no text: put quotation marks around it'),
        ('- 1', 'class 1 is read as 1, no text'),
        ('- 12:30', 'class 1 is read as 750, no text'),
        ('- 2026-01-01', r'class 1 is read as datetime\.date.*quotation marks'),
        ('- cat\n-\n', 'class 2 is empty'),
        ('- cat: kitten', "class 1: a class has no key 'cat': it has name, words, threshold, "),
        ('- {name: cat, word: [tom]}', r"no key 'word' \(did you mean words\?\)"),
        ('- {words: [tom]}', 'class 1 has no name'),
        ('- {name: cat, words: tom}', "class 1 is 'tom': give a list"),
        ('- {name: cat, words: [5]}', 'a word of class 1 is read as 5'),
        ('- {name: cat, templates: [a photo]}', 'no place for the word'),
        ('- [cat, dog]', "class 1 is \\['cat', 'dog'\\], where a name belongs"),
        ('- cat, kitten', "class 1 has ',' in 'cat, kitten': list each word by itself"),
        ('- "cat\\u200b"', 'list each word by itself'),
        ('- cat\n- Cat', "'cat' and 'Cat', which are one word"),
        ('- cat\n- background', 'the background is label 0'),
        ('- {name: background, words: [sky]}\n- cat', 'use background_words'),
        ('- background', 'no class to look for besides the background'),
        ('cat', "classes is 'cat': give a list"),
        ('', 'names no class'),
        ('classes: []', 'names no class'),
        ('classes: [cat]\nbg_tresh: 0.5', r"no key 'bg_tresh' \(did you mean bg_thresh\?\)"),
        ('class_names: [cat]', r"no key 'class_names' \(did you mean classes\?\)"),
        ('no: [cat]', 'a class file has no key False: it has classes, background_words'),
        ('classes: [cat]\nbg_thresh: 0.5', 'need a background: call the first class background'),
        ('classes: [background, cat]\nbg_thresh: 7', r'bg_thresh = 7.0 is outside \[0, 1\]'),
        ('classes: [background, cat]\nbg_thresh: "7"', 'Unknown background threshold preset'),
        ('classes: [cat]\ntemplates: imagenet', "no template set 'imagenet'"),
        ('classes: [cat]\nalias_pooling: median', "neither 'max' nor 'mean'"),
        ('classes: [cat]\nclasses: [dog]', "line 2: the key 'classes' is there twice"),
        ('- &one cat\n- *one', r'line 2: \*one is an alias: write out what it stands for'),
        ('- !!python/object/apply:os.getcwd []', 'line 1: could not determine a constructor'),
        ('- !!int x', 'not valid YAML'),
        ('- [cat', r'line [12]: '),
        ('- cat\n---\n- dog', 'line 2: '),
        ('[' * 20_000, 'has lists in lists without end'),
        ('- {name: cat, threshold: 0.5}', 'threshold of cat needs a background'),
        ('- background\n- {name: cat, threshold: 2}', r'2 of cat is outside \[0, 1\]'),
        ('- background\n- {name: cat, threshold: no}', 'False of cat is no number'),
        ('- {name: background, threshold: 0.5}\n- cat', 'use bg_thresh'),
    ],
)
def test_a_file_that_is_no_class_list_is_one_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert '\n' not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / 'classes.yaml'))


@pytest.mark.parametrize(
    'content, message',
    [
        ('["cat",\n "dog"', 'line 2: not valid JSON'),
        ('{"classes": ["cat"], "classes": ["dog"]}', "the key 'classes' is there twice"),
        ('[true]', 'class 1 is read as True'),
        ('[' * 200_000, 'lists in lists'),
    ],
)
def test_json_that_is_no_class_list_is_one_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content, 'classes.json')


def test_a_file_of_many_bytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(class_file, 'MAX_BYTES', 10)
    for name in ('classes.yaml', 'classes.txt'):
        with pytest.raises(ValueError, match='more than 10 bytes: this is no class file'):
            read(tmp_path, '- a long name\n', name)


def test_a_choice_on_a_command_line_leaves_thresholds_out(tmp_path):
    (tmp_path / 'c.yaml').write_text('classes: [background, cat]\nbg_thresh: 0.5')
    file = read_class_choice(str(tmp_path / 'c.yaml'))
    assert (file['class_names'], file['with_background']) == (('cat',), False)
    assert 'bg_thresh' not in file
    (tmp_path / 'c.yaml').write_text(FULL)
    file = read_class_choice(str(tmp_path / 'c.yaml'))
    assert (file['with_background'], file['templates']) == (True, ('{}',))
