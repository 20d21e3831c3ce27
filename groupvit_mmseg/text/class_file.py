"""Reads class files: a class list as text, YAML or JSON.

A text file has a line per class in the order of the labels: the name, then other words for the same
thing; after ``>=`` its own threshold, after ``|`` its own templates, separated by ``;``. A first
line ``background:`` makes label 0 a background, with the words after it, thresholds or both;
``other:`` is a class of that name. A comment is ``#`` and a space, at the beginning of a line or
after a space::

    # animals
    background: sky, wall, grass
    cat, kitten, tomcat >= 0.6
    dog | a photo of a {}.; a drawing of a {}.
    other: cow, horse

A file that can be misread is refused with its line: other formats, other separators, a colon after
any other word, a class named twice. For files that end in ``.yaml``, ``.yml`` or ``.json`` see
:mod:`~groupvit_mmseg.text.class_file_yaml`.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.text.class_file_yaml import (
    ClassFile,
    add_thresholds,
    parse_json,
    parse_yaml,
)
from groupvit_mmseg.text.class_thresholds import parse_threshold
from groupvit_mmseg.text.templates import get_templates
from groupvit_mmseg.text.vocabulary import fold_word, is_background, parse_class_names

MAX_BYTES = 2**20  # of a class file: a thousand classes take about 20 kB
_PARSERS = {'.yaml': parse_yaml, '.yml': parse_yaml, '.json': parse_json}
# A comment begins a line or follows a space, and a space follows it: "C# book" is a name.
_COMMENT = re.compile(r'(?:^|\s)#(?=[\s#]|$).*')
_UNCLEAR_COMMENT = re.compile(r'\s(#\S*)')
# Wide commas and semicolons, ends of lines of other systems, and invisible characters.
_FOREIGN = re.compile('[\uff0c\u3001\uff1b\u2028\u2029\0\u200b\ufeff]')
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Line(NamedTuple):
    """Content of one line; the words of a background do not begin with a class name."""

    words: tuple[str, ...]
    templates: tuple[str, ...]
    is_background: bool
    threshold: float | None = None


def read_class_file(path: str | Path) -> ClassFile:
    r"""Read a class file.

    Args:
        path (str | Path): The file. The endings ``.yaml``, ``.yml`` and ``.json`` name these
            formats, all others are text.

    Returns:
        ClassFile: Options of ``make_class_list`` and ``set_classes``: ``class_names``,
        ``with_background``, ``background_words``, ``aliases`` and ``class_templates``;
        ``class_thresholds`` if it has some; of a YAML or JSON file also ``bg_thresh``,
        ``templates`` and ``alias_pooling`` if it has them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no class file, is ambiguous, or has no class.

    Example:
        >>> from pathlib import Path
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> _ = Path('classes.txt').write_text('cat, kitten  # two words\nC# book')
        >>> make_class_list(**read_class_file('classes.txt')).words
        ('cat', 'kitten', 'C# book')
        >>> _ = Path('classes.yaml').write_text('- name: cat\n  words: [kitten]\n- C# book')
        >>> read_class_file('classes.yaml') == read_class_file('classes.txt')
        True
    """
    text = _read_text(Path(path))
    parse = _PARSERS.get(Path(path).suffix.lower())
    if parse is None:
        return _parse_lines(text, path)
    try:
        return parse(text)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _parse_lines(text: str, path: str | Path) -> ClassFile:
    """Read the text format."""
    if text.lstrip()[:1] in ('{', '['):
        raise ValueError(
            f'{path} holds JSON or YAML: call it .json or .yaml, or write a line per class, '
            '"cat, kitten" for a class of two words.'
        )
    lines = _read_lines(text, path)
    classes = [line for line in lines if not line.is_background]
    background = next((line.words for line in lines if line.is_background), None)
    if not classes:
        raise ValueError(f'{path} names no class: give one per line.')
    names = tuple(line.words[0] for line in classes)
    file = ClassFile(
        class_names=names if background is None else ('background', *names),
        with_background=background is not None,
        background_words=background or (),
        aliases={line.words[0]: line.words[1:] for line in classes if len(line.words) > 1},
        class_templates={line.words[0]: line.templates for line in classes if line.templates},
    )
    add_thresholds(file, {line.words[0]: line.threshold for line in classes}, where=f'{path}: ')
    return file


def _read_lines(text: str, path: str | Path) -> list[_Line]:
    """Parse the lines that are neither empty nor comments; errors name the line."""
    lines: list[_Line] = []
    first_lines: dict[str, int] = {}  # the line in which a word is named first
    for number, content in enumerate(text.split('\n'), start=1):
        try:
            line = _parse(content)
            if line is None:
                continue
            if line.is_background and lines:
                raise ValueError('the background is label 0: its line must be the first, and once.')
            for word in line.words:
                first = first_lines.setdefault(fold_word(word), number)
                if first != number:
                    raise ValueError(f'{word!r} is named already in line {first}: name it once.')
        except ValueError as error:
            raise ValueError(f'Line {number} of {path}: {error}') from error
        lines.append(line)
    return lines


def _read_text(path: Path) -> str:
    """Read a file's text, without a byte-order mark."""
    if not path.is_file():
        raise FileNotFoundError(f'There is no class file {path}.')
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f'{path} has more than {MAX_BYTES:,} bytes: this is no class file.')
    data = path.read_bytes()
    try:
        if data.startswith(_UTF16):
            raise UnicodeDecodeError('utf-8', data, 0, 1, 'UTF-16')
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path} is not UTF-8 text (line {number}): save it with the encoding UTF-8.'
        ) from error
    return text.replace('\r\n', '\n').replace('\r', '\n')


