"""RandAugment's operations on the colours of a batch of images, on any device.

``B`` images are blue-green-red ``(B, 3, H, W)``, uint8; a strength is ``(B)``, float32. The results
are those of :mod:`groupvit_mmseg.datasets.color_operations`; on the CPU, only ``auto_contrast``
differs, by 1 in .04 % of the values.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Blue, green and red of OpenCV's grey, in parts of 2^15.
_GRAY_WEIGHTS = (3735, 19235, 9798)
_SOLARIZE_ADD_LIMIT = 128


def auto_contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Stretch each channel to 0 to 255."""
    low, high = (bound.double().unsqueeze(-1) for bound in images.flatten(2).aminmax(dim=2))
    scale = 255.0 / (high - low).clamp(min=1)
    table = (_values(images).double() * scale - low * scale).clamp(0, 255)
    return _look_up(images, torch.where(low < high, table, _values(images).double()))


def equalize(images: Tensor, strength: Tensor) -> Tensor:
    """Flatten the histogram of each channel."""
    channels = images.flatten(0, 1).flatten(1).long()  # (3 B, H W)
    first = 256 * torch.arange(len(channels), device=images.device).unsqueeze(1)
    counts = torch.bincount((channels + first).flatten(), minlength=256 * len(channels))
    counts = counts.view(-1, 256)
    largest = channels.amax(dim=1, keepdim=True)
    step = (counts.sum(1, keepdim=True) - counts.gather(1, largest)) // 255
    table = (counts.cumsum(1) + step // 2) // step.clamp(min=1)
    table = F.pad(table[:, :-1].clamp(max=255), (1, 0))
    table = torch.where(step > 0, table, _values(images))
    return _look_up(images, table.view(-1, 3, 256))


def invert(images: Tensor, strength: Tensor) -> Tensor:
    """Subtract every value from 255."""
    return 255 - images


def posterize(images: Tensor, strength: Tensor) -> Tensor:
    """Keep the upper bits of every value; the strength is their number, rounded up."""
    unit = torch.pow(2, 8 - strength.ceil()).int().view(-1, 1, 1)
    return _look_up(images, _values(images).int() // unit * unit)


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the values that reach the strength."""
    values = _values(images)
    return _look_up(images, torch.where(values < strength.view(-1, 1, 1), values, 255 - values))


def solarize_add(images: Tensor, strength: Tensor) -> Tensor:
    """Add the strength to the values below 128, up to 255."""
    values = _values(images)
    brighter = (values + strength.view(-1, 1, 1)).clamp(max=255)
    return _look_up(images, torch.where(values < _SOLARIZE_ADD_LIMIT, brighter, values))


def saturate(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply the differences to the grey image by 1 + strength."""
    blended = _blend(images, _gray(images), strength.view(-1, 1, 1, 1))
    return blended.round().clamp(0, 255).to(torch.uint8)


def change_contrast(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply the differences to the mean of the grey image by 1 + strength."""
    gray = _gray(images).flatten(1)
    mean = _rounded_ratio(gray.sum(1, dtype=torch.int64), gray.shape[1])
    return _look_up(images, _blend(_values(images), mean.view(-1, 1, 1), strength.view(-1, 1, 1)))


def _rounded_ratio(total: Tensor, count: int) -> Tensor:
    """Divide integers and round, ties to even, exactly: Apple's GPUs have no float64."""
    ratio, rest = (2 * total + count) // (2 * count), (2 * total + count) % (2 * count)
    return (ratio - (rest == 0) * (ratio % 2)).float()


def brighten(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply every value by 1 + strength."""
    black = torch.zeros(1, 1, 1, device=images.device)
    return _look_up(images, _blend(_values(images), black, strength.view(-1, 1, 1)))


def sharpen(images: Tensor, strength: Tensor) -> Tensor:
    """Multiply the differences to a smoothed image by 1 + strength."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device) / 13
    kernel[:, :, 1, 1] = 5 / 13
    padded = F.pad(images.float(), (1, 1, 1, 1), mode='reflect')
    smooth = F.conv2d(padded, kernel, groups=3).round()
    blended = _blend(images, smooth, strength.view(-1, 1, 1, 1))
    return blended.clamp(0, 255).to(torch.uint8)


def _values(images: Tensor) -> Tensor:
    """Return 0 to 255, ``(256)``, on the device of the images."""
    return torch.arange(256, device=images.device)


def _gray(images: Tensor) -> Tensor:
    """Return the grey images ``(B, 1, H, W)``, int32."""
    weights = torch.tensor(_GRAY_WEIGHTS, dtype=torch.int32, device=images.device)
    return ((images.int() * weights.view(3, 1, 1)).sum(1, keepdim=True).int() + 2**14) >> 15


def _blend(images: Tensor, others: Tensor, strength: Tensor) -> Tensor:
    """Return ``images * (1 + strength) - others * strength``, float32, rounded as OpenCV does."""
    factor = 1 + strength.double()
    rest = others.float() * (1 - factor).float()
    return (images.double() * factor.float() + rest).float()


def _look_up(images: Tensor, table: Tensor) -> Tensor:
    """Map all values through tables ``(B, 3, 256)``, or ``(B, 1, 256)`` for all channels."""
    table = table.clamp(0, 255).to(torch.uint8).expand(len(images), 3, 256)
    return table.gather(2, images.flatten(2).long()).view_as(images)
