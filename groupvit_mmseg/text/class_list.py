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

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import Any, NamedTuple

from groupvit_mmseg.text.background_thresholds import background_threshold
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.templates import TEMPLATE_SETS, get_templates
from groupvit_mmseg.text.vocabulary import (
    CLASS_NAMES,
    DATASETS_OWN_NAMES,
    is_background,
    named_twice,
    parse_class_names,
)
from groupvit_mmseg.text.vocabulary import class_names as known_class_names

__all__ = ['ClassList', 'Prompt', 'Templates', 'make_class_list', 'read_class_file']

Templates = str | Sequence[str]


class Prompt(NamedTuple):
    """A word, the label that it stands for, and the sentences that it is put into."""

    word: str
    label: int
    templates: tuple[str, ...]


class ClassList(NamedTuple):
    """What is prompted: every option of ``set_classes``; made by :func:`make_class_list`.

    It is passed on as a whole; :meth:`changed` changes single fields.

    Attributes:
        class_names (tuple[str, ...]): By label; with a background, that is first and not prompted.
        with_background (bool): Whether label 0 is a background. Defaults to False.
        bg_thresh (float, optional): Pixels whose best score is below it are background, in [0, 1].
            Defaults to None, no threshold.
        background_words (tuple[str, ...]): Words whose pixels are background. Defaults to ().
        templates (tuple[str, ...]): Sentences that words are put into. Defaults to those of
            ``'simple'``.
        aliases (Mapping[str, tuple[str, ...]]): Other words for a class, by its name; its affinity
            is pooled over its words. Defaults to none.
        class_templates (Mapping[str, tuple[str, ...]]): Templates of single classes, by name.
            Defaults to none.
        alias_pooling (str): ``'max'`` or ``'mean'``. Defaults to ``'max'``.
    """

    class_names: tuple[str, ...]
    with_background: bool = False
    bg_thresh: float | None = None
    background_words: tuple[str, ...] = ()
    templates: tuple[str, ...] = TEMPLATE_SETS['simple']
    aliases: Mapping[str, tuple[str, ...]] = {}
    class_templates: Mapping[str, tuple[str, ...]] = {}
    alias_pooling: str = 'max'

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes but the background."""
        return self.class_names[int(self.with_background) :]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What is prompted, in the order of the labels, the background's words last."""
        found = [
            Prompt(word, label, self.class_templates.get(name, self.templates))
            for label, name in enumerate(self.foreground, start=int(self.with_background))
            for word in (name, *self.aliases.get(name, ()))
        ]
        return (*found, *(Prompt(word, 0, self.templates) for word in self.background_words))

    @property
    def words(self) -> tuple[str, ...]:
        """Word of each prompt."""
        return tuple(prompt.word for prompt in self.prompts)

    @property
    def word_classes(self) -> tuple[int, ...]:
        """Label of each word."""
        return tuple(prompt.label for prompt in self.prompts)

    @property
    def word_templates(self) -> tuple[tuple[str, ...], ...]:
        """Sentences that each word is put into."""
        return tuple(prompt.templates for prompt in self.prompts)

    def changed(self, **changes: Any) -> ClassList:
        """The list with some fields changed, given and checked as :func:`make_class_list` does."""
        return make_class_list(**(self._asdict() | changes))

    def looking_for(self, names: str | Sequence[str] | None = None, **changes: Any) -> ClassList:
        """The list for other classes, everything else kept.

        Aliases and templates of classes that are no longer there go with them. There is a
        background where a threshold or words tell one.

        Args:
            names (str | Sequence[str], optional): A known set, names separated by commas, or a
                list; without a background, unless ``with_background=True`` says that the first is
                it, or it is called so where there is one. None keeps them. Defaults to None.
            **changes: Other fields to change; ``with_background=False`` takes the background away
                with all that tells it.

        Returns:
            ClassList: The new list.

        Raises:
            ValueError: As :func:`make_class_list`.
        """
        told = self._asdict() | changes
        if changes.get('with_background') is False:
            told |= dict(bg_thresh=None, background_words=()) | changes
        if isinstance(told['bg_thresh'], str) and isinstance(names, str):
            told['bg_thresh'] = background_threshold(told['bg_thresh'], names)
        background = told['bg_thresh'] is not None or bool(told['background_words'])
        told['with_background'] = background or bool(changes.get('with_background'))
        names = self.foreground if names is None else foreground_names(names)
        if changes.get('with_background') or (background and _begins_with_background(names)):
            names = names[1:]
        for key in {'aliases', 'class_templates'} - set(changes):
            told[key] = {name: value for name, value in told[key].items() if name in names}
        told['class_names'] = ('background', *names) if told['with_background'] else names
        return make_class_list(**told)


