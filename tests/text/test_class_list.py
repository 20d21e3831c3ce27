"""Class lists with aliases, background words and templates of their own; class files."""

import pytest

from groupvit_mmseg.text.class_changes import change_classes
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.class_list import (
    ClassChanges,
    ClassList,
    ClassOptions,
    make_class_list,
)
from groupvit_mmseg.text.contrast_words import contrast_words
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
    class_thresholds={'cat': 0.7, 'dog': 0.2},
)


def test_other_classes_keep_everything_that_is_not_of_a_class():
    found = FULL.looking_for(['bus', 'dog'])
    expected = FULL._asdict() | dict(
        class_names=('background', 'bus', 'dog'),
        aliases={'dog': ('puppy',)},
        class_thresholds={'dog': 0.2},
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
    options = dict(bg_thresh=0.4, templates='identity', alias_pooling='mean')
    expected = make_class_list(**read, **options, class_thresholds=FULL.class_thresholds)
    assert FULL.looking_for(read.pop('class_names'), **read) == expected


def test_a_background_comes_and_goes_with_what_tells_it():
    plain = make_class_list(['cat', 'dog'])
    told = plain.looking_for(background_words=['sky'])
    assert (told.class_names, told.with_background) == (('background', 'cat', 'dog'), True)
    assert FULL.looking_for(bg_thresh=None, background_words=()).with_background
    none = dict(bg_thresh=None, background_words=(), class_thresholds=None)
    assert FULL.looking_for(**none).class_names == ('cat', 'dog')
    words = plain.looking_for(class_thresholds={'cat': 0.5})
    assert (words.class_names, words.thresholds) == (('background', 'cat', 'dog'), (0.5, 0.0))
    # The background goes with the class whose threshold told it.
    assert words.looking_for(['bus']).class_names == ('bus',)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(bg_tresh=0.5), 'no option bg_tresh: it has class_names, with_background'),
        (dict(class_names=['background', 'sky']), 'sky more than once'),
        (dict(bg_thresh=-0.1), r'outside \[0, 1\]'),
        (dict(bg_thresh='high'), 'Unknown background threshold preset'),
        (dict(with_background=False), 'need with_background=True'),
        (dict(bg_thresh=None, background_words=(), class_thresholds={}), 'needs a bg_thresh'),
        (dict(class_thresholds={'cat': 1.5}), r'threshold 1\.5 of cat is outside \[0, 1\]'),
        (dict(class_thresholds={'cat': float('nan')}), 'threshold nan of cat is outside'),
        (dict(class_thresholds={'cat': '.5'}), "threshold '.5' of cat is no number"),
        (dict(class_thresholds={'cat': True}), 'threshold True of cat is no number'),
        (dict(class_thresholds={'bear': 0.5}), 'There is no class bear to give .* a threshold'),
        (dict(class_thresholds='cat'), r"'cat' in 'cat' is not NAME=NUMBER"),
        (dict(class_thresholds='cat=.5, a cat=.6'), 'holds two thresholds of cat'),
        (dict(class_thresholds=0.5), 'neither a text "cat=0.6, dog=0.4" nor a mapping'),
        (dict(negative_words={'bear': 'teddy'}), 'no class bear to give negative words to'),
        (dict(negative_words='dog'), 'holds dog more than once'),
        (dict(aliases={'cat': ['\uff23at\u00a0']}), 'which are one word'),
        (
            dict(aliases={'cat': ['\ufb01sh'], 'dog': ['fish']}),
            "'\ufb01sh' and 'fish', which are one word",
        ),
        (dict(aliases={'cat': ['cat&#39;s'], 'dog': ["cat's"]}), 'which are one word'),
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


def test_a_background_that_is_asked_for_replaces_no_class():
    plain, asked = make_class_list(['thing']), dict(with_background=True, bg_thresh=0.4)
    for names in ('cat, dog', ['cat', 'dog'], ['background', 'cat', 'dog']):
        assert plain.looking_for(names, **asked).class_names == ('background', 'cat', 'dog')
    assert make_class_list(['cat', 'dog']).looking_for(**asked).foreground == ('cat', 'dog')
    assert FULL.looking_for(**asked) == FULL
    asked['bg_thresh'] = 'paper'
    assert plain.looking_for('pascal_voc', **asked).class_names == class_names('pascal_voc')


def test_without_a_background_nothing_tells_it():
    found = FULL.looking_for(with_background=False)
    assert (found.class_names, found.bg_thresh, found.background_words) == (
        ('cat', 'dog'),
        None,
        (),
    )
    assert found.aliases == FULL.aliases
    assert found.class_thresholds == {}


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
    assert ClassOptions.__optional_keys__ == fields - {'class_names'} | {'negative_words'}
    assert ClassChanges.__optional_keys__ == fields | {'negative_words'}
    assert ClassFile.__required_keys__ | ClassFile.__optional_keys__ == fields


def test_negative_words_are_words_of_the_background():
    plain = make_class_list(['mouse', 'cat'])
    listed = plain.looking_for(negative_words='a computer mouse, statue')
    assert listed == plain.looking_for(background_words=['computer mouse', 'statue'])
    of_classes = {'mouse': ['computer mouse'], 'cat': ['statue', 'computer mouse']}
    assert plain.looking_for(negative_words=of_classes) == listed
    # They are added, each once.
    more = listed.looking_for(negative_words=['Statue', 'poster'])
    assert more.background_words == ('computer mouse', 'statue', 'poster')
    assert listed.changed(negative_words='poster').background_words == more.background_words
    assert listed.looking_for(negative_words=None) == listed


def test_one_class_alone_keeps_its_negative_words_until_another_is_named():
    mouse = change_classes(make_class_list(['cat']), 'mouse', {'negative_words': 'robot'})
    contrast = contrast_words(make_class_list(['mouse']))
    assert mouse.background_words == (*contrast, 'robot')
    limited = change_classes(mouse, None, {'class_thresholds': 'mouse=.3'})
    assert (limited.background_words, limited.thresholds) == (mouse.background_words, (0.3,))
    assert change_classes(limited, None, {'negative_words': 'rat'}).background_words == (
        *contrast,
        'robot',
        'rat',
    )
    assert change_classes(mouse, None, {'bg_thresh': 0.5}).background_words == ('robot',)
    keyboard = change_classes(limited, 'keyboard', {})
    assert keyboard == change_classes(make_class_list(['cat']), 'keyboard', {})
