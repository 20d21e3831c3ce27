"""What one pass of GroupViT gives."""

from typing import NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.models.feature_maps import spread
from groupvit_mmseg.models.grouping import compose


class GroupViTOutput(NamedTuple):
    """What one pass over ``B`` images gives.

    Attributes:
        segments (Tensor): ``(B, S, C)`` after the final LayerNorm.
        pooled (Tensor): ``(B, C)``, the mean of the segments: the image embedding.
        hard_assignments (tuple[Tensor, ...]): per grouping stage ``(B, S_i, N_i)``, one-hot over
            ``S_i`` in value.
        soft_assignments (tuple[Tensor, ...]): the same shapes, softmax over ``S_i``.
        patch_shape (tuple[int, int]): ``h, w`` of the patch grid; ``N_1 = h * w``.
        image_shape (tuple[int, int]): ``H, W`` of the images in pixels.
    """

    segments: Tensor
    pooled: Tensor
    hard_assignments: tuple[Tensor, ...]
    soft_assignments: tuple[Tensor, ...]
    patch_shape: tuple[int, int]
    image_shape: tuple[int, int]

    def group_probs(self, num_stages: int | None = None) -> Tensor:
        """Probability of each segment at each patch, ``(B, S, h, w)``, from soft assignments.

        Args:
            num_stages (int, optional): segments of which grouping stage, counted from 1.
                Defaults to the last.
        """
        return self._on_grid(self.soft_assignments[:num_stages])

    def _on_grid(self, assignments: tuple[Tensor, ...]) -> Tensor:
        """Composed assignments ``(B, S, h, w)``; without any, each patch is a segment."""
        if not assignments:
            own = torch.eye(self.segments.shape[1], device=self.segments.device)
            return own.expand(len(self.segments), -1, -1).unflatten(-1, self.patch_shape)
        return compose(assignments).unflatten(-1, self.patch_shape)

    def segment_shares(self) -> Tensor:
        """Share of the patches that each segment owns, ``(B, S)``; gradients straight through."""
        if not self.hard_assignments:
            count = self.segments.shape[1]
            return torch.full((len(self.segments), count), 1 / count, device=self.segments.device)
        return compose(self.hard_assignments).mean(dim=-1)

    def feature_map(self) -> Tensor:
        """Every patch's own segment, ``(B, C, h, w)``; gradients flow straight through."""
        return spread(self.segments, self.hard_assignments, self.patch_shape)