def _parse(text: str) -> _Line | None:
    """Parse a line; None if it is empty or a comment."""
    text = _COMMENT.sub('', text).strip()
    unclear = _UNCLEAR_COMMENT.search(text) or re.match('(#.+)', text)
    if unclear:
        raise ValueError(
            f'{unclear[1]!r} can be a comment or a part of a name: put a space after # for a '
            'comment, or leave out the space before it.'
        )
    if not text:
        return None
    class_words, bar, sentences = (part.strip() for part in text.partition('|'))
    class_words, threshold = _split_threshold(class_words)
    kind, colon, rest = (part.strip() for part in class_words.partition(':'))
    if colon and is_background(kind):
        if bar:
            raise ValueError('the words of the background have no templates of their own.')
        if threshold is not None:
            raise ValueError('the threshold of the background is no part of a text file.')
        return _Line(_words(rest) if rest else (), (), True)
    if colon and kind.casefold() == 'other':
        class_words = f'{kind}, {rest}' if rest else kind
    elif colon:
        raise ValueError(
            f'{kind!r} has a colon, which only "background:" and "other:" take: put commas '
            'between the words of a class.'
        )
    elif is_background(class_words.partition(',')[0]):
        raise ValueError(
            f'write "background:", with a colon, for the label 0 instead of {class_words}.'
        )
    return _Line(_words(class_words), _templates(bar, sentences), False, threshold)


def _split_threshold(text: str) -> tuple[str, float | None]:
    """Split the words of a line from a threshold after ``>=``."""
    words, sign, number = (part.strip() for part in text.partition('>='))
    return (words, parse_threshold(number, words.partition(',')[0])) if sign else (words, None)


def _templates(bar: str, sentences: str) -> tuple[str, ...]:
    """Split the templates of one class, if it has any."""
    templates = tuple(one.strip() for one in sentences.split(';') if one.strip())
    return get_templates(templates) if bar else ()


def _words(text: str) -> tuple[str, ...]:
    """Split the words of a line, and refuse the marks of other formats."""
    if re.search(r'[^\s,]\t+[^\s,]', text):
        raise ValueError('there is a tab between two words: put commas between words.')
    foreign = _FOREIGN.search(text)
    if foreign:
        raise ValueError(f'remove {foreign[0]!a} from {text!a}, or put a comma there.')
    words = parse_class_names(text)
    for word in words:
        if word.isdigit():
            raise ValueError(f'{word!r} is a number: give names, in the order of the labels.')
        if word.startswith(('- ', '* ')):
            raise ValueError(f'write {word} without marks: a class is a name, or words and commas.')
    return words
