"""From the network's input back to the image: size, padding, flip and normalisation."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor, nn


def padding_of(metainfo: Mapping) -> Sequence[int]:
    """Return the padding of an input in pixels: left, right, top, bottom."""
    return metainfo.get('img_padding_size', metainfo.get('padding_size', (0, 0, 0, 0)))


def without_padding_and_flip(maps: Tensor, sample: SegDataSample) -> Tensor:
    """Undo the padding and the test-time flip of maps ``(..., H, W)``."""
    metainfo = sample.metainfo
    left, right, top, bottom = padding_of(metainfo)
    height, width = maps.shape[-2:]
    maps = maps[..., top : height - bottom, left : width - right]
    if not metainfo.get('flip'):
        return maps
    return maps.flip(-1 if metainfo['flip_direction'] == 'horizontal' else -2)


def resize_to_image(group_map: Tensor, sample: SegDataSample) -> Tensor:
    """Resize a group map ``(H, W)`` of an input to the image, nearest; return ``(1, H', W')``."""
    group_map = without_padding_and_flip(group_map, sample)
    size = tuple(sample.metainfo.get('ori_shape', group_map.shape))[:2]
    return F.interpolate(group_map[None, None].float(), size=size, mode='nearest')[0].long()


def resize_scores_to_image(scores: Tensor, sample: SegDataSample) -> Tensor:
    """Resize scores ``(C, H, W)`` of an input to the image, bilinear, as MMSegmentation does."""
    scores = without_padding_and_flip(scores, sample)
    size = tuple(sample.metainfo.get('ori_shape', scores.shape[1:]))[:2]
    if size == tuple(scores.shape[1:]):
        return scores
    return F.interpolate(scores[None], size=size, mode='bilinear', align_corners=False)[0]


def pixels_of(image: Tensor, preprocessor: nn.Module) -> NDArray[np.uint8]:
    """Undo the normalisation of an image ``(3, H, W)``; return RGB ``(H, W, 3)``."""
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    pixels = image if mean is None or std is None else image * std + mean
    return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
