"""Checks of a class list: names, words, background, thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from groupvit_mmseg.text.class_thresholds import is_number
from groupvit_mmseg.text.same_words import describe_same_words

if TYPE_CHECKING:
    from groupvit_mmseg.text.class_list import ClassList


def check_class_list(classes: ClassList) -> None:
    """Raise ``ValueError`` with one sentence for a class list that cannot be used."""
    _check_names(classes)
    _check_background(classes)
    of_classes = (classes.aliases, classes.class_templates, classes.class_thresholds)
    unknown = sorted(
        {str(name) for field in of_classes for name in field} - set(classes.foreground)
    )
    if unknown:
        raise ValueError(
            f'There is no class {", ".join(unknown)} to give aliases, templates or a threshold to: '
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
    same = describe_same_words((*names[: int(classes.with_background)], *words))
    if same:
        raise ValueError(
            f'class_names holds {same}, aliases and background words included: a word stands for '
            'one class.'
        )


def _check_background(classes: ClassList) -> None:
    """Refuse a background without threshold and words, and these without a background."""
    threshold = classes.bg_thresh
    if threshold is not None and not (is_number(threshold) and 0 <= threshold <= 1):
        raise ValueError(f'bg_thresh = {threshold} is outside [0, 1].')
    if classes.with_background and not classes.has_background_options:
        raise ValueError(
            'with_background=True needs a bg_thresh in [0, 1], background_words or '
            'class_thresholds.'
        )
    if classes.has_background_options and not classes.with_background:
        raise ValueError(
            'bg_thresh, background_words and class_thresholds need with_background=True and the '
            'background as class index 0.'
        )
