"""RandAugment's geometric operations on a batch of images, on any device.

``B`` images are blue-green-red ``(B, 3, H, W)``, uint8; a strength is ``(B)``, float32. Values are
interpolated bilinearly; pixels from outside an image have the colour ``FILL``, ImageNet's mean. A
result differs from OpenCV's by at most 1 in .02 % of the values.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

FILL = (104, 116, 124)


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotate clockwise around the centre."""
    angle = degrees.deg2rad()
    sine, cosine = angle.sin(), angle.cos()
    return _warp(images, [[cosine, sine], [-sine, cosine]], around_centre=True)


def shear_horizontally(images: Tensor, strength: Tensor) -> Tensor:
    """Move each row to the right by its distance from the top, times the strength."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _warp(images, [[one, -strength], [zero, one]])


def shear_vertically(images: Tensor, strength: Tensor) -> Tensor:
    """Move each column down by its distance from the left edge, times the strength."""
    one, zero = torch.ones_like(strength), torch.zeros_like(strength)
    return _warp(images, [[one, zero], [-strength, one]])


def translate_horizontally(images: Tensor, share: Tensor) -> Tensor:
    """Move to the right by a share of the width."""
    return _translate(images, -share * images.shape[3], torch.zeros_like(share))


def translate_vertically(images: Tensor, share: Tensor) -> Tensor:
    """Move down by a share of the height."""
    return _translate(images, torch.zeros_like(share), -share * images.shape[2])


def _translate(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Read every pixel at an offset."""
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    return _warp(images, [[one, zero], [zero, one]], offset=torch.stack([x, y], dim=-1))


def _warp(
    images: Tensor,
    matrix: list[list[Tensor]],
    *,
    offset: Tensor | None = None,
    around_centre: bool = False,
) -> Tensor:
    """Read every pixel at a linear function of its position.

    Args:
        images (Tensor): ``(B, 3, H, W)``.
        matrix (list[list[Tensor]]): Two rows of two entries ``(B)``, from (x, y) of the result to
            (x, y) of the image, in pixels.
        offset (Tensor, optional): ``(B, 2)``, added to it. Defaults to None.
        around_centre (bool): Whether positions are relative to the centre. Defaults to False.
    """
    height, width = images.shape[2:]
    last = torch.tensor([width - 1.0, height - 1.0], device=images.device)
    y, x = torch.meshgrid(
        torch.arange(height, device=images.device),
        torch.arange(width, device=images.device),
        indexing='ij',
    )
    centre = last / 2 if around_centre else torch.zeros_like(last)
    places = torch.stack([x, y], dim=-1).flatten(0, 1) - centre  # (H W, 2)
    matrices = torch.stack([torch.stack(row, dim=-1) for row in matrix], dim=-2)  # (B, 2, 2)
    sources = places @ matrices.mT + centre  # (B, H W, 2)
    if offset is not None:
        sources = sources + offset.unsqueeze(1)
    grid = (2 * sources / last.clamp(min=1) - 1).view(len(images), height, width, 2)
    fill = torch.tensor(FILL, device=images.device).view(3, 1, 1)
    values = F.grid_sample(images.float() - fill, grid, padding_mode='zeros', align_corners=True)
    return (values + fill).round().clamp(0, 255).to(torch.uint8)
