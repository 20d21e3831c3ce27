"""The words that are prompted for each class, their templates, and the words of the background.

:mod:`~groupvit_mmseg.text.class_file` reads class lists from files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from groupvit_mmseg.text.background_thresholds import background_threshold
from groupvit_mmseg.text.class_list_checks import check_class_list
from groupvit_mmseg.text.class_thresholds import is_number, read_class_thresholds
from groupvit_mmseg.text.negative_words import add_negative_words
from groupvit_mmseg.text.templates import TEMPLATE_SETS, get_templates
from groupvit_mmseg.text.vocabulary import (
    CLASS_NAMES,
    DATASETS_OWN_NAMES,
    as_words,
    is_background,
)
from groupvit_mmseg.text.vocabulary import class_names as known_class_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

Templates = str | Sequence[str]
NegativeWords = str | Sequence[str] | Mapping[str, str | Sequence[str]]


class ClassOptions(TypedDict, total=False):
    """Fields of a :class:`ClassList` besides the names, in every form that users may write.

    ``negative_words`` is no field: they are added to the words of the background.
    """

    with_background: bool
    bg_thresh: float | str | None
    background_words: str | Sequence[str] | None
    templates: Templates
    aliases: Mapping[str, str | Sequence[str]] | None
    class_templates: Mapping[str, Templates] | None
    alias_pooling: str
    class_thresholds: Mapping[str, float] | str | None
    negative_words: NegativeWords | None


class ClassChanges(ClassOptions, total=False):
    """Fields of a :class:`ClassList` to change."""

    class_names: str | Sequence[str]


OF_CLASSES = ('aliases', 'class_templates', 'class_thresholds')
"""tuple[str, ...]: Fields of a :class:`ClassList` that belong to single classes, by name."""


class Prompt(NamedTuple):
    """A word, its label, and the sentences that it is put into."""

    word: str
    label: int
    templates: tuple[str, ...]


class ClassList(NamedTuple):
    """Everything that is prompted: all options of ``set_classes``.

    :func:`make_class_list` makes and checks it. It is passed on as a whole; :meth:`changed` changes
    single fields.

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
        class_thresholds (Mapping[str, float]): Thresholds of single classes, by name, in [0, 1]:
            where its affinity is below, a class is no candidate, and where no class is one, there
            is background. Defaults to none.

    Example:
        >>> classes = make_class_list(['cat', 'dog'], aliases={'cat': ['kitten']})
        >>> classes.words, classes.word_classes
        (('cat', 'kitten', 'dog'), (0, 0, 1))
        >>> classes.changed(templates='identity').prompts[2]
        Prompt(word='dog', label=1, templates=('{}',))
        >>> with_sky = classes.looking_for('dog, bus', background_words=['sky'])
        >>> with_sky.class_names, with_sky.words
        (('background', 'dog', 'bus'), ('dog', 'bus', 'sky'))
    """

    class_names: tuple[str, ...]
    with_background: bool = False
    bg_thresh: float | None = None
    background_words: tuple[str, ...] = ()
    templates: tuple[str, ...] = TEMPLATE_SETS['simple']
    aliases: Mapping[str, tuple[str, ...]] = {}
    class_templates: Mapping[str, tuple[str, ...]] = {}
    alias_pooling: str = 'max'
    class_thresholds: Mapping[str, float] = {}

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Threshold of each class but the background; 0 for those without one."""
        return tuple(self.class_thresholds.get(name, 0.0) for name in self.foreground)

    @property
    def has_background_options(self) -> bool:
        """Whether a threshold or a word tells a background."""
        has_words = bool(self.background_words or self.class_thresholds)
        return has_words or self.bg_thresh is not None

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the classes but the background."""
        return self.class_names[int(self.with_background) :]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """All prompts in the order of the labels, those of the background last."""
        prompts = [
            Prompt(word, label, self.class_templates.get(name, self.templates))
            for label, name in enumerate(self.foreground, start=int(self.with_background))
            for word in (name, *self.aliases.get(name, ()))
        ]
        return (*prompts, *(Prompt(word, 0, self.templates) for word in self.background_words))

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

    def changed(self, **changes: Unpack[ClassChanges]) -> ClassList:
        """Return the list with some fields changed, which :func:`make_class_list` checks."""
        return make_class_list(**{**self._asdict(), **changes})

    def looking_for(
        self, names: str | Sequence[str] | None = None, **changes: Unpack[ClassOptions]
    ) -> ClassList:
        """Return the list for other classes, with all other fields as they are.

        Aliases, templates and thresholds of classes that are no longer listed are dropped. There is
        a background if there is a threshold or a word for it.

        Args:
            names (str | Sequence[str], optional): A known set, names separated by commas, or a
                list. The first is the background if it is called so and there is one. None keeps
                the names. Defaults to None.
            **changes: Other fields to change; ``with_background=False`` removes the background, its
                thresholds and its words.

        Returns:
            ClassList: The new list.

        Raises:
            ValueError: As :func:`make_class_list`.
        """
        fields = {**self._asdict(), **changes}
        if changes.get('with_background') is False:
            none: ClassOptions = {'bg_thresh': None, 'background_words': (), 'class_thresholds': {}}
            fields |= {**none, **changes}
        if isinstance(fields['bg_thresh'], str) and isinstance(names, str):
            fields['bg_thresh'] = background_threshold(fields['bg_thresh'], names)
        names = self.foreground if names is None else foreground_names(names)
        for key in set(OF_CLASSES) - set(changes):
            fields[key] = {name: value for name, value in fields[key].items() if name in names}
        words = ('background_words', 'negative_words', 'class_thresholds')
        background = fields['bg_thresh'] is not None or any(fields.get(key) for key in words)
        fields['with_background'] = background or bool(changes.get('with_background'))
        if fields['with_background'] and _begins_with_background(names):
            names = names[1:]
        fields['class_names'] = ('background', *names) if fields['with_background'] else names
        return make_class_list(**fields)


def make_class_list(
    class_names: ClassList | str | Sequence[str], **options: Unpack[ClassOptions]
) -> ClassList:
    """Make a class list and check it.

    Args:
        class_names (ClassList | str | Sequence[str]): A list to change; the name of a known set
            (``'pascal_voc'``); or names by label, the background included.
        **options: Other fields of :class:`ClassList`. ``bg_thresh`` may also be the name of the
            preset that has one for the known set (``'official'``, ``'paper'``), ``templates`` the
            name of a template set, words may be a text with commas between them, and
            ``class_thresholds`` a text ``'cat=0.6, dog=0.4'``. ``negative_words`` are added to
            ``background_words``; they may be listed by class.

    Returns:
        ClassList: The list, each field in the form that the class documents.

    Raises:
        ValueError: If there is no such option, no class, an empty word, one given twice, an unknown
            class or set, or a threshold or background words that do not fit.

    Example:
        >>> classes = make_class_list('pascal_voc', with_background=True, bg_thresh='official')
        >>> len(classes.class_names), classes.bg_thresh, classes.templates
        (21, 0.95, ('a photo of a {}.',))
    """
    if isinstance(class_names, ClassList):
        return class_names.changed(**options)
    fields: dict = {**options}
    negative_words = fields.pop('negative_words', None)
    unknown = sorted(set(fields) - set(ClassList._fields))
    if unknown:
        raise ValueError(
            f'A class list has no option {", ".join(unknown)}: it has '
            f'{", ".join(ClassList._fields)}.'
        )
    raw = ClassList(class_names, **fields)  # type: ignore[arg-type]  # in the users' forms
    threshold: object = raw.bg_thresh
    if isinstance(threshold, str):
        threshold = background_threshold(threshold, class_names)
    named = isinstance(class_names, str)
    names = known_class_names(str(class_names)) if named else as_words(class_names)
    classes = raw._replace(
        class_names=names,
        # What is no number is refused below.
        bg_thresh=float(threshold) if is_number(threshold) else threshold,  # type: ignore[arg-type]
        background_words=add_negative_words(
            as_words(raw.background_words or ()), negative_words, names
        ),
        templates=get_templates(raw.templates),
        aliases={name: as_words(words) for name, words in dict(raw.aliases or {}).items()},
        class_templates={
            name: get_templates(templates)
            for name, templates in dict(raw.class_templates or {}).items()
        },
        class_thresholds=read_class_thresholds(raw.class_thresholds),
    )
    check_class_list(classes)
    return classes


def foreground_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of a known set without its background, of a text with commas, or a list."""
    if isinstance(names, str) and (names in CLASS_NAMES or names in DATASETS_OWN_NAMES):
        names_of_set = known_class_names(names)
        return names_of_set[int(names_of_set[0] == 'background') :]
    return as_words(names)


def _begins_with_background(names: Sequence[str]) -> bool:
    """Return whether the first name is that of a background."""
    return bool(names) and isinstance(names[0], str) and is_background(names[0])
