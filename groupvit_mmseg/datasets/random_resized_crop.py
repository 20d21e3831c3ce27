"""Random resized crop that is drawn before the image is decoded."""

import math
from collections.abc import Sequence

import numpy as np
from mmseg.registry import TRANSFORMS

from groupvit_mmseg.datasets.caption_choice import CaptionChoice
from groupvit_mmseg.datasets.image_decoding import MAX_TRAINING_PIXELS
from groupvit_mmseg.datasets.image_regions import Box, DecodedRegion, decode_region
from groupvit_mmseg.datasets.image_text_transforms import LoadImageText

# As in torchvision; then the central region with the closest allowed aspect ratio is taken.
_MAX_ATTEMPTS = 10


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(LoadImageText):
    """Choose the caption and decode a random region of the image at the size of the model.

    In place of ``LoadImageText`` and ``mmpretrain.RandomResizedCrop(backend='pillow')``: the same
    random numbers give the same region, and .3 % of the values of its pixels differ, by 1. A
    JPEG region of more than 3 times the size per side is decoded at a reduced size, to whose
    pixels its edges are rounded; see :func:`.decode_region`.

    Required keys: key, members, error. Added keys: img, img_shape, ori_shape, caption, damaged.

    Args:
        scale (int | Sequence[int]): Side of the result, or its height and width, in pixels.
        crop_ratio_range (Sequence[float]): Area of the region, as a share in (0, 1] of the image.
            Defaults to (0.08, 1.0).
        aspect_ratio_range (Sequence[float]): Width by height of the region, drawn uniformly on a
            logarithmic scale. Defaults to (3 / 4, 4 / 3).
        captions (str | Mapping[str, float]): As in ``LoadImageText``. Defaults to 'text'.
        max_pixels (int): As in ``LoadImageText``. Defaults to 50,000,000.

    Raises:
        ValueError: If ``scale`` is not positive, or a range is empty or not positive.

    Example:
        >>> import cv2
        >>> jpeg = cv2.imencode('.jpg', np.zeros((40, 60, 3), np.uint8))[1].tobytes()
        >>> members = {'jpg': jpeg, 'txt': b'a black wall'}
        >>> load = LoadRandomResizedCrop(32)
        >>> results = load(dict(key='walls/0', members=members, error=None))
        >>> results['img'].shape, results['ori_shape'], results['caption']
        ((32, 32, 3), (40, 60), 'a black wall')
    """

    def __init__(
        self,
        scale: int | Sequence[int],
        *,
        crop_ratio_range: Sequence[float] = (0.08, 1.0),
        aspect_ratio_range: Sequence[float] = (3 / 4, 4 / 3),
        captions: CaptionChoice = 'text',
        max_pixels: int = MAX_TRAINING_PIXELS,
    ) -> None:
        super().__init__(captions, max_pixels=max_pixels)
        height, width = (scale, scale) if isinstance(scale, int) else scale
        if min(height, width) < 1:
            raise ValueError(f'`scale` is {scale}: it must be one side or two, 1 or more.')
        self.size = (height, width)
        self.crop_ratio_range = _range('crop_ratio_range', crop_ratio_range)
        self.aspect_ratio_range = _range('aspect_ratio_range', aspect_ratio_range)

    def choose_box(self, height: int, width: int) -> Box:
        """Draw a region with NumPy's random numbers.

        Args:
            height (int): Height of the image.
            width (int): Width of the image.

        Returns:
            Box: A region inside the image.
        """
        low, high = self.crop_ratio_range
        log_low, log_high = map(math.log, self.aspect_ratio_range)
        for _ in range(_MAX_ATTEMPTS):
            area = (low + (high - low) * np.random.random_sample()) * (height * width)
            aspect_ratio = math.exp(log_low + (log_high - log_low) * np.random.random_sample())
            box_width = round(math.sqrt(area * aspect_ratio))
            box_height = round(math.sqrt(area / aspect_ratio))
            if 0 < box_width <= width and 0 < box_height <= height:
                top = np.random.randint(0, height - box_height + 1)
                left = np.random.randint(0, width - box_width + 1)
                return Box(top, left, box_height, box_width)
        return self._central_box(height, width)

    def _central_box(self, height: int, width: int) -> Box:
        """Return the largest central region whose aspect ratio is allowed."""
        lowest, highest = self.aspect_ratio_range
        box_height = min(height, max(round(width / lowest), 1))
        box_width = min(width, max(round(height * highest), 1))
        return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)

    def _decode(self, data: bytes) -> DecodedRegion:
        """Decode a region of the image."""
        return decode_region(data, self.choose_box, self.size, max_pixels=self.max_pixels)


def _range(name: str, bounds: Sequence[float]) -> tuple[float, float]:
    """Check and return the two ends of a range of positive numbers."""
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise ValueError(f'`{name}` is {bounds}: it must be two numbers, 0 < low <= high.')
    return bounds[0], bounds[1]
