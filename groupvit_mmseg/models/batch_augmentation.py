"""Augmentation of a batch on its device: flip, RandAugment and random erasing.

The operations, their probabilities and their strengths are those of the loader's
``RandomHorizontalFlip``, ``TimmRandAugment`` and ``RandomPixelErasing``; the random numbers are
others. Which images an operation changes is drawn on the CPU, so that no step waits for the device.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from groupvit_mmseg.datasets.rand_augment import MAX_MAGNITUDE, OPERATION_PROB, timm_increasing
from groupvit_mmseg.datasets.random_erasing import AREA_RANGE, ASPECT_RATIO_RANGE
from groupvit_mmseg.models import batch_colors as colors
from groupvit_mmseg.models import batch_warps as warps

# In the order of `timm_increasing`.
_OPERATIONS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    colors.auto_contrast,
    colors.equalize,
    colors.invert,
    warps.rotate,
    colors.posterize,
    colors.solarize,
    colors.solarize_add,
    colors.saturate,
    colors.change_contrast,
    colors.brighten,
    colors.sharpen,
    warps.shear_horizontally,
    warps.shear_vertically,
    warps.translate_horizontally,
    warps.translate_vertically,
)


class BatchAugmentation:
    """Augments batches of images ``(B, 3, H, W)``, uint8, blue-green-red.

    Args:
        flip_prob (float): Probability of a horizontal flip.
        num_ops (int): Operations drawn for an image; each is applied with probability 0.5.
        magnitude (float): Mean magnitude of an operation, 0 to 10.
        magnitude_std (float): Its standard deviation.
        erase_prob (float): Probability of an erased rectangle.
        noise_mean (Sequence[float]): Mean of its noise.
        noise_std (Sequence[float]): Standard deviation of its noise.
    """

    def __init__(
        self,
        *,
        flip_prob: float,
        num_ops: int,
        magnitude: float,
        magnitude_std: float,
        erase_prob: float,
        noise_mean: Sequence[float],
        noise_std: Sequence[float],
    ) -> None:
        self.flip_prob, self.erase_prob, self.num_ops = flip_prob, erase_prob, num_ops
        self.magnitude, self.magnitude_std = magnitude, magnitude_std
        self.noise_mean, self.noise_std = noise_mean, noise_std
        table = timm_increasing((0, 0, 0))
        bounds = torch.tensor([operation.bounds or (0, 0) for operation in table])
        self._low, self._high = bounds.double().unbind(1)
        self._signed = torch.tensor([operation.signed for operation in table])

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment one batch.

        Args:
            images (Tensor): The images; not changed.
            seed (int): Decides all random numbers.

        Returns:
            Tensor: Images of the same shape and type.
        """
        rng = torch.Generator().manual_seed(seed)
        images = self._flip(images, rng)
        for _ in range(self.num_ops):
            self._apply_operations(images, rng)
        self._erase(images, rng, torch.Generator(images.device).manual_seed(seed))
        return images

    def _flip(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Return a copy with some images mirrored."""
        flipped = torch.rand(len(images), generator=rng) < self.flip_prob
        mask = flipped.to(images.device).view(-1, 1, 1, 1)
        return torch.where(mask, images.flip(3), images).contiguous()

    def _apply_operations(self, images: Tensor, rng: torch.Generator) -> None:
        """Apply a random operation to about half of the images, in place."""
        drawn = torch.randint(len(_OPERATIONS), (len(images),), generator=rng)
        applied = torch.rand(len(images), generator=rng) <= OPERATION_PROB
        strength = self._strengths(drawn, rng)
        for index, operation in enumerate(_OPERATIONS):
            rows = (applied & (drawn == index)).nonzero().squeeze(1)
            if len(rows):
                places = rows.to(images.device)
                images[places] = operation(images[places], strength[rows].to(images.device))

    def _strengths(self, drawn: Tensor, rng: torch.Generator) -> Tensor:
        """Draw the strength of the operation of each image, ``(B)``."""
        noise = torch.randn(len(drawn), generator=rng, dtype=torch.double)
        share = (self.magnitude + self.magnitude_std * noise).clamp(0, MAX_MAGNITUDE)
        low, high = self._low[drawn], self._high[drawn]
        strength = low + share / MAX_MAGNITUDE * (high - low)
        negative = torch.rand(len(drawn), generator=rng) < OPERATION_PROB
        return torch.where(negative & self._signed[drawn], -strength, strength).float()

    def _erase(self, images: Tensor, rng: torch.Generator, noise_rng: torch.Generator) -> None:
        """Replace random rectangles of some images by noise, in place."""
        erased = torch.rand(len(images), generator=rng) <= self.erase_prob
        rows = erased.nonzero().squeeze(1)
        inside = _random_rectangles(len(rows), images.shape[2:], rng).to(images.device)
        places = rows.to(images.device)
        shape = (len(rows), *images.shape[1:])
        noise = torch.randn(shape, generator=noise_rng, device=images.device)
        mean, std = (
            torch.tensor(value, device=images.device).view(3, 1, 1)
            for value in (self.noise_mean, self.noise_std)
        )
        noise = (noise * std + mean).clamp(0, 255).to(torch.uint8)
        images[places] = torch.where(inside.unsqueeze(1), noise, images[places])


def _random_rectangles(count: int, size: Sequence[int], rng: torch.Generator) -> Tensor:
    """Draw rectangles, ``(count, H, W)``, True inside."""
    height, width = size
    draws = torch.rand(4, count, generator=rng, dtype=torch.double)
    low, high = map(math.log, ASPECT_RATIO_RANGE)
    aspect_ratio = (low + (high - low) * draws[0]).exp()
    area = height * width * (AREA_RANGE[0] + (AREA_RANGE[1] - AREA_RANGE[0]) * draws[1])
    rows = (area * aspect_ratio).sqrt().round().clamp(max=height)
    columns = (area / aspect_ratio).sqrt().round().clamp(max=width)
    vertical = _inside(((height - rows) * draws[2]).floor(), rows, height)
    horizontal = _inside(((width - columns) * draws[3]).floor(), columns, width)
    return vertical.unsqueeze(2) & horizontal.unsqueeze(1)


def _inside(start: Tensor, length: Tensor, size: int) -> Tensor:
    """Return whether each place is in a stretch, ``(count, size)``."""
    places = torch.arange(size)
    return (places >= start.unsqueeze(1)) & (places < (start + length).unsqueeze(1))
