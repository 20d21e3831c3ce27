"""The words of a caption that prompts are made of: its nouns and verbs."""

from collections.abc import Callable, Collection

# The Penn Treebank tags that prompts are made of (arXiv 2202.11094, section 3.3, and its release).
WORD_TAGS = frozenset({'NN', 'NNS', 'NNP', 'VB', 'VBD', 'VBG', 'VBN', 'VBP', 'VBZ'})

_Tagger = Callable[[str], list[tuple[str, str]]]


class CaptionWords:
    """Finds the nouns and verbs of a caption, in its order and spelling, repetitions included.

    Args:
        tagger (str): ``'textblob'`` is TextBlob's pattern tagger: it carries its lexicon in the
            package and needs no download. ``'nltk'`` is NLTK's perceptron tagger, whose data must
            be installed. Defaults to 'textblob'.
        singular (bool): Whether plurals of nouns become singular, by TextBlob's rules. Defaults to
            False, as in the paper.
        ignored (Collection[str]): Words to leave out, in lower case and, with ``singular``, in the
            singular. Defaults to none.

    Raises:
        ValueError: If the tagger is neither of the two.
        LookupError: If NLTK's data is not installed.

    Example:
        >>> CaptionWords()('two brown dogs playing in the water')
        ['dogs', 'playing', 'water']
        >>> CaptionWords(singular=True, ignored=['playing'])('two brown dogs playing in the water')
        ['dog', 'water']
    """

    def __init__(
        self, tagger: str = 'textblob', *, singular: bool = False, ignored: Collection[str] = ()
    ) -> None:
        loaders = {'textblob': _textblob_tagger, 'nltk': _nltk_tagger}
        if tagger not in loaders:
            raise ValueError(f'There is no tagger {tagger!r}: use "textblob" or "nltk".')
        self.tagger = tagger
        self._tag = loaders[tagger]()
        self.singular, self.ignored = singular, frozenset(ignored)

    def __call__(self, caption: str) -> list[str]:
        """Return the words tagged ``NN NNS NNP VB VBD VBG VBN VBP VBZ``.

        Args:
            caption (str): Any text.

        Returns:
            list[str]: The words; empty if there are none.
        """
        words = [
            self._in_singular(word) if self.singular and tag == 'NNS' else word
            for word, tag in self._tag(caption)
            if tag in WORD_TAGS and any(map(str.isalnum, word))
        ]
        return [word for word in words if word.lower() not in self.ignored]

    @staticmethod
    def _in_singular(word: str) -> str:
        """Return the singular of a plural noun."""
        from textblob.en.inflect import singularize

        return singularize(word)


def _textblob_tagger() -> _Tagger:
    """Load TextBlob's pattern tagger, which splits sentences and words itself."""
    from textblob.en import tag

    tag('warm up')  # reads the lexicon now, not in the first batch
    return tag


def _nltk_tagger() -> _Tagger:
    """Load NLTK's word tokeniser and perceptron tagger."""
    try:
        _tag_with_nltk('warm up')
    except LookupError as error:
        raise LookupError(
            'The tagger "nltk" needs data that is not installed: run `python -m nltk.downloader '
            'punkt_tab averaged_perceptron_tagger_eng`, or use tagger="textblob", which needs none.'
        ) from error
    return _tag_with_nltk


def _tag_with_nltk(caption: str) -> list[tuple[str, str]]:
    """Tag words; at module level, so that it can be pickled for a worker that is not forked."""
    import nltk

    return nltk.pos_tag(nltk.word_tokenize(caption))
