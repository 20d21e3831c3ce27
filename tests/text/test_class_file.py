"""Class files that could be misread: the right reading, or one sentence with the line."""

import codecs

import pytest

from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.vocabulary import class_names, parse_class_names

BOM = codecs.BOM_UTF8


def read(tmp_path, content):
    path = tmp_path / 'classes.txt'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_class_file(path)


@pytest.mark.parametrize(
    'content, names, background_words',
    [
        (BOM + b'cat\ndog', ('cat', 'dog'), None),
        (BOM + b'background: sky\ncat', ('background', 'cat'), ('sky',)),
        ('Background: sky\ncat', ('background', 'cat'), ('sky',)),
        ('BACKGROUND :sky\ncat', ('background', 'cat'), ('sky',)),
        ('_background_:\ncat', ('background', 'cat'), ()),
        ('cat\r\ndog\r\n', ('cat', 'dog'), None),
        ('C# book\ncat # a comment\n#\n# another\n', ('C# book', 'cat'), None),
        ('cat,\tdog', ('cat',), None),
        ('mother of pearl', ('mother of pearl',), None),
        ('Café', ('Café',), None),
        ("child's toy", ("child's toy",), None),
    ],
)
def test_what_has_one_meaning_is_read(tmp_path, content, names, background_words):
    found = read(tmp_path, content)
    assert found['class_names'] == names
    assert found['with_background'] == (background_words is not None)
    assert found['background_words'] == (background_words or ())


@pytest.mark.parametrize('line', ['other: cow', 'Other : cow', 'other :cow'])
def test_other_takes_a_colon_however_it_is_written(tmp_path, line):
    assert [*read(tmp_path, line)['aliases'].values()] == [('cow',)]


@pytest.mark.parametrize(
    'content, message',
    [
        ('mother: cow', "Line 1 of .*classes.txt: 'mother' has a colon"),
        ('backgroud: sky\ncat', "Line 1 .*'backgroud' has a colon"),
        ('cat\nclasses:\n- dog', "Line 2 .*'classes' has a colon"),
        ('background\ncat', 'Line 1 .*write "background:"'),
        ('cat\nbackground: sky', 'Line 2 .*the background is label 0'),
        ('background: sky\nbackground: wall\ncat', 'Line 2 .*the background is label 0'),
        ('background: sky | a photo of {}.\ncat', 'have no templates'),
        ('cat, kitten,', 'Line 1 .*empty name'),
        ('cat\tdog', 'Line 1 .*tab'),
        ('cat; dog', 'Line 1 .*semicolon'),
        ('cat\n\uff43at', "Line 2 .*'\uff43at' is named already in line 1"),
        ('background:\ncat >= 1.5', r'Line 2 .*threshold 1\.5 of cat is outside \[0, 1\]'),
        ('background:\ncat >= high', "Line 2 .*threshold 'high' of cat is no number"),
        ('background:\ncat >=', "Line 2 .*threshold '' of cat is no number"),
        ('background: sky >= .5\ncat', 'Line 1 .*threshold of the background'),
        ('cat >= 0.5\ndog', 'threshold of cat needs a background'),
        ('cat\nCat', "Line 2 .*'Cat' is named already in line 1"),
        ('cat, kitten\ndog, Kitten', "Line 2 .*'Kitten' is named already in line 1"),
        ('cat, Cat', "Line 1 .*'cat' and 'Cat', which are one word"),
        ('cat #1 of all', "Line 1 .*'#1' can be a comment"),
        ('#cat', "Line 1 .*'#cat' can be a comment"),
        ('0,background\n1,cat', "Line 1 .*'0' is a number"),
        ('id,name\n1,cat', "Line 2 .*'1' is a number"),
        ('"cat","dog"', 'Line 1 .*without marks'),
        ('- cat\n- dog', 'Line 1 .*without marks'),
        ('["cat", "dog"]', 'holds JSON or YAML'),
        ('{"classes": ["cat"]}', 'holds JSON or YAML'),
        ('cat |', 'Line 1 .*templates is empty'),
        ('cat\ndog | a photo', 'Line 2 .*no place for the word'),
        ('cat\nCaf\xe9'.encode('latin-1'), r'is not UTF-8 text \(line 2\)'),
        ('cat'.encode('utf-16'), 'is not UTF-8 text'),
        (b'\x89PNG\r\n\x1a\n\x00', 'is not UTF-8 text'),
        ('  \n# nothing\n', 'names no class'),
    ],
)
def test_what_could_be_misread_is_one_sentence(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, content)
    assert '\n' not in str(caught.value)
    assert 'classes.txt' in str(caught.value)


@pytest.mark.parametrize(
    'text, message',
    [
        ('cat; dog', 'semicolon'),
        ('classes.txt', 'is the name of a file'),
        ('cat, CAT', "'cat' and 'CAT', which are one word"),
        ('cat, a dog, dog', 'names dog more than once'),
        ('cat,', 'empty name before or after a comma'),
    ],
)
def test_words_on_the_command_line_that_are_something_else(text, message):
    with pytest.raises(ValueError, match=message):
        parse_class_names(text)


def test_a_choice_is_a_set_a_file_or_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'classes').write_text('background:\ncat, kitten')  # a file without an ending
    assert read_class_choice('pascal_voc')['class_names'] == class_names('pascal_voc')[1:]
    assert read_class_choice('hot dog, st. bernard')['class_names'] == ('hot dog', 'st. bernard')
    found = read_class_choice('classes')
    assert (found['class_names'], found['aliases']) == (('cat',), {'cat': ('kitten',)})
    assert not found['with_background']
    for missing in ('none.txt', 'folder/none'):
        with pytest.raises(FileNotFoundError, match='There is no class file'):
            read_class_choice(missing)


@pytest.mark.parametrize(
    'line', ['ball\uff0csphere', 'ball\u2028sphere', '\u200bball', 'ba\0ll', '* ball']
)
def test_marks_that_no_word_has_are_refused_with_their_line(tmp_path, line):
    (tmp_path / 'classes.txt').write_text(f'cat\n{line}\n', encoding='utf-8')
    with pytest.raises(ValueError, match=r'Line 2 of .*classes\.txt'):
        read_class_file(tmp_path / 'classes.txt')
