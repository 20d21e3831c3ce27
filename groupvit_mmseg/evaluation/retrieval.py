"""Images and words that activate each segment, by the nearness of its embedding.

Letters: ``I`` images, ``S`` segments, ``D`` channels of the joint space, ``K`` words.
"""

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
    """Images and words nearest to a segment's mean embedding.

    Attributes:
        segment (int): Index of the segment.
        share (float): Its share of all pixels.
        images (tuple[int, ...]): Images that activate it most, the strongest first.
        words (tuple[tuple[str, float], ...]): Nearest words with their cosines.
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
    """Find the images and words nearest to each segment over many images.

    A segment's concept is the mean of its embeddings, weighted by its shares. Images are ordered by
    the cosine of the segment's embedding there and the concept; images with less than ``min_share``
    of the segment are left out.

    Args:
        sights (Iterable[SegmentSight]): Segments of each image, in order.
        word_embeds (Tensor): Normalised ``(K, D)``.
        words (Sequence[str]): The ``K`` words.
        top_images (int): Images per segment. Defaults to 5.
        top_words (int): Words per segment. Defaults to 5.
        min_share (float): Least share of an image that a segment covers. Defaults to 0.02.

    Returns:
        list[SegmentConcept]: One per segment, by index.

    Raises:
        ValueError: If there is no image.

    Example:
        >>> sight = SegmentSight(torch.eye(2), torch.tensor([0.75, 0.25]))
        >>> for concept in segment_concepts([sight], torch.eye(2), ['up', 'right'], top_words=1):
        ...     print(concept)
        SegmentConcept(segment=0, share=0.75, images=(0,), words=(('up', 1.0),))
        SegmentConcept(segment=1, share=0.25, images=(0,), words=(('right', 1.0),))
    """
    listed = list(sights)
    if not listed:
        raise ValueError('No image to look for segments in: give a folder with images.')
    embeds = torch.stack([sight.embeds for sight in listed])  # (I, S, D)
    shares = torch.stack([sight.shares for sight in listed])  # (I, S)
    centres = F.normalize((embeds * shares[..., None]).sum(0), dim=-1)  # (S, D)
    nearness = (embeds * centres).sum(-1).masked_fill(shares < min_share, -torch.inf)  # (I, S)
    cosines = centres @ word_embeds.T  # (S, K)
    concepts = []
    for segment in range(centres.shape[0]):
        near = nearness[:, segment]
        order = near.argsort(descending=True, stable=True)[:top_images].tolist()
        best = cosines[segment].topk(min(top_words, len(words)))
        concepts.append(
            SegmentConcept(
                segment,
                float(shares[:, segment].mean()),
                tuple(index for index in order if near[index] > -torch.inf),
                tuple((words[i], v) for v, i in zip(best.values.tolist(), best.indices.tolist())),
            )
        )
    return concepts
