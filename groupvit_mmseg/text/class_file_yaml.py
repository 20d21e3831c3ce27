"""Class files in YAML and JSON: a class list written down.

A class is a name, or a mapping with a name, other words for the same thing, and a threshold and
templates of its own.
The classes are in the order of the labels; a first class called ``background`` is the background.
The file is the list of classes, or a mapping with the list and other fields of a class list::

    classes:
      - background
      - cat
      - name: dog
        words: [puppy, hound]
        threshold: 0.6
        templates: ["a photo of a {}."]
      - C# book
    background_words: [sky, wall]
    bg_thresh: 0.9
    templates: full
    alias_pooling: mean

YAML is read without constructors of Python objects and without aliases (``*name``), which can make
a short file a huge one.
"""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

from groupvit_mmseg.text.class_list import make_class_list
from groupvit_mmseg.text.class_thresholds import check_threshold
from groupvit_mmseg.text.templates import get_templates
from groupvit_mmseg.text.vocabulary import is_background, parse_class_names
from groupvit_mmseg.text.yaml_values import ENDLESS, read_yaml

FILE_KEYS = ('classes', 'background_words', 'bg_thresh', 'templates', 'alias_pooling')
CLASS_KEYS = ('name', 'words', 'threshold', 'templates')
# Separators of several words, ends of lines and invisible characters: none belongs to one word.
_SEPARATOR = re.compile('[,;\t\n\r\uff0c\u3001\uff1b\u2028\u2029\0\u200b\ufeff]')
_HALF_CHARACTER = re.compile('[\ud800-\udfff]')


class _Classes(TypedDict):
    """The fields that every class file has."""

    class_names: tuple[str, ...]
    with_background: bool
    background_words: tuple[str, ...]
    aliases: dict[str, tuple[str, ...]]
    class_templates: dict[str, tuple[str, ...]]


class ClassFile(_Classes, total=False):
    """Content of a class file: fields of a ``ClassList``; the last four only if it has them."""

    bg_thresh: float
    templates: tuple[str, ...]
    alias_pooling: str
    class_thresholds: dict[str, float]


class _Class(NamedTuple):
    """One class; no words and no templates are empty."""

    name: str
    words: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    threshold: float | None = None


def parse_yaml(text: str) -> ClassFile:
    """Read a class list from YAML.

    Raises:
        ValueError: If the text is not YAML, or no class list.
    """
    return _make_class_file(read_yaml(text))


