"""What a visitor asks for: words and the options of the segmentation and of its display."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from groupvit_mmseg.models.inference_options import is_count
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.text.contrast_words import with_contrast
from groupvit_mmseg.text.vocabulary import is_background, parse_class_names
from groupvit_web.errors import PageError
from groupvit_web.limits import Limits

MODES = ('whole', 'slide')
"""tuple[str, ...]: The whole picture in one pass, or windows that slide over it."""
MAX_PAMR_STEPS = 20
# As in class files: separators of several words, ends of lines and invisible characters.
_SEPARATOR = re.compile('[,;|\t\n\r\uff0c\u3001\uff1b\u2028\u2029\0\u200b\ufeff]')
Colour = tuple[int, int, int]


class SegmentationRequest(NamedTuple):
    """Everything that decides what is on the screen.

    Attributes:
        words (tuple[str, ...]): Class names, in order.
        aliases (Mapping[str, tuple[str, ...]]): Other words for a class, by its name. Defaults to
            none.
        background_words (tuple[str, ...]): Words whose pixels are background. Defaults to ().
        templates (str, optional): Name of a set of sentences; None takes those of the model.
            Defaults to None.
        bg_thresh (float, optional): Pixels whose best score is lower are background, in [0, 1];
            None for no threshold. Defaults to None.
        mode (str, optional): ``'whole'`` or ``'slide'``; None takes that of the model. Defaults to
            None.
        pamr_steps (int, optional): Steps by which PAMR refines the scores by the picture, 0 to 20;
            None takes those of the model. Defaults to None.
        colours (Mapping[str, Colour]): Red, green and blue of single classes, by name, 0 to 255;
            the others get colours of the palette. Defaults to none.
        opacity (float): Weight of the colours over the picture, in [0, 1]. Defaults to 0.6.
    """

    words: tuple[str, ...]
    aliases: Mapping[str, tuple[str, ...]] = {}
    background_words: tuple[str, ...] = ()
    templates: str | None = None
    bg_thresh: float | None = None
    mode: str | None = None
    pamr_steps: int | None = None
    colours: Mapping[str, Colour] = {}
    opacity: float = 0.6

    def class_list(self, base: ClassList, limits: Limits) -> ClassList:
        """Return the classes, with everything that is not stated as in ``base``.

        Args:
            base (ClassList): The classes with which the model was opened.
            limits (Limits): Limits of the page.

        Raises:
            PageError: If there is no word, one is too long or given twice, or a value is out of
                its range.
        """
        words = tuple(word.strip() for word in self.words if word.strip())
        if not words:
            raise PageError('Add a word: the name of something in the picture.')
        _check_words((*words, *sum(self.aliases.values(), ()), *self.background_words), limits)
        _check_display(self)
        if any(is_background(word) for word in words):
            raise PageError(
                '"background" is no word to look for: set a threshold, or give background words.'
            )
        changes: dict = dict(aliases=dict(self.aliases), background_words=self.background_words)
        if self.bg_thresh is not None:
            changes['bg_thresh'] = self.bg_thresh
        if self.templates is not None:
            changes['templates'] = self.templates
        plain = base.looking_for(with_background=False)
        try:
            classes = plain.looking_for(words, **changes)
        except ValueError as error:
            raise PageError(_in_words_of_the_page(str(error))) from error
        # As GroupViTInferencer.set_classes: a class alone needs something to be compared with.
        return classes if self.bg_thresh is not None else with_contrast(classes)


def plain_word(word: str) -> str:
    """Return a word as commands and class files read it, without an article.

    Raises:
        PageError: If it has marks, or is the name of a file.
    """
    if not word.strip() or _SEPARATOR.search(word):
        return word  # what is wrong with it is said with the other words
    try:
        return parse_class_names(word)[0]
    except ValueError as error:
        raise PageError(str(error)) from error


def _check_words(words: tuple[str, ...], limits: Limits) -> None:
    """Refuse too many words, and words that are too long."""
    if len(words) > limits.words:
        raise PageError(f'{len(words)} words are more than the limit of {limits.words}.')
    if not all(isinstance(word, str) and word.strip() for word in words):
        raise PageError('A word is empty: remove it.')
    unclear = next((word for word in words if _SEPARATOR.search(word)), None)
    if unclear is not None:
        text = ' '.join(unclear.split())[:20]
        raise PageError(f'"{text}" holds a comma or another separator: give single words.')
    long = next((word for word in words if len(word) > limits.word_length), None)
    if long is not None:
        raise PageError(
            f'The word "{long[:20]}..." has {len(long)} characters, more than the limit of '
            f'{limits.word_length}: shorten it.'
        )


def _check_display(request: SegmentationRequest) -> None:
    """Refuse options that are out of their range."""
    if request.mode not in (None, *MODES):
        raise PageError(f'There is no mode {request.mode!r}: choose {" or ".join(MODES)}.')
    steps = request.pamr_steps
    if steps is not None and not (is_count(steps, 0) and steps <= MAX_PAMR_STEPS):
        raise PageError(f'PAMR takes 0 to {MAX_PAMR_STEPS} steps, not {steps}.')
    if not 0 <= request.opacity <= 1:
        raise PageError(f'The opacity {request.opacity:g} is outside [0, 1].')
    for name, colour in request.colours.items():
        if len(colour) != 3 or not all(is_count(value, 0) and value <= 255 for value in colour):
            raise PageError(f'The colour of {name} must be three numbers from 0 to 255.')


def _in_words_of_the_page(sentence: str) -> str:
    """Replace the names of arguments by those of the page's controls."""
    return sentence.replace('bg_thresh =', 'The threshold').replace('class_names', 'The list')
