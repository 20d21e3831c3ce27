"""Class spellings, and free text given by a user."""

import pytest

from groupvit_mmseg.text.vocabulary import CLASS_NAMES, class_names, parse_class_names


@pytest.mark.parametrize(
    'name, count, last',
    [
        ('pascal_voc', 21, 'monitor'),
        ('pascal_context', 60, 'wood'),
        ('coco_object', 81, 'toothbrush'),
    ],
)
def test_sets_have_their_size_and_begin_with_the_background(name, count, last):
    names = class_names(name)
    assert len(names) == len(set(names)) == count
    assert (names[0], names[-1]) == ('background', last)


def test_spellings_that_differ_from_the_data_sets():
    assert class_names('pascal_voc')[11] == 'table'
    assert class_names('pascal_context')[1] == 'airplane'
    assert class_names('coco_object')[58] == 'couch'


def test_unknown_set_names_the_known_ones():
    with pytest.raises(ValueError, match='pascal_voc, pascal_context, coco_object'):
        class_names('imagenet')


def test_sets_cannot_be_edited():
    with pytest.raises(TypeError):
        CLASS_NAMES['pascal_voc'] = ()


def test_free_text_is_split_at_commas_and_stripped():
    assert parse_class_names(' red cat,black   dog , bus') == ('red cat', 'black dog', 'bus')
    apostrophes = ("cat's", "dogs' basket", "'60s car")
    assert parse_class_names(', '.join(apostrophes)) == apostrophes


def test_articles_are_left_to_the_templates():
    assert parse_class_names('a cat, An old dog,the sky, anorak') == (
        'cat',
        'old dog',
        'sky',
        'anorak',
    )


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'is empty'),
        (' , ,', 'is empty'),
        ('a cat,,a dog', 'empty name'),
        ('cat, dog, a cat', 'cat more'),
        ('cat|dog', 'has a bar: put commas'),
        ('cat; dog', 'has a semicolon: put commas'),
        ('"red ring", "blue star"', 'Write "red ring" without marks'),
        ('cat, \u201cdog\u201d', 'Write \u201cdog\u201d without marks'),
        ("'cat', 'dog'", "Write 'cat' without marks"),
        ("['cat', 'dog']", 'without marks'),
    ],
)
def test_bad_free_text_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_class_names(text)
