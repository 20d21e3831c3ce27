"""A pyramid of several strides and widths from a backbone of one stride."""

from collections.abc import Sequence

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

DEFAULT_NORM = dict(type='GN', num_groups=1)  # a LayerNorm: any width, any batch size
SCALES = (4, 2, 1, 0.5, 0.25)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """A neck that makes the strides and widths of a ResNet, for heads that need them.

    Each level is resized by deconvolutions or max-pooling, brought to its width by a 1x1
    convolution and normalised (Li et al. 2022, Exploring Plain Vision Transformer Backbones for
    Object Detection, arXiv 2203.16527, section 3). MMSegmentation's ``Feature2Pyramid`` fixes
    scales and keeps the width.

    The last stages of a GroupViT have few segments, so few different tokens: a head that reads one
    level only should read it with ``merge=True``.

    Args:
        in_channels (int | Sequence[int]): Width of each input map; one number for as many maps as
            there are levels.
        out_channels (Sequence[int]): Width of each level. Defaults to ResNet-50's.
        scales (Sequence[float | None]): Factor on the size for each level, of 4, 2, 1, .5, .25;
            None for a level that no head reads, which is not built. Defaults to strides 4, 8, 16,
            32 from patches of 16 pixels.
        merge (bool): Whether every level is computed from all maps, which then must have one size:
            they are concatenated and projected to the width of the first. Defaults to False.
        norm_cfg (dict, optional): Config of mmcv's norm layers; None for no norm. Defaults to a
            LayerNorm.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Raises:
        ValueError: For widths or scales that do not match each other.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import SimpleFeaturePyramid
        >>> neck = SimpleFeaturePyramid(24, out_channels=(8, 16), scales=(2, 1))
        >>> [tuple(level.shape) for level in neck([torch.randn(1, 24, 5, 7)])]
        [(1, 8, 10, 14), (1, 16, 5, 7)]
    """

    def __init__(
        self,
        in_channels: int | Sequence[int],
        *,
        out_channels: Sequence[int] = (256, 512, 1024, 2048),
        scales: Sequence[float | None] = (4, 2, 1, 0.5),
        merge: bool = False,
        norm_cfg: dict | None = DEFAULT_NORM,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        widths = [in_channels] * len(scales) if isinstance(in_channels, int) else [*in_channels]
        self.num_maps = len(widths)
        self.merge = nn.Conv2d(sum(widths), widths[0], kernel_size=1) if merge else None
        widths = widths[:1] * len(scales) if merge else widths
        check_pyramid(widths, out_channels, scales)
        self.levels = nn.ModuleList(
            nn.Identity() if scale is None else level(width, out, scale, norm_cfg)
            for width, out, scale in zip(widths, out_channels, scales, strict=True)
        )
        self.is_built = [scale is not None for scale in scales]

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
        """Compute one level per scale.

        Args:
            inputs (Sequence[Tensor]): One map ``(B, C, h, w)`` for all levels, or one for each;
                with ``merge`` as many as there are widths.

        Returns:
            tuple[Tensor | None, ...]: ``(B, out_channels[i], h * scales[i], w * scales[i])``, None
            for a level that is not built.

        Raises:
            ValueError: For another number of maps.
        """
        self._check(len(inputs))
        if self.merge is not None:
            inputs = [self.merge(torch.cat(list(inputs), dim=1))]  # (B, C, h, w) of the first
        maps = list(inputs) * len(self.levels) if len(inputs) == 1 else inputs
        return tuple(
            layers(x) if is_built else None
            for layers, x, is_built in zip(self.levels, maps, self.is_built, strict=True)
        )

    def _check(self, count: int) -> None:
        """Raise ``ValueError`` for another number of maps."""
        allowed = {self.num_maps} if self.merge is not None else {1, self.num_maps}
        if count not in allowed:
            raise ValueError(
                f'SimpleFeaturePyramid takes {" or ".join(map(str, sorted(allowed)))} map(s), but '
                f"got {count}: adapt the backbone's out_indices or the neck's in_channels."
            )


def level(width: int, out_channels: int, scale: float, norm_cfg: dict | None) -> nn.Module:
    """Build the layers that make one level of a map."""
    return nn.Sequential(
        resampling(width, scale, norm_cfg),
        nn.Conv2d(width, out_channels, kernel_size=1),
        norm(out_channels, norm_cfg),
    )


def resampling(channels: int, scale: float, norm_cfg: dict | None) -> nn.Module:
    """Build the layers that change the size of a map ``(B, C, h, w)`` by a factor."""
    if scale == 1:
        return nn.Identity()
    if scale < 1:
        # Odd and tiny grids keep their last row, as with a convolution of that stride.
        return nn.MaxPool2d(round(1 / scale), ceil_mode=True)
    doubled = nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2)
    if scale == 2:
        return doubled
    return nn.Sequential(
        doubled,
        norm(channels, norm_cfg),
        nn.GELU(),
        nn.ConvTranspose2d(channels, channels, kernel_size=2, stride=2),
    )


def norm(channels: int, norm_cfg: dict | None) -> nn.Module:
    """Build a norm layer by its config, an identity for None."""
    return nn.Identity() if norm_cfg is None else build_norm_layer(norm_cfg, channels)[1]


def check_pyramid(
    in_channels: Sequence[int], out_channels: Sequence[int], scales: Sequence[float | None]
) -> None:
    """Raise ``ValueError`` unless there is one of each per level."""
    if not len(in_channels) == len(out_channels) == len(scales) > 0:
        raise ValueError(
            f'SimpleFeaturePyramid needs one scale and one width per level, but has '
            f'{len(scales)} scales, {len(out_channels)} out_channels and {len(in_channels)} '
            'in_channels.'
        )
    if not set(scales) <= {*SCALES, None}:
        raise ValueError(f'scales = {tuple(scales)} may hold {SCALES} and None only.')
