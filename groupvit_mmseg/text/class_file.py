"""Reads class files: what they mean is said in :mod:`groupvit_mmseg.text.class_list`.

A file that can be misread is refused with its line: other formats, other separators, a colon that
belongs to no known line, a class named twice.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from typing import Any, NamedTuple

from groupvit_mmseg.text.templates import get_templates
from groupvit_mmseg.text.vocabulary import is_background, parse_class_names

# A comment begins a line or follows a space, and a space follows it: "C# book" is a name.
_COMMENT = re.compile(r'(?:^|\s)#(?=[\s#]|$).*')
_UNCLEAR_COMMENT = re.compile(r'\s(#\S*)')
# Wide commas and semicolons, ends of lines of other systems, and characters that nobody sees.
_FOREIGN = re.compile('[\uff0c\u3001\uff1b\u2028\u2029\0\u200b\ufeff]')
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Line(NamedTuple):
    """What one line says; the words of a background do not begin with a class name."""

    words: tuple[str, ...]
    templates: tuple[str, ...]
    is_background: bool


def read_class_file(path: str | Path) -> dict[str, Any]:
    """Read a class file.

    Args:
        path (str | Path): The file; the docstring of ``class_list`` shows its form.

    Returns:
        dict[str, Any]: ``class_names``, ``with_background``, ``background_words``, ``aliases`` and
        ``class_templates``, as ``GroupViTZeroShotHead.set_classes`` takes them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line cannot be read or means two things, or there is no class.
    """
    lines = _read_lines(path)
    classes = [line for line in lines if not line.is_background]
    background = next((line.words for line in lines if line.is_background), None)
    if not classes:
        raise ValueError(f'{path} names no class: give one per line.')
    names = tuple(line.words[0] for line in classes)
    return dict(
        class_names=names if background is None else ('background', *names),
        with_background=background is not None,
        background_words=background or (),
        aliases={line.words[0]: line.words[1:] for line in classes if len(line.words) > 1},
        class_templates={line.words[0]: line.templates for line in classes if line.templates},
    )


def _read_lines(path: str | Path) -> list[_Line]:
    """The lines that say something; a wrong one is named."""
    lines: list[_Line] = []
    places: dict[str, int] = {}  # where a word was named first
    for number, text in enumerate(_text(path).split('\n'), start=1):
        try:
            line = _parse(text)
            if line is None:
                continue
            if line.is_background and lines:
                raise ValueError('the background is label 0: its line must be the first, and once.')
            for word in line.words:
                if places.setdefault(word.casefold(), number) != number:
                    first = places[word.casefold()]
                    raise ValueError(f'{word!r} is named already in line {first}: name it once.')
        except ValueError as error:
            raise ValueError(f'Line {number} of {path}: {error}') from error
        lines.append(line)
    return lines


def _text(path: str | Path) -> str:
    """The file's text, without a byte-order mark."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no class file {path}.')
    data = Path(path).read_bytes()
    try:
        if data.startswith(_UTF16):
            raise UnicodeDecodeError('utf-8', data, 0, 1, 'UTF-16')
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path} is not UTF-8 text (line {number}): save it with the encoding UTF-8.'
        ) from error
    if text.lstrip()[:1] in ('{', '['):
        raise ValueError(
            f'{path} holds JSON or YAML: a class file is text with a line per class, '
            '"cat, kitten" for a class of two words.'
        )
    return text.replace('\r\n', '\n').replace('\r', '\n')


def _parse(text: str) -> _Line | None:
    """What a line says; None if it is empty or a comment."""
    text = _COMMENT.sub('', text).strip()
    unclear = _UNCLEAR_COMMENT.search(text) or re.match('(#.+)', text)
    if unclear:
        raise ValueError(
            f'{unclear[1]!r} can be a comment or a part of a name: put a space after # for a '
            'comment, or leave out the space before it.'
        )
    if not text:
        return None
    listed, bar, sentences = (part.strip() for part in text.partition('|'))
    kind, colon, rest = (part.strip() for part in listed.partition(':'))
    if colon and is_background(kind):
        if bar:
            raise ValueError('the words of the background have no templates of their own.')
        return _Line(_words(rest) if rest else (), (), True)
    if colon and kind.casefold() == 'other':
        listed = f'{kind}, {rest}' if rest else kind
    elif colon:
        raise ValueError(
            f'{kind!r} has a colon, which only "background:" and "other:" take: put commas '
            'between the words of a class.'
        )
    elif is_background(listed.partition(',')[0]):
        raise ValueError(f'write "background:", with a colon, for the label 0 instead of {listed}.')
    return _Line(_words(listed), _templates(bar, sentences), False)


def _templates(bar: str, sentences: str) -> tuple[str, ...]:
    """Templates of one class, if it has any."""
    found = tuple(one.strip() for one in sentences.split(';') if one.strip())
    return get_templates(found) if bar else ()


def _words(text: str) -> tuple[str, ...]:
    """The words of a line, checked for the marks of other formats."""
    if re.search(r'[^\s,]\t+[^\s,]', text):
        raise ValueError('there is a tab between two words: put commas between words.')
    foreign = _FOREIGN.search(text)
    if foreign:
        raise ValueError(f'remove {foreign[0]!a} from {text!a}, or put a comma there.')
    words = parse_class_names(text)
    for word in words:
        if word.isdigit():
            raise ValueError(f'{word!r} is a number: give names, in the order of the labels.')
        if word.startswith(('- ', '* ')) or word[0] in '"“[{' or (word[0] == word[-1] == "'"):
            raise ValueError(f'write {word} without marks: a class is a name, or words and commas.')
    return words
