"""Words that are one word for the text tower: equal up to case, Unicode form and white space."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from groupvit_mmseg.text.tokenizer import word_ids
from groupvit_mmseg.text.vocabulary import fold_word


def same_words(words: Sequence[str]) -> list[tuple[str, ...]]:
    """Group the words that the text tower cannot tell apart.

    Args:
        words (Sequence[str]): Any words.

    Returns:
        list[tuple[str, ...]]: The groups of two words and more, in the order of the words.

    Example:
        >>> same_words(['Cat', 'dog', 'cat ', 'cats'])
        [('Cat', 'cat ')]
    """
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    ids: dict[str, tuple[int, ...]] = {}  # those of a list that repeats a word are encoded once
    for word in words:
        if word not in ids:
            ids[word] = word_ids(fold_word(word))
        groups[ids[word]].append(word)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def describe_same_words(words: Sequence[str]) -> str:
    """Return a part of a sentence that names the words that are one word; '' if there are none.

    Example:
        >>> describe_same_words(['Cat', 'cat ', 'dog', 'dog'])
        "'Cat' and 'cat ', which are one word, and dog more than once"
        >>> describe_same_words(['cat', 'dog'])
        ''
    """
    parts = []
    for group in same_words(words):
        spellings = dict.fromkeys(group)
        parts.append(
            f'{" and ".join(map(repr, spellings))}, which are one word'
            if len(spellings) > 1
            else f'{group[0]} more than once'
        )
    return ', and '.join(parts)
