"""What other models take from GroupViT: a feature map or a set of tokens for each level."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.models.grouping import Assignment, compose

OUT_TYPES = ('featmap', 'raw', 'segments', 'pooled')


class StageOutput(NamedTuple):
    """What a stage gives.

    Attributes:
        tokens (Tensor): ``(B, N, C)`` as they go into the grouping block; without one, segments.
        segments (Tensor): ``(B, S, C')``, what the next stage sees.
        group_tokens (Tensor, optional): ``(B, G, C)`` after the blocks.
        assignment (Assignment, optional): of tokens to segments.
    """

    tokens: Tensor
    segments: Tensor
    group_tokens: Tensor | None
    assignment: Assignment | None


class FeatureLevels(tuple):
    """The levels a backbone gives; asked for one too many, it says so in a sentence."""

    __slots__ = ()

    def __getitem__(self, index: Any) -> Any:
        try:
            return super().__getitem__(index)
        except IndexError:
            raise IndexError(
                f'GroupViT gives {len(self)} level(s), counted from 0, but level {index} was asked '
                "for: lengthen the backbone's out_indices, add a SimpleFeaturePyramid as the neck, "
                "or lower the head's in_index."
            ) from None


def spread(
    segments: Tensor, assignments: tuple[Tensor, ...], patch_shape: tuple[int, int]
) -> Tensor:
    """Give every patch the token of the segment that it belongs to.

    Args:
        segments (Tensor): ``(B, S, C)``.
        assignments (tuple[Tensor, ...]): hard, of each stage that made them; none: ``S = h * w``.
        patch_shape (tuple[int, int]): ``h, w``.

    Returns:
        Tensor: ``(B, C, h, w)``; gradients reach the assignments straight through.
    """
    if not assignments:
        return segments.transpose(1, 2).unflatten(-1, patch_shape)
    membership = compose(assignments).to(segments.dtype)
    return torch.bmm(segments.transpose(1, 2), membership).unflatten(-1, patch_shape)


def feature_level(
    stages: Sequence[StageOutput], index: int, out_type: str, patch_shape: tuple[int, int]
) -> Tensor:
    """One level of a :class:`GroupViT`, as its ``out_type`` describes it."""
    stage = stages[index]
    if out_type == 'segments':
        return stage.segments
    if out_type == 'pooled':
        return stage.segments.mean(dim=1)
    # Before the grouping block of a stage its own assignment has not happened yet.
    through = stages[:index] if out_type == 'raw' else stages[: index + 1]
    tokens = stage.tokens if out_type == 'raw' else stage.segments
    return spread(tokens, hard_assignments(through), patch_shape)


def hard_assignments(stages: Sequence[StageOutput]) -> tuple[Tensor, ...]:
    """Hard assignments of the stages that group."""
    return tuple(stage.assignment.hard for stage in stages if stage.assignment is not None)


def check_levels(
    out_indices: Sequence[int] | None, out_type: str | Sequence[str], num_stages: int
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Stage and type of each level; by default one, of the last stage.

    Raises:
        ValueError: with one sentence, for a stage or a type that does not exist.
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
