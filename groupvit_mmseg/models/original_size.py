"""Maps of the network's input back to the picture: no padding, not flipped, its own size."""

from typing import Any

import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor


def without_padding_and_flip(maps: Tensor, metainfo: dict[str, Any]) -> Tensor:
    """Maps ``(..., H, W)`` as they would be without padding and test-time flip."""
    padding = metainfo.get('img_padding_size', metainfo.get('padding_size', [0] * 4))
    left, right, top, bottom = padding
    height, width = maps.shape[-2:]
    maps = maps[..., top : height - bottom, left : width - right]
    if not metainfo.get('flip'):
        return maps
    return maps.flip(-1 if metainfo['flip_direction'] == 'horizontal' else -2)


def resize_to_image(group_map: Tensor, sample: SegDataSample) -> Tensor:
    """Segments ``(1, H, W)`` of an input's ``(H, W)`` at the size of the picture, nearest."""
    group_map = without_padding_and_flip(group_map, sample.metainfo)
    size = tuple(sample.metainfo.get('ori_shape', group_map.shape))[:2]
    return F.interpolate(group_map[None, None].float(), size=size, mode='nearest')[0].long()


def resize_scores_to_image(scores: Tensor, metainfo: dict[str, Any]) -> Tensor:
    """Scores ``(C, H, W)`` at the size of the picture, bilinear, as MMSegmentation resizes them."""
    scores = without_padding_and_flip(scores, metainfo)
    size = tuple(metainfo.get('ori_shape', scores.shape[1:]))[:2]
    if size == tuple(scores.shape[1:]):
        return scores
    return F.interpolate(scores[None], size=size, mode='bilinear', align_corners=False)[0]
