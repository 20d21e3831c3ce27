"""A convolutional stem in place of the patch embedding (arXiv 2106.14881); not the paper's."""

from collections.abc import Sequence

from mmseg.models.backbones.resnet import BasicBlock
from torch import Tensor, nn


class StemLevel(nn.Module):
    """A convolution of stride 2, which halves the map, and residual blocks of a ResNet."""

    def __init__(self, in_channels: int, channels: int, num_blocks: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.blocks = nn.Sequential(*(BasicBlock(channels, channels) for _ in range(num_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C', H / 2, W / 2)``."""
        return self.blocks(self.relu(self.norm(self.conv(x))))


class ConvStem(nn.Module):
    """Patch tokens from overlapping convolutions instead of one linear layer on each patch.

    A transformer on few images learns faster from them. Pixels beyond the last whole patch are
    dropped, as by :class:`PatchEmbed`. Contains BatchNorm, so micro-batches need frozen weights.

    Args:
        in_channels (int): Image channels.
        embed_dims (int): Width ``C`` of the tokens.
        channels (Sequence[int]): Width of each level; a patch is ``2 ** len(channels)`` pixels.
        num_blocks (Sequence[int]): Residual blocks of each level.

    Raises:
        ValueError: If the two sequences differ in length or are empty.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models.conv_stem import ConvStem
        >>> stem = ConvStem(3, 24, channels=(8, 16, 16), num_blocks=(0, 0, 1))
        >>> tokens, grid = stem(torch.randn(2, 3, 40, 48))
        >>> tokens.shape, grid
        (torch.Size([2, 30, 24]), (5, 6))
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        *,
        channels: Sequence[int],
        num_blocks: Sequence[int],
    ) -> None:
        super().__init__()
        if not channels or len(channels) != len(num_blocks):
            raise ValueError(
                f'A stem needs a number of blocks for each level, but channels = {tuple(channels)} '
                f'and num_blocks = {tuple(num_blocks)}.'
            )
        widths = [in_channels, *channels]
        self.levels = nn.Sequential(*map(StemLevel, widths, channels, num_blocks))
        self.patch_size = 2 ** len(channels)
        self.proj = nn.Conv2d(channels[-1], embed_dims, 1, bias=False)
        # Centres the tokens: what all have in common would assign all to one segment.
        self.norm_proj = nn.BatchNorm2d(embed_dims)
        self.norm = nn.LayerNorm(embed_dims)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw convolutions for ReLU; let residual blocks begin as identities."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            if isinstance(module, BasicBlock):
                nn.init.zeros_(module.norm2.weight)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed ``(B, 3, H, W)``; return tokens ``(B, N, C)`` and ``(h, w)``."""
        height, width = (side // self.patch_size * self.patch_size for side in images.shape[2:])
        grid = self.norm_proj(self.proj(self.levels(images[..., :height, :width])))  # (B, C, h, w)
        # (B, C, h, w) to (B, C, N) to (B, N, C)
        return self.norm(grid.flatten(2).transpose(1, 2)), (grid.shape[2], grid.shape[3])
