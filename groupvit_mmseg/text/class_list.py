"""The words that are prompted for each class, their templates, and the words of the background.

:mod:`~groupvit_mmseg.text.class_file` reads class lists from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import TYPE_CHECKING, NamedTuple, TypedDict, TypeGuard

from groupvit_mmseg.text.background_thresholds import background_threshold
from groupvit_mmseg.text.templates import TEMPLATE_SETS, get_templates
from groupvit_mmseg.text.vocabulary import (
    CLASS_NAMES,
    DATASETS_OWN_NAMES,
    is_background,
    parse_class_names,
    repeated_names,
)
from groupvit_mmseg.text.vocabulary import class_names as known_class_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

Templates = str | Sequence[str]


class ClassOptions(TypedDict, total=False):
    """Fields of a :class:`ClassList` besides the names, in every form that users may write."""

    with_background: bool
    bg_thresh: float | str | None
    background_words: str | Sequence[str] | None
    templates: Templates
    aliases: Mapping[str, str | Sequence[str]] | None
    class_templates: Mapping[str, Templates] | None
    alias_pooling: str


class ClassChanges(ClassOptions, total=False):
    """Fields of a :class:`ClassList` to change."""

    class_names: str | Sequence[str]


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

        Aliases and templates of classes that are no longer listed are dropped. There is a
        background if there is a threshold or a word for it.

        Args:
            names (str | Sequence[str], optional): A known set, names separated by commas, or a
                list. The first is the background with ``with_background=True``, or if it is called
                so and there is one. None keeps the names. Defaults to None.
            **changes: Other fields to change; ``with_background=False`` removes the background, its
                threshold and its words.

        Returns:
            ClassList: The new list.

        Raises:
            ValueError: As :func:`make_class_list`.
        """
        fields = {**self._asdict(), **changes}
        if changes.get('with_background') is False:
            fields |= {'bg_thresh': None, 'background_words': (), **changes}
        if isinstance(fields['bg_thresh'], str) and isinstance(names, str):
            fields['bg_thresh'] = background_threshold(fields['bg_thresh'], names)
        background = fields['bg_thresh'] is not None or bool(fields['background_words'])
        fields['with_background'] = background or bool(changes.get('with_background'))
        names = self.foreground if names is None else foreground_names(names)
        if changes.get('with_background') or (background and _begins_with_background(names)):
            names = names[1:]
        for key in {'aliases', 'class_templates'} - set(changes):
            fields[key] = {name: value for name, value in fields[key].items() if name in names}
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
            name of a template set, and words may be a text with commas between them.

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
    unknown = sorted(set(options) - set(ClassList._fields))
    if unknown:
        raise ValueError(
            f'A class list has no option {", ".join(unknown)}: it has '
            f'{", ".join(ClassList._fields)}.'
        )
    raw = ClassList(class_names, **options)  # type: ignore[arg-type]  # in the users' forms
    threshold: object = raw.bg_thresh
    if isinstance(threshold, str):
        threshold = background_threshold(threshold, class_names)
    named = isinstance(class_names, str)
    names = known_class_names(str(class_names)) if named else as_words(class_names)
    classes = raw._replace(
        class_names=names,
        # What is no number is refused below.
        bg_thresh=float(threshold) if _is_number(threshold) else threshold,  # type: ignore[arg-type]
        background_words=as_words(raw.background_words or ()),
        templates=get_templates(raw.templates),
        aliases={name: as_words(words) for name, words in dict(raw.aliases or {}).items()},
        class_templates={
            name: get_templates(templates)
            for name, templates in dict(raw.class_templates or {}).items()
        },
    )
    _check(classes)
    return classes


def as_words(words: str | Sequence[str]) -> tuple[str, ...]:
    """Return words as a tuple; a text is split at its commas, not into letters.

    Raises:
        ValueError: If it is neither a text nor a list.
    """
    if isinstance(words, str):
        return parse_class_names(words)
    if not isinstance(words, Iterable) or isinstance(words, Mapping | Set):
        raise ValueError(f'{words!r} is neither a text nor a list of words in the order of labels.')
    return tuple(words)


def foreground_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of a known set without its background, of a text with commas, or a list."""
    if isinstance(names, str) and (names in CLASS_NAMES or names in DATASETS_OWN_NAMES):
        names_of_set = known_class_names(names)
        return names_of_set[int(names_of_set[0] == 'background') :]
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
    """Refuse a list without classes, an empty word, and a word of two classes."""
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
    repeated = repeated_names((*names[: int(classes.with_background)], *words))
    if repeated:
        raise ValueError(
            f'class_names holds {", ".join(repeated)} more than once, aliases and background words '
            'included: a word stands for one class.'
        )


def _check_background(classes: ClassList) -> None:
    """Refuse a background without threshold and words, and these without a background."""
    threshold = classes.bg_thresh
    if threshold is not None and not (_is_number(threshold) and 0 <= threshold <= 1):
        raise ValueError(f'bg_thresh = {threshold} is outside [0, 1].')
    has_options = threshold is not None or bool(classes.background_words)
    if classes.with_background and not has_options:
        raise ValueError('with_background=True needs a bg_thresh in [0, 1] or background_words.')
    if has_options and not classes.with_background:
        raise ValueError(
            'bg_thresh and background_words need with_background=True and the background as class '
            'index 0.'
        )


def _begins_with_background(names: Sequence[str]) -> bool:
    """Return whether the first name is that of a background."""
    return bool(names) and isinstance(names[0], str) and is_background(names[0])


def _is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)