def parse_json(text: str) -> ClassFile:
    """Read a class list from JSON.

    Raises:
        ValueError: If the text is not JSON, or no class list.
    """
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f'line {error.lineno}: not valid JSON ({error.msg}).') from error
    except RecursionError as error:
        raise ValueError(ENDLESS) from error
    return _make_class_file(content)


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Make a dict of the members of a JSON object; refuse repeated keys."""
    members = dict(pairs)
    if len(members) < len(pairs):
        (repeated, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f'the key {repeated!r:.60} is there twice.')
    return members


def _make_class_file(content: object) -> ClassFile:
    """Check the content of a file and bring it into one form."""
    fields: dict[str, Any] = content if isinstance(content, dict) else {'classes': content}
    _check_keys(fields, FILE_KEYS, 'a class file')
    entries = _as_list(fields.get('classes'), 'classes')
    if not entries:
        raise ValueError('it names no class: give a list of names.')
    classes = _parse_classes(entries)
    has_background = is_background(classes[0].name)
    background_words = _words(fields.get('background_words'), 'background_words')
    _check_background(classes, bool(background_words) or fields.get('bg_thresh') is not None)
    names = tuple(one.name for one in classes)
    file = ClassFile(
        class_names=('background', *names[1:]) if has_background else names,
        with_background=has_background,
        background_words=background_words,
        aliases={one.name: one.words for one in classes if one.words},
        class_templates={one.name: one.templates for one in classes if one.templates},
    )
    add_thresholds(file, {one.name: one.threshold for one in classes})
    if fields.get('bg_thresh') is not None:
        file['bg_thresh'] = fields['bg_thresh']
    if 'templates' in fields:
        file['templates'] = get_templates(fields['templates'])
    if 'alias_pooling' in fields:
        file['alias_pooling'] = fields['alias_pooling']
    _check_class_list(file)
    return file


def add_thresholds(
    file: ClassFile, thresholds: Mapping[str, float | None], *, where: str = ''
) -> None:
    """Add the thresholds of classes to the content of a file, if there are any.

    Args:
        file (ClassFile): The content.
        thresholds (Mapping[str, float | None]): By class; None for a class without one.
        where (str): Beginning of a message. Defaults to ''.

    Raises:
        ValueError: If there are some and the file has no background.
    """
    stated = {name: value for name, value in thresholds.items() if value is not None}
    if stated and not file['with_background']:
        raise ValueError(
            f'{where}the threshold of {next(iter(stated))} needs a background: begin the classes '
            'with one.'
        )
    if stated:
        file['class_thresholds'] = stated


def _check_class_list(file: ClassFile) -> None:
    """Raise ``ValueError`` where no class list could be made."""
    # A background without words needs a threshold, which the protocol of an evaluation has.
    needs_threshold = file['with_background'] and not file['background_words']
    options: dict[str, Any] = {'bg_thresh': 0.5} if needs_threshold else {}
    options.update(file)
    make_class_list(**options)


def _check_background(classes: Sequence[_Class], has_options: bool) -> None:
    """Refuse a background that is not the first class, has words of its own, or is missing."""
    if any(is_background(one.name) for one in classes[1:]):
        raise ValueError('the background is label 0: it must be the first class, and once.')
    if is_background(classes[0].name):
        if classes[0].words or classes[0].templates:
            raise ValueError('the background has no words or templates: use background_words.')
        if classes[0].threshold is not None:
            raise ValueError('the background has no threshold of a class: use bg_thresh.')
    elif has_options:
        raise ValueError(
            'bg_thresh and background_words need a background: call the first class background.'
        )


def _parse_classes(entries: Sequence[object]) -> list[_Class]:
    """Read all classes; a name that is repeated, which is refused later, is read once."""
    classes, by_name = [], dict[str, _Class]()
    for number, entry in enumerate(entries, 1):
        one = by_name.get(entry) if isinstance(entry, str) else None
        one = one or _parse_class(entry, f'class {number}')
        if isinstance(entry, str):
            by_name[entry] = one
        classes.append(one)
    return classes


def _parse_class(entry: object, entry_name: str) -> _Class:
    """Read a name, or a mapping."""
    if not isinstance(entry, dict):
        return _Class(_word(entry, entry_name))
    _check_keys(entry, CLASS_KEYS, f'{entry_name}: a class')
    if 'name' not in entry:
        raise ValueError(f'{entry_name} has no name.')
    name, threshold = _word(entry['name'], entry_name), entry.get('threshold')
    return _Class(
        name,
        _words(entry.get('words'), entry_name),
        get_templates(entry['templates']) if 'templates' in entry else (),
        None if threshold is None else check_threshold(threshold, name),
    )


def _words(value: object, entry_name: str) -> tuple[str, ...]:
    """Read a list of words; None is an empty one."""
    return tuple(_word(word, f'a word of {entry_name}') for word in _as_list(value, entry_name))


def _word(value: object, entry_name: str) -> str:
    """Read a name or a word; an article before it is dropped, as in text files."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f'{entry_name} is empty: give it a name.')
    if isinstance(value, list | dict):
        raise ValueError(f'{entry_name} is {value!r:.60}, where a name belongs.')
    if not isinstance(value, str):
        raise ValueError(
            f'{entry_name} is read as {value!r:.60}, no text: put quotation marks around it.'
        )
    if _HALF_CHARACTER.search(value):
        raise ValueError(f'{entry_name} has half a character in {value!a}: write it again.')
    separator = _SEPARATOR.search(value.strip())
    if separator:
        raise ValueError(
            f'{entry_name} has {separator[0]!a} in {value!a}: list each word by itself.'
        )
    return parse_class_names(value)[0]


def _as_list(value: object, entry_name: str) -> list[object]:
    """Return a list; None is an empty one."""
    if value is not None and not isinstance(value, list):
        raise ValueError(f'{entry_name} is {value!r:.60}: give a list, [cat, dog].')
    return value or []


def _check_keys(fields: Iterable[object], keys: Sequence[str], owner: str) -> None:
    """Refuse keys that have no meaning, and name the nearest that has."""
    for key in fields:
        if key not in keys:
            near = difflib.get_close_matches(key, keys, 1, 0.5) if isinstance(key, str) else []
            question = f' (did you mean {near[0]}?)' if near else ''
            raise ValueError(f'{owner} has no key {key!r:.60}{question}: it has {", ".join(keys)}.')
