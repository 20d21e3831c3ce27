"""Embeddings of an image and of its segments in the common space.

Shapes: ``B`` images, ``S`` segments, ``C`` channels of the tower, ``D`` of the common space.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from groupvit_mmseg.models.assignment import mean_of_members
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.precision import upcast_half
from groupvit_mmseg.models.projector import GroupViTProjector
from groupvit_mmseg.models.similarity import normalize


def mean_over_patches(segment_embeds: Tensor, segment_shares: Tensor) -> Tensor:
    """Return the mean over the patches of an image of their segments' embeddings.

    Args:
        segment_embeds (Tensor): ``(B, S, D)``, not normalised.
        segment_shares (Tensor): ``(B, S)``, the share of the patches in each segment.

    Returns:
        Tensor: ``(B, D)``.

    Example:
        >>> segments = torch.tensor([[[4.0, 0.0], [0.0, 2.0]]])
        >>> mean_over_patches(segments, torch.tensor([[0.75, 0.25]]))
        tensor([[3.0000, 0.5000]])
    """
    return (segment_shares.unsqueeze(-1) * segment_embeds).sum(dim=1)  # (B, S, 1) * (B, S, D)


def length_of(embeds: Tensor) -> Tensor:
    """Return the lengths of embeddings ``(..., D)`` as ``(..., 1)``, none of them 0."""
    return embeds.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(embeds.dtype).eps)


def pool_projections(output: GroupViTOutput, projector: GroupViTProjector) -> tuple[Tensor, Tensor]:
    """Project segments, or the tokens that they are means of, and return the means over patches.

    Args:
        output (GroupViTOutput): Output for ``B`` images.
        projector (GroupViTProjector): Projector of the image tower, with ``pool_projected``.

    Returns:
        tuple[Tensor, Tensor]: Embeddings of the images ``(B, D)`` and of their segments
        ``(B, S, D)``, not normalised, at least in float32.
    """
    if output.tokens is None:
        (segments,) = upcast_half(projector(output.segments))  # (B, S, D)
        return mean_over_patches(segments, output.segment_shares()), segments
    (tokens,) = upcast_half(projector(output.tokens))  # (B, N, D)
    return tokens.mean(dim=1), mean_of_members(tokens, output.hard_assignments[-1])


def project_segments(output: GroupViTOutput, projector: GroupViTProjector) -> Tensor:
    """Return the embeddings of segments, ``(B, S, D)``, not normalised.

    Args:
        output (GroupViTOutput): Output for ``B`` images.
        projector (GroupViTProjector): Projector of the image tower.
    """
    if not projector.pool_projected:
        return projector(output.segments)
    return pool_projections(output, projector)[1]


def embed_images(output: GroupViTOutput, projector: GroupViTProjector) -> Tensor:
    """Return the embeddings of images, ``(B, D)``, not normalised.

    Args:
        output (GroupViTOutput): Output for ``B`` images.
        projector (GroupViTProjector): Projector of the image tower.
    """
    if not projector.pool_projected:
        return projector(output.pooled)
    return pool_projections(output, projector)[0]


def embed_segments(output: GroupViTOutput, projector: GroupViTProjector) -> Tensor:
    """Return the embeddings that are compared with words: of the image, then of its segments.

    Args:
        output (GroupViTOutput): Output for ``B`` images.
        projector (GroupViTProjector): Projector of the image tower.

    Returns:
        Tensor: ``(B, 1 + S, D)``, all of length 1. If the projector has ``pool_projected``, the
        image is the mean of the segments over its patches, and only its own length is 1.
    """
    if not projector.pool_projected:
        tokens = torch.cat([output.pooled[:, None], output.segments], dim=1)  # (B, 1 + S, C)
        return normalize(projector(tokens))[0]
    images, segments = pool_projections(output, projector)
    images = images[:, None]  # (B, 1, D)
    return torch.cat([images, segments], dim=1) / length_of(images)


def affinity_of_similarity(similarity: Tensor, projector: GroupViTProjector) -> Tensor:
    """Map similarities of embeddings to affinities in [0, 1], in the same order.

    Cosines as ``(1 + cos) / 2``; similarities of long segments, which have no limit, in the same
    way after ``x / (1 + |x|)``.
    """
    if projector.pool_projected:
        similarity = F.softsign(similarity)
    return (1 + similarity) / 2
