"""Embeddings of words set into templates, through the text tower in batches.

Shapes: ``K`` words, ``T`` texts, of which ``U`` are distinct, ``L`` text tokens, ``D`` channels of
the common space.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from groupvit_mmseg.models.micro_batching import distinct_texts
from groupvit_mmseg.models.similarity import normalize
from groupvit_mmseg.models.text_encoder import GroupViTTextEncoder
from groupvit_mmseg.text import tokenize

WORDS_AT_A_TIME = 256
"""int: Words whose sentences exist at a time; it limits the memory and does not change results."""
TEXTS_PER_BATCH = 128
"""int: Sentences that go through the text encoder in one call."""


def embed_words(
    prompts: Sequence[tuple[str, Sequence[str]]],
    text_encoder: GroupViTTextEncoder,
    text_projector: nn.Module,
) -> Tensor:
    """Embed words: the normalised mean over the projected sentences of each word.

    Args:
        prompts (Sequence[tuple[str, Sequence[str]]]): ``K`` words, each with its templates.
        text_encoder (GroupViTTextEncoder): The text tower.
        text_projector (nn.Module): Its projector; in evaluation mode, or BatchNorm mixes words.

    Returns:
        Tensor: ``(K, D)``.
    """
    means: list[Tensor] = []
    for start in range(0, len(prompts), WORDS_AT_A_TIME):
        some = prompts[start : start + WORDS_AT_A_TIME]
        texts = [template.format(word) for word, templates in some for template in templates]
        embeds = _embed_texts(texts, text_encoder, text_projector)  # (T, D)
        per_word = embeds.split([len(templates) for _, templates in some])
        means += [rows.mean(dim=0) for rows in per_word]
    (embeds,) = normalize(torch.stack(means))  # (K, D)
    return embeds


def _embed_texts(
    texts: Sequence[str], text_encoder: GroupViTTextEncoder, text_projector: nn.Module
) -> Tensor:
    """Project texts, not normalised, ``(T, D)``: distinct ones in batches of like length."""
    device = next(text_encoder.parameters()).device
    token_ids = tokenize(texts, text_encoder.context_length).to(device)  # (T, L)
    rows, index = distinct_texts(token_ids)  # (U, L), (T,)
    batches = rows.split(TEXTS_PER_BATCH)
    return torch.cat([text_projector(text_encoder(batch)) for batch in batches])[index]
