"""Negative words: what resembles a class and is not meant, as words of the background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from groupvit_mmseg.text.vocabulary import as_words, fold_word


def add_negative_words(
    background_words: Sequence[str],
    negative_words: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    class_names: Sequence[str],
) -> tuple[str, ...]:
    """Add negative words to the words of the background.

    A pixel has the label of its best word. If that is a negative word, no class is meant, whichever
    class the word was listed for: this is what words of the background do.

    Args:
        background_words (Sequence[str]): The words so far.
        negative_words (str | Sequence[str] | Mapping, optional): Words, or words by class; None for
            none.
        class_names (Sequence[str]): The classes.

    Raises:
        ValueError: If words are listed for a class that does not exist.

    Example:
        >>> add_negative_words(['desk'], {'mouse': 'computer mouse, desk'}, ['mouse'])
        ('desk', 'computer mouse')
    """
    known = {fold_word(word) for word in background_words if isinstance(word, str)}
    added = as_negative_words(negative_words, class_names)
    new = (word for word in added if not (isinstance(word, str) and fold_word(word) in known))
    return (*background_words, *new)


def as_negative_words(
    negative_words: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None,
    class_names: Sequence[str],
) -> tuple[str, ...]:
    """Return negative words as a tuple, those by class in the order of the mapping."""
    if not negative_words:
        return ()
    if not isinstance(negative_words, Mapping):
        return as_words(negative_words)
    unknown = sorted(str(name) for name in negative_words if name not in class_names)
    if unknown:
        raise ValueError(
            f'There is no class {", ".join(unknown)} to give negative words to: name them as '
            'class_names does.'
        )
    return tuple(
        dict.fromkeys(word for words in negative_words.values() for word in as_words(words))
    )
