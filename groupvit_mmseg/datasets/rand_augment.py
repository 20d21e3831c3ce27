"""RandAugment as timm has it for ImageNet: ``rand-m9-mstd0.5-inc1``, the paper's augmentation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from groupvit_mmseg.datasets import color_operations as colors
from groupvit_mmseg.datasets.color_operations import Image

MAX_MAGNITUDE = 10
# Probability of each operation that was drawn, and of a negative magnitude.
OPERATION_PROB = 0.5


class Operation(NamedTuple):
    """An operation and its strength.

    Attributes:
        apply (Callable): Takes the image and, if there is a range, the strength.
        bounds (tuple[float, float] | None): Strength at magnitudes 0 and 10.
        signed (bool): Whether half of the strengths are negated.
    """

    apply: Callable[..., Image]
    bounds: tuple[float, float] | None = None
    signed: bool = False


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """Apply random operations of timm's "increasing" set (arXiv 1909.13719).

    The operations, their strengths, the random numbers and the result are those of
    ``mmpretrain.RandAugment`` with ``policies='timm_increasing'``, bit for bit; most colours are
    looked up in tables instead of computed for each pixel.

    Required and modified key: img, blue-green-red ``(H, W, 3)``, uint8.

    Args:
        num_ops (int): Operations drawn for an image; each is applied with probability 0.5.
            Defaults to 2.
        magnitude (float): Mean magnitude, 0 to 10. Defaults to 9.
        magnitude_std (float): Its standard deviation. Defaults to 0.5.
        fill (Sequence[int]): Colour of pixels from outside the image, blue-green-red. Defaults to
            ImageNet's mean, (104, 116, 124).

    Raises:
        ValueError: If ``magnitude`` is outside [0, 10], or ``num_ops`` or ``magnitude_std`` is
            negative.

    Example:
        >>> augment = TimmRandAugment()
        >>> augment(dict(img=np.zeros((8, 8, 3), np.uint8)))['img'].shape
        (8, 8, 3)
    """

    def __init__(
        self,
        *,
        num_ops: int = 2,
        magnitude: float = 9,
        magnitude_std: float = 0.5,
        fill: Sequence[int] = (104, 116, 124),
    ) -> None:
        if not 0 <= magnitude <= MAX_MAGNITUDE:
            raise ValueError(f'`magnitude` is {magnitude}: it must be in [0, 10].')
        if num_ops < 0 or magnitude_std < 0:
            raise ValueError(
                f'`num_ops` is {num_ops} and `magnitude_std` {magnitude_std}: none may be negative.'
            )
        self.num_ops = num_ops
        self.magnitude, self.magnitude_std = magnitude, magnitude_std
        self.operations = timm_increasing(tuple(fill))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Augment one image."""
        for index in np.random.randint(len(self.operations), size=self.num_ops):
            if np.random.random_sample() <= OPERATION_PROB:
                results['img'] = self._apply(results['img'], self.operations[index])
        return results

    def _apply(self, image: Image, operation: Operation) -> Image:
        """Apply one operation at a random magnitude."""
        if operation.bounds is None:
            return operation.apply(image)
        magnitude = self.magnitude
        if self.magnitude_std:
            magnitude = np.random.normal(magnitude, self.magnitude_std)
        share = min(max(magnitude, 0), MAX_MAGNITUDE) / MAX_MAGNITUDE
        strength = share * (operation.bounds[1] - operation.bounds[0]) + operation.bounds[0]
        if operation.signed and np.random.random_sample() < OPERATION_PROB:
            strength = -strength
        return operation.apply(image, strength)


def timm_increasing(fill: tuple[int, ...]) -> list[Operation]:
    """List timm's operations, in mmpretrain's order."""
    warp: dict[str, Any] = dict(border_value=fill, interpolation='bilinear')
    shears = (partial(mmcv.imshear, direction=side, **warp) for side in ('horizontal', 'vertical'))
    return [
        Operation(colors.auto_contrast),
        Operation(colors.equalize),
        Operation(colors.invert),
        Operation(partial(mmcv.imrotate, **warp), (0, 30), signed=True),
        Operation(colors.posterize, (4, 0)),
        Operation(colors.solarize, (256, 0)),
        Operation(colors.solarize_add, (0, 110)),
        *(
            Operation(partial(_enhance, change), (0, 0.9), signed=True)
            for change in (
                colors.change_saturation,
                colors.change_contrast,
                colors.brighten,
                colors.sharpen,
            )
        ),
        *(Operation(shear, (0, 0.3), signed=True) for shear in shears),
        Operation(partial(_translate, axis=1, **warp), (0, 0.45), signed=True),
        Operation(partial(_translate, axis=0, **warp), (0, 0.45), signed=True),
    ]


def _enhance(change: Callable[[Image, float], Image], image: Image, magnitude: float) -> Image:
    """Apply a change whose factor 1 leaves the image as it is."""
    return change(image, 1 + magnitude)


def _translate(image: Image, share: float, *, axis: int, **options: Any) -> Image:
    """Move an image by a share of its height (axis 0) or width (axis 1)."""
    direction = ('vertical', 'horizontal')[axis]
    return mmcv.imtranslate(image, share * image.shape[axis], direction=direction, **options)
