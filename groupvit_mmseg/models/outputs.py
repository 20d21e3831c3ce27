"""Outputs of the stages and of GroupViT, and the feature maps made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, SupportsIndex, overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupvit_mmseg.models.assignment import Assignment, compose, mean_of_members

OUT_TYPES = ('featmap', 'raw', 'segments', 'pooled')


class StageOutput(NamedTuple):
    """Output of a stage.

    Attributes:
        tokens (Tensor): ``(B, N, C)``, the input of the grouping block; without one, the segments.
        segments (Tensor): ``(B, S, C')``, the input of the next stage.
        group_tokens (Tensor, optional): ``(B, G, C)`` after the blocks.
        assignment (Assignment, optional): Assignment of tokens to segments.
        normed_tokens (Tensor, optional): ``(B, N, C)``, what the segments of the last stage are
            plain means of, if they are. Defaults to None.
    """

    tokens: Tensor
    segments: Tensor
    group_tokens: Tensor | None
    assignment: Assignment | None
    normed_tokens: Tensor | None = None

    def mean(self) -> Tensor:
        """Return the mean of the segments ``(B, C)``, or of the tokens that they are means of."""
        parts = self.segments if self.normed_tokens is None else self.normed_tokens
        return parts.mean(dim=1)


def normalised(last: StageOutput, norm: nn.Module, *, keep_tokens: bool) -> StageOutput:
    """Normalise the segments of the last stage.

    Args:
        last (StageOutput): Its output.
        norm (nn.Module): Normalisation of tokens ``(B, ..., C)``.
        keep_tokens (bool): Whether segments are the means of their tokens, which are normalised
            instead.
    """
    if keep_tokens and last.assignment is not None:
        tokens = norm(last.tokens)
        segments = mean_of_members(tokens, last.assignment.hard)
        return last._replace(segments=segments, normed_tokens=tokens)
    segments = norm(last.segments)
    tokens = segments if last.assignment is None else last.tokens
    return last._replace(tokens=tokens, segments=segments)


class FeatureLevels(tuple[Tensor, ...]):
    """The levels that a backbone returns; for a level that is missing it raises a clear error."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Tensor | tuple[Tensor, ...]:
        """Return a level, or some.

        Raises:
            IndexError: If there is no such level.
        """
        try:
            return super().__getitem__(index)
        except IndexError:
            raise IndexError(
                f'GroupViT gives {len(self)} level(s), counted from 0, but level {index} was asked '
                "for: lengthen the backbone's out_indices, add a SimpleFeaturePyramid as the neck, "
                "or lower the head's in_index."
            ) from None


def segments_to_feature_map(
    segments: Tensor, assignments: tuple[Tensor, ...], patch_shape: tuple[int, int]
) -> Tensor:
    """Return the token of each patch's segment as a map.

    Args:
        segments (Tensor): ``(B, S, C)``.
        assignments (tuple[Tensor, ...]): Hard assignments ``(B, S_i, N_i)`` of all stages that led
            to the segments; without any, ``S = h * w``.
        patch_shape (tuple[int, int]): ``h, w``.

    Returns:
        Tensor: ``(B, C, h, w)``; gradients reach the assignments straight through.
    """
    if not assignments:
        return segments.transpose(1, 2).unflatten(-1, patch_shape)  # (B, C, h, w)
    membership = compose(assignments).to(segments.dtype)  # (B, S, N)
    tokens = torch.bmm(segments.transpose(1, 2), membership)  # (B, C, S) @ (B, S, N) = (B, C, N)
    return tokens.unflatten(-1, patch_shape)  # (B, C, h, w)


def feature_level(
    stages: Sequence[StageOutput], index: int, out_type: str, patch_shape: tuple[int, int]
) -> Tensor:
    """Return one level of a :class:`GroupViT`, of type ``out_type``."""
    stage = stages[index]
    if out_type == 'segments':
        return stage.segments
    if out_type == 'pooled':
        return stage.segments.mean(dim=1)
    # The tokens before the grouping block of a stage do not depend on its assignment.
    through = stages[:index] if out_type == 'raw' else stages[: index + 1]
    tokens = stage.tokens if out_type == 'raw' else stage.segments
    return segments_to_feature_map(tokens, hard_assignments(through), patch_shape)


def hard_assignments(stages: Sequence[StageOutput]) -> tuple[Tensor, ...]:
    """Return the hard assignments ``(B, S_i, N_i)`` of the stages that group."""
    return tuple(stage.assignment.hard for stage in stages if stage.assignment is not None)


def check_levels(
    out_indices: Sequence[int] | None, out_type: str | Sequence[str], num_stages: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the stage and the type of each level; by default one level, of the last stage.

    Raises:
        ValueError: If a stage or a type does not exist.
    """
    indices = (num_stages - 1,) if out_indices is None else tuple(out_indices)
    types = (out_type,) * len(indices) if isinstance(out_type, str) else tuple(out_type)
    if not indices or any(not 0 <= index < num_stages for index in indices):
        raise ValueError(
            f'out_indices = {indices} must name at least one of the {num_stages} stages, counted '
            f'from 0 to {num_stages - 1}.'
        )
    if len(types) != len(indices) or not set(types) <= set(OUT_TYPES):
        raise ValueError(
            f'out_type = {out_type!r} must be one of {OUT_TYPES}, or one of them for each of the '
            f'{len(indices)} out_indices.'
        )
    return indices, types


class GroupViTOutput(NamedTuple):
    """Output of one pass over ``B`` images.

    Attributes:
        segments (Tensor): ``(B, S, C)`` after the final LayerNorm.
        pooled (Tensor): ``(B, C)``, the mean of the segments, or of ``tokens``, of the image.
        hard_assignments (tuple[Tensor, ...]): ``(B, S_i, N_i)`` of each stage that groups, one-hot
            over ``S_i`` in value.
        soft_assignments (tuple[Tensor, ...]): The same shapes, softmax over ``S_i``.
        patch_shape (tuple[int, int]): ``h, w`` of the patch grid; ``N_1 = h * w``.
        image_shape (tuple[int, int]): ``H, W`` of the images in pixels.
        tokens (Tensor, optional): ``(B, N, C)`` of the patches, if the segments are plain means of
            them: a projector with ``pool_projected`` projects them before the mean.
            Defaults to None.
    """

    segments: Tensor
    pooled: Tensor
    hard_assignments: tuple[Tensor, ...]
    soft_assignments: tuple[Tensor, ...]
    patch_shape: tuple[int, int]
    image_shape: tuple[int, int]
    tokens: Tensor | None = None

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the output."""
        tokens = [] if self.tokens is None else [self.tokens]
        parts = [self.segments, self.pooled, *self.hard_assignments, *self.soft_assignments]
        return parts + tokens

    def of_image(self, index: int) -> GroupViTOutput:
        """Return a copy of the output for one image, ``B = 1``, which does not hold the batch."""
        part = slice(index, index + 1)
        return self._replace(
            segments=self.segments[part].clone(),
            pooled=self.pooled[part].clone(),
            hard_assignments=tuple(each[part].clone() for each in self.hard_assignments),
            soft_assignments=tuple(each[part].clone() for each in self.soft_assignments),
            tokens=None if self.tokens is None else self.tokens[part].clone(),
        )

    def to_float32(self) -> GroupViTOutput:
        """Return the output with its embeddings in float32."""
        return self._replace(
            segments=self.segments.float(),
            pooled=self.pooled.float(),
            tokens=None if self.tokens is None else self.tokens.float(),
        )

    def group_probs(self, num_stages: int | None = None) -> Tensor:
        """Return the probability of each segment at each patch, from the soft assignments.

        Args:
            num_stages (int, optional): Grouping stage whose segments are returned, counted from 1.
                Defaults to the last.

        Returns:
            Tensor: ``(B, S, h, w)``; sums to one over ``S``.
        """
        assignments = self.soft_assignments[:num_stages]
        if not assignments:  # each patch is a segment
            identity = torch.eye(self.segments.shape[1], device=self.segments.device)
            return identity.expand(len(self.segments), -1, -1).unflatten(-1, self.patch_shape)
        return compose(assignments).unflatten(-1, self.patch_shape)  # (B, S, N) to (B, S, h, w)

    def pixel_probs(self, num_stages: int | None = None) -> Tensor:
        """Return :meth:`group_probs` at the size of the images, ``(B, S, H, W)``, bilinear."""
        probs = self.group_probs(num_stages)
        return F.interpolate(probs, size=self.image_shape, mode='bilinear', align_corners=False)

    def group_map(self, num_stages: int | None = None) -> Tensor:
        """Return the segment that each pixel belongs to.

        Args:
            num_stages (int, optional): As :meth:`group_probs` takes it. Defaults to the last.

        Returns:
            Tensor: int64 ``(B, H, W)``, the segment of the highest :meth:`pixel_probs`.
        """
        if not self.soft_assignments:
            return nearest_patches(self.patch_shape, self.image_shape, self.segments)
        probs = self.pixel_probs(num_stages)
        if self.tokens is not None:  # a mean of no patch knows nothing of the pixels between two
            is_empty = self.segment_shares() == 0  # (B, S)
            probs = probs.masked_fill(is_empty[..., None, None], 0.0)
        # On CPUs many times faster than argmax over an axis that is not the last.
        return probs.max(dim=1).indices

    def segment_shares(self) -> Tensor:
        """Return the share of the patches in each segment, ``(B, S)``; straight-through."""
        if not self.hard_assignments:
            count = self.segments.shape[1]
            return torch.full((len(self.segments), count), 1 / count, device=self.segments.device)
        return compose(self.hard_assignments).mean(dim=-1)

    def feature_map(self) -> Tensor:
        """Return the token of each patch's segment, ``(B, C, h, w)``; straight-through."""
        return segments_to_feature_map(self.segments, self.hard_assignments, self.patch_shape)


def nearest_patches(
    patch_shape: tuple[int, int], image_shape: tuple[int, int], segments: Tensor
) -> Tensor:
    """Return the patch of each pixel, for a tower whose patches are its segments.

    This equals the maximum over one map per patch, resized bilinearly, without the memory of
    ``h * w`` channels at ``H, W`` pixels.

    Returns:
        Tensor: int64 ``(B, H, W)``.
    """
    rows, columns = (
        F.interpolate(torch.eye(count, device=segments.device)[None], size=size, mode='linear')
        .max(dim=1)
        .indices[0]
        for count, size in zip(patch_shape, image_shape, strict=True)
    )  # (H,), (W,)
    return (rows[:, None] * patch_shape[1] + columns).expand(len(segments), -1, -1)
