"""What activates a segment: the images and the words that its embedding is nearest to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class SegmentSight(NamedTuple):
    """The segments of one image.

    Attributes:
        embeds (Tensor): Projected and normalised ``(S, D)``.
        shares (Tensor): Share of the pixels of each segment ``(S,)``.
    """

    embeds: Tensor
    shares: Tensor


class SegmentConcept(NamedTuple):
    """What a segment stands for.

    Attributes:
        segment (int): Its index.
        share (float): Of all pixels.
        images (tuple[int, ...]): Images that excite it most, the strongest first.
        words (tuple[tuple[str, float], ...]): Words it is nearest to, with their cosines.
    """

    segment: int
    share: float
    images: tuple[int, ...]
    words: tuple[tuple[str, float], ...]


def segment_concepts(
    sights: Iterable[SegmentSight],
    word_embeds: Tensor,
    words: Sequence[str],
    *,
    top_images: int = 5,
    top_words: int = 5,
    min_share: float = 0.02,
) -> list[SegmentConcept]:
    """Find what each segment stands for over many images.

    A segment's concept is the mean of its embeddings, weighted by its shares. Images are ordered by
    how near the segment is to that in them; those of which it owns too little are left out.

    Args:
        sights (Iterable[SegmentSight]): Of the images, in order.
        word_embeds (Tensor): Normalised ``(K, D)``.
        words (Sequence[str]): The ``K`` words.
        top_images (int): Images per segment. Defaults to 5.
        top_words (int): Words per segment. Defaults to 5.
        min_share (float): Share of an image that a segment must own. Defaults to 0.02.

    Returns:
        list[SegmentConcept]: One per segment, by index.

    Raises:
        ValueError: If there is no image.
    """
    listed = list(sights)
    if not listed:
        raise ValueError('No image to look for segments in: give a folder with pictures.')
    embeds = torch.stack([sight.embeds for sight in listed])  # (I, S, D)
    shares = torch.stack([sight.shares for sight in listed])  # (I, S)
    concepts = F.normalize((embeds * shares[..., None]).sum(0), dim=-1)  # (S, D)
    nearness = (embeds * concepts).sum(-1).masked_fill(shares < min_share, -torch.inf)
    cosines = concepts @ word_embeds.T  # (S, K)
    found = []
    for segment in range(concepts.shape[0]):
        near = nearness[:, segment]
        order = near.argsort(descending=True, stable=True)[:top_images].tolist()
        best = cosines[segment].topk(min(top_words, len(words)))
        found.append(
            SegmentConcept(
                segment,
                float(shares[:, segment].mean()),
                tuple(index for index in order if near[index] > -torch.inf),
                tuple((words[i], v) for v, i in zip(best.values.tolist(), best.indices.tolist())),
            )
        )
    return found
