"""Captions to token ids: CLIP's byte-pair encoding, as MMSegmentation ships it."""

from collections.abc import Sequence

import torch
from mmseg.utils import tokenizer as clip_bpe
from torch import Tensor

# One entry per distinct word: web captions hold millions, of which a loader worker would keep all.
_MAX_CACHED_WORDS = 200_000


def tokenize(texts: str | Sequence[str], context_length: int = 77) -> Tensor:
    """Encode texts with CLIP's vocabulary of 49,408 entries.

    A text is cleaned (``ftfy``, HTML entities, white space), lower-cased, split into byte pairs and
    put between the start token 49406 and the end token 49407. A long text is truncated, and its
    last token is the end token.

    Args:
        texts (str | Sequence[str]): One text or several.
        context_length (int): Tokens per text, start and end included. Defaults to 77.

    Returns:
        Tensor: Token ids ``(n, context_length)`` of type int64, zero padded.

    Raises:
        ValueError: If ``context_length`` leaves no room for a start and an end token.

    Example:
        >>> tokenize('a cat', context_length=6)
        tensor([[49406,   320,  2368, 49407,     0,     0]])
    """
    if context_length < 2:
        raise ValueError(
            f'`context_length` is {context_length}: at least 2 tokens are needed, start and end.'
        )
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts:
        return torch.zeros(0, context_length, dtype=torch.long)
    _bound_word_cache()
    return clip_bpe.tokenize(texts, context_length)


def word_ids(word: str) -> tuple[int, ...]:
    """Encode a word without start and end token, of any length.

    Example:
        >>> word_ids('a cat') == word_ids(' A  Cat')
        True
    """
    _bound_word_cache()
    return tuple(clip_bpe._tokenizer.encode(word))


def _bound_word_cache() -> None:
    """Empty the encoder's word cache, special tokens excepted, once it is full."""
    encoder = clip_bpe._tokenizer
    if len(encoder.cache) > _MAX_CACHED_WORDS:
        special = [encoder.decoder[index] for index in encoder.all_special_ids]
        encoder.cache = {token: token for token in special}