def make_class_list(class_names: ClassList | str | Sequence[str], **options: Any) -> ClassList:
    """Put a class list together, and check it.

    Args:
        class_names (ClassList | str | Sequence[str]): A list to change; the name of a known set
            (``'pascal_voc'``); or names by label, the background included.
        **options: Fields of :class:`ClassList`. Besides, ``bg_thresh`` may be the name of the
            preset that has one for the known set (``'official'``, ``'paper'``), ``templates`` that
            of a template set, and words may be a text with commas between them.

    Returns:
        ClassList: With every field in its one form.

    Raises:
        ValueError: If there is no such option, no class, an empty word, one given twice, an unknown
            class or set, or a threshold or background words that do not fit.
    """
    if isinstance(class_names, ClassList):
        return class_names.changed(**options)
    unknown = sorted(set(options) - set(ClassList._fields))
    if unknown:
        raise ValueError(
            f'A class list has no option {", ".join(unknown)}: it has '
            f'{", ".join(ClassList._fields)}.'
        )
    given = ClassList(class_names, **options)  # type: ignore[arg-type]
    threshold: Any = given.bg_thresh
    if isinstance(threshold, str):
        threshold = background_threshold(threshold, class_names)
    named = isinstance(class_names, str)
    names = known_class_names(str(class_names)) if named else as_words(class_names)
    made = given._replace(
        class_names=names,
        bg_thresh=float(threshold) if _is_number(threshold) else threshold,
        background_words=as_words(given.background_words or ()),
        templates=get_templates(given.templates),
        aliases={name: as_words(words) for name, words in dict(given.aliases or {}).items()},
        class_templates={
            name: get_templates(own) for name, own in dict(given.class_templates or {}).items()
        },
    )
    _check(made)
    return made


def as_words(words: str | Sequence[str]) -> tuple[str, ...]:
    """Words as a tuple; of a text, those between its commas (a text is a sequence of letters).

    Raises:
        ValueError: If it is neither a text nor a list.
    """
    if isinstance(words, str):
        return parse_class_names(words)
    if not isinstance(words, Iterable) or isinstance(words, Mapping | Set):
        raise ValueError(f'{words!r} is neither a text nor a list of words in the order of labels.')
    return tuple(words)


def foreground_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Names of a known set but the background, of a text with commas, or of a list."""
    if isinstance(names, str) and (names in CLASS_NAMES or names in DATASETS_OWN_NAMES):
        known = known_class_names(names)
        return known[int(known[0] == 'background') :]
    return as_words(names)


def _check(classes: ClassList) -> None:
    """Raise ``ValueError`` with one sentence for a class list that cannot be used."""
    _check_names(classes)
    _check_background(classes)
    unknown = sorted({*classes.aliases, *classes.class_templates} - set(classes.foreground))
    if unknown:
        raise ValueError(
            f'There is no class {", ".join(unknown)} to give aliases or templates to: '
            'name them as class_names does.'
        )
    if classes.alias_pooling not in ('max', 'mean'):
        raise ValueError(f"alias_pooling = {classes.alias_pooling!r} is neither 'max' nor 'mean'.")


def _check_names(classes: ClassList) -> None:
    """Refuse no class, an empty word, and a word that stands for two things."""
    names, words = classes.class_names, classes.words
    if not classes.foreground:
        raise ValueError(
            f'class_names = {list(names)} holds no class to look for'
            + (' besides the background.' if classes.with_background else '.')
        )
    wrong = [name for name in names + words if not (isinstance(name, str) and name.strip())]
    if wrong:
        is_text = isinstance(wrong[0], str)
        what = 'an empty name' if is_text else f'{wrong[0]!r}, which is no text'
        raise ValueError(f'class_names {list(names)} holds {what}: give every class a word.')
    told = (*names[: int(classes.with_background)], *words)
    twice = named_twice(told)
    if twice:
        raise ValueError(
            f'class_names holds {", ".join(twice)} more than once, aliases and background words '
            'included: a word stands for one class.'
        )


def _check_background(classes: ClassList) -> None:
    """Refuse a background that cannot be told apart, or is told of where there is none."""
    threshold = classes.bg_thresh
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise ValueError(f'bg_thresh = {threshold} is outside [0, 1].')
    told = threshold is not None or bool(classes.background_words)
    if classes.with_background and not told:
        raise ValueError(
            'with_background=True needs a bg_thresh in [0, 1] or background_words to tell the '
            'background by.'
        )
    if told and not classes.with_background:
        raise ValueError(
            'bg_thresh and background_words need with_background=True and the background as class '
            'index 0.'
        )


def _begins_with_background(names: Sequence[str]) -> bool:
    """Whether the first name is that of a background."""
    return bool(names) and isinstance(names[0], str) and is_background(names[0])


def _is_number(value: Any) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
