"""Class lists with aliases, background words and templates of their own; class files."""

import pytest

from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.class_list import (
    ClassChanges,
    ClassList,
    ClassOptions,
    make_class_list,
)
from groupvit_mmseg.text.vocabulary import class_names

FILE = """
# animals
background: sky, wall
cat, a kitten
dog | a photo of a {}.; a drawing of a {}.   # both kinds
other: cow, horse
"""


def test_words_are_in_the_order_of_the_labels_and_the_backgrounds_last():
    classes = make_class_list(
        ['background', 'cat', 'dog'],
        with_background=True,
        background_words=['sky', 'wall'],
        aliases={'cat': ['kitten', 'tomcat']},
        templates='identity',
        class_templates={'dog': ['a {}.', 'the {}.']},
    )
    assert classes.words == ('cat', 'kitten', 'tomcat', 'dog', 'sky', 'wall')
    assert classes.word_classes == (1, 1, 1, 2, 0, 0)
    assert classes.word_templates[2:5] == (('{}',), ('a {}.', 'the {}.'), ('{}',))


def test_a_class_file_says_it_all(tmp_path):
    (tmp_path / 'classes.txt').write_text(FILE)
    assert read_class_file(tmp_path / 'classes.txt') == dict(
        class_names=('background', 'cat', 'dog', 'other'),
        with_background=True,
        background_words=('sky', 'wall'),
        aliases={'cat': ('kitten',), 'other': ('cow', 'horse')},
        class_templates={'dog': ('a photo of a {}.', 'a drawing of a {}.')},
    )


@pytest.mark.parametrize(
    'text, names, words, with_background',
    [
        ('cat\ndog', ('cat', 'dog'), (), False),
        ('background:\ncat', ('background', 'cat'), (), True),
    ],
)
def test_a_background_may_be_left_out_or_told_by_a_threshold(
    tmp_path, text, names, words, with_background
):
    (tmp_path / 'classes.txt').write_text(text)
    read = read_class_file(tmp_path / 'classes.txt')
    assert (read['class_names'], read['background_words']) == (names, words)
    assert read['with_background'] == with_background


@pytest.mark.parametrize(
    'text, message',
    [('cat\n\ndog, , bear', 'Line 3 of .*empty name'), ('# none', 'names no class')],
)
def test_bad_class_files_are_one_sentence(tmp_path, text, message):
    (tmp_path / 'classes.txt').write_text(text)
    with pytest.raises(ValueError, match=message):
        read_class_file(tmp_path / 'classes.txt')


def test_no_class_file_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no class file'):
        read_class_file(tmp_path / 'none.txt')


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(aliases={'cat': ['dog']}), 'dog more than once'),
        (dict(aliases={'bear': ['teddy']}), 'There is no class bear'),
        (dict(class_templates={'cat': ['a photo']}), 'no place for the word'),
    ],
)
def test_lists_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_class_list(['cat', 'dog'], **settings)


FULL = make_class_list(
    ['background', 'cat', 'dog'],
    with_background=True,
    bg_thresh=0.4,
    background_words=['sky'],
    templates='identity',
    aliases={'cat': ['kitten'], 'dog': ['puppy']},
    class_templates={'dog': ['a {}.']},
    alias_pooling='mean',
)


def test_other_classes_keep_everything_that_is_not_of_a_class():
    found = FULL.looking_for(['bus', 'dog'])
    expected = FULL._asdict() | dict(
        class_names=('background', 'bus', 'dog'), aliases={'dog': ('puppy',)}
    )
    assert found._asdict() == expected
    assert FULL.looking_for() == FULL
    assert FULL.looking_for(bg_thresh=0.1) == FULL.changed(bg_thresh=0.1)


@pytest.mark.parametrize(
    'names, expected',
    [
        ('a cat, a bus', ('cat', 'bus')),
        ('pascal_voc', class_names('pascal_voc')[1:]),
        ('pascal_voc20', class_names('pascal_voc20')),
    ],
)
def test_a_text_is_a_known_set_or_names_with_commas_never_letters(names, expected):
    assert FULL.looking_for(names).foreground == expected
    plain = make_class_list(['thing']).looking_for(names)
    assert (plain.class_names, plain.with_background) == (expected, False)
    words = FULL.changed(background_words='a wall, sand', aliases={'cat': 'kitten'})
    assert words.background_words == ('wall', 'sand')
    assert words.aliases == {'cat': ('kitten',)}


def test_what_a_class_file_says_replaces_its_part_alone(tmp_path):
    (tmp_path / 'classes.txt').write_text(FILE)
    read = read_class_file(tmp_path / 'classes.txt')
    expected = make_class_list(**read, bg_thresh=0.4, templates='identity', alias_pooling='mean')
    assert FULL.looking_for(read.pop('class_names'), **read) == expected


def test_a_background_comes_and_goes_with_what_tells_it():
    plain = make_class_list(['cat', 'dog'])
    told = plain.looking_for(background_words=['sky'])
    assert (told.class_names, told.with_background) == (('background', 'cat', 'dog'), True)
    assert FULL.looking_for(bg_thresh=None, background_words=()).class_names == ('cat', 'dog')


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(bg_tresh=0.5), 'no option bg_tresh: it has class_names, with_background'),
        (dict(class_names=['background', 'sky']), 'sky more than once'),
        (dict(bg_thresh=-0.1), r'outside \[0, 1\]'),
        (dict(bg_thresh='high'), 'Unknown background threshold preset'),
        (dict(with_background=False), 'need with_background=True'),
        (dict(bg_thresh=None, background_words=()), 'needs a bg_thresh'),
        (dict(alias_pooling='median'), "neither 'max' nor 'mean'"),
    ],
)
def test_changes_that_do_not_fit_are_refused(changes, message):
    assert FULL.class_names
    bare = FULL.changed(aliases=None, class_templates=None)
    with pytest.raises(ValueError, match=message):
        bare.changed(**changes)


def test_a_background_that_is_named_first_is_the_background():
    assert FULL.looking_for(['Background', 'bus']).class_names == ('background', 'bus')
    plain = make_class_list(['thing'])
    found = plain.looking_for(['background', 'bus'], bg_thresh=0.4)
    assert (found.class_names, found.bg_thresh) == (('background', 'bus'), 0.4)


def test_without_a_background_nothing_tells_it():
    found = FULL.looking_for(with_background=False)
    assert (found.class_names, found.bg_thresh, found.background_words) == (
        ('cat', 'dog'),
        None,
        (),
    )
    assert found.aliases == FULL.aliases


def test_the_threshold_of_a_preset_belongs_to_the_set_that_is_named():
    found = make_class_list(['thing']).looking_for('pascal_voc', bg_thresh='paper')
    assert (found.class_names, found.bg_thresh) == (class_names('pascal_voc'), 0.9)


@pytest.mark.parametrize('names', [{'cat', 'dog'}, {'cat': ['kitten']}, 5])
def test_names_without_an_order_are_refused(names):
    with pytest.raises(ValueError, match='neither a text nor a list of words'):
        FULL.looking_for(names)
    with pytest.raises(ValueError, match='neither a text nor a list of words'):
        make_class_list(names)


def test_the_types_of_options_list_every_field_of_a_class_list():
    fields = set(ClassList._fields)
    assert ClassOptions.__optional_keys__ == fields - {'class_names'}
    assert ClassChanges.__optional_keys__ == fields
    assert ClassFile.__required_keys__ | ClassFile.__optional_keys__ == fields
