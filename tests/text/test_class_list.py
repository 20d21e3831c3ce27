"""Class lists with aliases, background words and templates of their own; class files."""

import pytest

from groupvit_mmseg.text.class_list import make_class_list, read_class_file

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
