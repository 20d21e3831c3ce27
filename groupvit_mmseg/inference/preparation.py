"""Images as the input of a segmentor: read, checked, and sent through the test pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.dataset import Compose
from numpy.typing import NDArray

from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.image_size import TOO_THIN, check_image_size, too_thin
from groupvit_mmseg.registry import type_name

SKIPPED_TRANSFORMS = ('LoadImageFromFile', 'LoadAnnotations', 'LoadLabelMap')

RGBImage = NDArray[np.uint8]


class PreparedImage(NamedTuple):
    """An image and what the pipeline made of it.

    Attributes:
        image (NDArray): RGB ``(H, W, 3)`` uint8.
        data (dict): Output of the pipeline, ``inputs`` and ``data_samples``.
    """

    image: RGBImage
    data: dict


def array_pipeline(pipeline: Sequence[dict]) -> Compose:
    """Build the test pipeline for an array instead of files."""
    transforms = [step for step in pipeline if type_name(step) not in SKIPPED_TRANSFORMS]
    return Compose([dict(type='mmseg.LoadImageFromNDArray'), *transforms])


def short_side_of(pipeline: Sequence[dict], default: int) -> int:
    """Return the pixels to which a pipeline resizes the shorter side of an image.

    Args:
        pipeline (Sequence[dict]): Config of the test pipeline.
        default (int): Returned for a pipeline that does not resize.

    Raises:
        ValueError: If it has other transforms of images.
    """
    side = default
    for step in pipeline:
        kind = type_name(step)
        if kind == 'Resize' and step.get('keep_ratio'):
            scale = step['scale']
            side = min(scale) if isinstance(scale, (tuple, list)) else scale
        elif not kind.startswith(('Load', 'Pack')):
            raise ValueError(
                f'The test pipeline has a {kind}, which exports do not support: use a Resize with '
                'keep_ratio=True alone.'
            )
    return side


def as_array(image: str | Path | RGBImage) -> RGBImage:
    """Return an image, read if it is a file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or is not RGB.
    """
    array = image if isinstance(image, np.ndarray) else load_image(image)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise ValueError(
            f'The image must be RGB (H, W, 3) uint8, got {array.shape} {array.dtype}: convert it.'
        )
    return array


def prepare(image: RGBImage, pipeline: Compose, backbone: object, *, name: str) -> dict:
    """Run the pipeline on an image.

    Args:
        image (NDArray): RGB ``(H, W, 3)`` uint8.
        pipeline (Compose): From :func:`array_pipeline`.
        backbone (object): Backbone of the segmentor, which may need a minimum size.
        name (str): Name of the image, for messages.

    Raises:
        ValueError: If the image is too small, as it is or resized.
    """
    check_image_size(image.shape[:2], backbone, name=name)
    data: dict
    try:  # OpenMMLab's pipelines take BGR
        data = pipeline(  # type: ignore[assignment]  # no transform drops images
            dict(img=np.ascontiguousarray(image[..., ::-1]))
        )
    except cv2.error as error:
        reason = TOO_THIN if too_thin(error) else str(error).strip()
        raise ValueError(f'{name} cannot be used: {reason}.') from error
    check_image_size(data['inputs'].shape[-2:], backbone, name=f'{name}, resized,')
    return data
