"""Captions to token ids: CLIP's byte-pair encoding, as MMSegmentation ships it.

Cleaning and merging byte pairs take most of its time. No token spans a space, so the ids of each
space-separated piece are kept; and plain ASCII text without ``&`` is clean already. The ids are
those of MMSegmentation's function.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import regex
import torch
from mmseg.utils import tokenizer as clip_bpe
from torch import Tensor

# Distinct pieces and words of which the ids are kept: web captions hold millions, of which a
# loader worker would keep all. A long piece is rarely met again.
_MAX_CACHED, _MAX_CACHED_LENGTH = 200_000, 32

_ids_of_pieces: dict[str, tuple[int, ...]] = {}


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
    start, end = clip_bpe._tokenizer.all_special_ids
    rows = np.zeros((len(texts), context_length), np.int64)
    for row, text in zip(rows, texts, strict=True):
        ids = [start]
        for piece_ids in _piece_ids(text):
            ids += piece_ids
            if len(ids) >= context_length:
                break
        ids = [*ids[: context_length - 1], end]
        row[: len(ids)] = ids
    return torch.from_numpy(rows)


def word_ids(word: str) -> tuple[int, ...]:
    """Encode a word without start and end token, of any length.

    Example:
        >>> word_ids('a cat') == word_ids(' A  Cat')
        True
    """
    return tuple(index for ids in _piece_ids(word) for index in ids)


def _piece_ids(text: str) -> Iterator[tuple[int, ...]]:
    """Yield the ids of each space-separated piece of a text."""
    for piece in _clean(text).split(' '):
        ids = _ids_of_pieces.get(piece)
        yield _encode_piece(piece) if ids is None else ids


def _clean(text: str) -> str:
    """Repair, collapse white space and lower-case a text."""
    if text.isascii() and text.isprintable() and '&' not in text:
        return ' '.join(text.split()).lower()
    return clip_bpe.whitespace_clean(clip_bpe.basic_clean(text)).lower()


def _encode_piece(piece: str) -> tuple[int, ...]:
    """Encode clean text without spaces, and keep the result."""
    encoder = clip_bpe._tokenizer
    words = regex.findall(encoder.pat, piece)
    letters = (''.join(encoder.byte_encoder[byte] for byte in word.encode()) for word in words)
    tokens = (token for word in letters for token in encoder.bpe(word).split(' '))
    ids = tuple(encoder.encoder[token] for token in tokens)
    _empty_full_caches()
    if len(piece) <= _MAX_CACHED_LENGTH:
        _ids_of_pieces[piece] = ids
    return ids


def _empty_full_caches() -> None:
    """Empty the cache of pieces, and the encoder's of words but for its special tokens."""
    if len(_ids_of_pieces) >= _MAX_CACHED:
        _ids_of_pieces.clear()
    encoder = clip_bpe._tokenizer
    if len(encoder.cache) > _MAX_CACHED:
        special = [encoder.decoder[index] for index in encoder.all_special_ids]
        encoder.cache = {token: token for token in special}
