"""Images to patch tokens, and the images that can be split into patches."""

from torch import Tensor, nn

from groupvit_mmseg.models.conv_stem import ConvStem


class PatchEmbed(nn.Module):
    """Embedding of non-overlapping patches; pixels beyond the last whole patch are dropped."""

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(embed_dims)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed ``(B, 3, H, W)``; return tokens ``(B, N, C)`` and ``(h, w)``."""
        grid = self.proj(images)  # (B, C, h, w)
        # (B, C, h, w) to (B, C, N) to (B, N, C)
        return self.norm(grid.flatten(2).transpose(1, 2)), (grid.shape[2], grid.shape[3])


def build_embedding(
    in_channels: int, embed_dims: int, patch_size: int, conv_stem: dict | None = None
) -> PatchEmbed | ConvStem:
    """Build a patch embedding, or the stem in its place.

    Raises:
        ValueError: If the levels of the stem do not halve the image down to ``patch_size``.
    """
    if conv_stem is None:
        return PatchEmbed(in_channels, embed_dims, patch_size)
    stem = ConvStem(in_channels, embed_dims, **conv_stem)
    if stem.patch_size != patch_size:
        raise ValueError(
            f'conv_stem has {len(stem.levels)} levels, which make patches of {stem.patch_size} px, '
            f'but patch_size = {patch_size}.'
        )
    return stem


def check_image_shape(images: Tensor, patch_size: int, name: str = 'GroupViT') -> None:
    """Raise ``ValueError`` unless images have shape ``(B, C, H, W)`` and hold a patch."""
    if images.dim() != 4 or any(n < patch_size for n in images.shape[2:]):
        raise ValueError(
            f'{name} takes images (B, C, H, W) of at least one patch of {patch_size} px a side, '
            f'but got shape {tuple(images.shape)}.'
        )
