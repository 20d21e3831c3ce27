"""The projection MLP that brings both towers into one space."""

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.onednn import training_linears


@MODELS.register_module()
class GroupViTProjector(PretrainedInit, BaseModule):
    """``num_layers - 1`` times linear, BatchNorm, ReLU, then linear (paper: section 4.1).

    BatchNorm takes its statistics over every axis but the last.

    Args:
        in_channels (int): Width of the tower.
        hidden_channels (int): Width between the layers. Defaults to 4096.
        out_channels (int): Width ``D`` of the common space. Defaults to 256.
        num_layers (int): Linear layers; 0 makes an identity. Defaults to 2.
        pool_projected (bool): Whether the embedding of an image is the mean, over its patches, of
            their segments' projections, instead of the projection of the segments' mean. Nothing
            is normalised before the mean, so that a segment's length says how much it counts:
            those that no caption speaks of become short. For the projector of the image tower;
            ours. The weights then contain a buffer ``pools``, so that no model without the option
            loads them. Defaults to False, the paper's.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupViTProjector
        >>> projector = GroupViTProjector(24, hidden_channels=32, out_channels=16)
        >>> projector(torch.randn(2, 8, 24)).shape
        torch.Size([2, 8, 16])
    """

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_channels: int = 4096,
        out_channels: int = 256,
        num_layers: int = 2,
        pool_projected: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        hidden: list[nn.Module] = []
        for _ in range(num_layers - 1):
            hidden += [nn.Linear(in_channels, hidden_channels), nn.BatchNorm1d(hidden_channels)]
            hidden += [nn.ReLU()]
            in_channels = hidden_channels
        self.hidden = nn.Sequential(*hidden)
        self.out = nn.Linear(in_channels, out_channels) if num_layers else nn.Identity()
        self.pool_projected = pool_projected
        if pool_projected:
            self.register_buffer('pools', torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Project ``(..., in_channels)`` to ``(..., out_channels)``."""
        with training_linears(x):
            rows = self.out(self.hidden(x.flatten(0, -2)))  # (all rows, out_channels)
        return rows.unflatten(0, x.shape[:-1])
