"""What is prompted for each class: one word or several, its own templates, the background's words.

A class file has a line per class in the order of the labels: the name, then other words for the
same thing; after ``|`` its own templates, separated by ``;``. A first line ``background:`` makes
label 0 a background, told by the words after it, a threshold or both; ``other:`` is a class called
so. A comment is ``#`` and a space, at the beginning of a line or after a space::

    # animals
    background: sky, wall, grass
    cat, kitten, tomcat
    dog | a photo of a {}.; a drawing of a {}.
    other: cow, horse
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .class_file import read_class_file
from .templates import get_templates
from .vocabulary import named_twice

__all__ = ['ClassList', 'Templates', 'check_class_names', 'make_class_list', 'read_class_file']

Templates = str | Sequence[str]


class ClassList(NamedTuple):
    """Classes and the words they are prompted by.

    Attributes:
        names (tuple[str, ...]): By label; ``background`` is first where there is one.
        words (tuple[str, ...]): Prompted, the background's last.
        word_classes (tuple[int, ...]): Label of each word.
        word_templates (tuple[tuple[str, ...], ...]): Sentences that each word is put into.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    word_classes: tuple[int, ...]
    word_templates: tuple[tuple[str, ...], ...]


def make_class_list(
    names: Sequence[str],
    *,
    with_background: bool = False,
    background_words: Sequence[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
    templates: Templates = 'simple',
    class_templates: Mapping[str, Templates] | None = None,
) -> ClassList:
    """Puts a class list together.

    Args:
        names (Sequence[str]): By label, the background included; each is prompted but that.
        with_background (bool): Whether label 0 is a background. Defaults to False.
        background_words (Sequence[str]): Words whose pixels are background. Defaults to ().
        aliases (Mapping[str, Sequence[str]], optional): Other words by class name.
            Defaults to None.
        templates (str | Sequence[str]): Sentences, or the name of a set. Defaults to ``'simple'``.
        class_templates (Mapping, optional): Sentences of single classes by name. Defaults to None.

    Returns:
        ClassList: The words in the order of the labels.

    Raises:
        ValueError: If there is no class, an empty word, one given twice, or an unknown class.
    """
    names, aliases, own = tuple(names), dict(aliases or {}), dict(class_templates or {})
    unknown = sorted({*aliases, *own} - set(names[int(with_background) :]))
    if unknown:
        raise ValueError(
            f'There is no class {", ".join(unknown)} to give aliases or templates to: '
            'name them as class_names does.'
        )
    common = get_templates(templates)
    words: list[str] = []
    labels: list[int] = []
    sentences: list[tuple[str, ...]] = []
    for label in range(int(with_background), len(names)):
        own_words = (names[label], *aliases.get(names[label], ()))
        words += own_words
        labels += [label] * len(own_words)
        sentences += [get_templates(own.get(names[label], common))] * len(own_words)
    words += background_words
    labels += [0] * len(background_words)
    sentences += [common] * len(background_words)
    check_class_names(names, tuple(words), with_background)
    return ClassList(names, tuple(words), tuple(labels), tuple(sentences))


def check_class_names(
    names: tuple[str, ...], prompted: tuple[str, ...], with_background: bool
) -> None:
    """Raises ``ValueError`` with one sentence for a class list that cannot be used."""
    if len(names) <= int(with_background):
        raise ValueError(
            f'class_names = {list(names)} holds no class to look for'
            + (' besides the background.' if with_background else '.')
        )
    if not all(isinstance(name, str) and name.strip() for name in names + prompted):
        raise ValueError(f'class_names {list(names)} holds an empty name: give every class a word.')
    twice = named_twice(prompted)
    if twice:
        raise ValueError(f'class_names holds {", ".join(twice)} more than once.')
