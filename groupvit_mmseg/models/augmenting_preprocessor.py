"""A data preprocessor that augments on the device, in place of the loader's transforms."""

from collections.abc import Sequence

from mmengine.model import ImgDataPreprocessor
from mmseg.registry import MODELS

from groupvit_mmseg.models.batch_augmentation import BatchAugmentation


@MODELS.register_module()
class AugmentingPreprocessor(ImgDataPreprocessor):
    """Flip, RandAugment and random erasing on the device, then mmengine's normalisation.

    In place of the transforms ``RandomHorizontalFlip``, ``TimmRandAugment`` and
    ``RandomPixelErasing`` of the loader, with their probabilities and strengths, which leaves the
    loader's cores decoding, cropping and texts. Validation batches are not augmented. The random
    numbers are a function of the first pair's position in the epoch (``seeds`` of the batch), so
    that a resumed run with batches of the same pairs sees the same images.

    Args:
        mean (Sequence[float]): Mean of red, green and blue (with ``bgr_to_rgb``).
        std (Sequence[float]): Their standard deviations.
        flip_prob (float): Probability of a horizontal flip. Defaults to 0.5.
        num_ops (int): As in ``TimmRandAugment``. Defaults to 2.
        magnitude (float): As in ``TimmRandAugment``. Defaults to 9.
        magnitude_std (float): As in ``TimmRandAugment``. Defaults to 0.5.
        erase_prob (float): Probability of an erased rectangle. Defaults to 0.25.
        bgr_to_rgb (bool): As in mmengine. Defaults to True.

    Raises:
        ValueError: If a probability is outside [0, 1], or ``magnitude`` outside [0, 10]; at a
            batch without ``seeds``.

    Example:
        >>> import torch
        >>> preprocessor = AugmentingPreprocessor([124, 116, 104], [58, 57, 57])
        >>> images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> batch = dict(inputs=images, seeds=torch.tensor([3, 4]))
        >>> preprocessor(batch, training=True)['inputs'].shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        *,
        flip_prob: float = 0.5,
        num_ops: int = 2,
        magnitude: float = 9,
        magnitude_std: float = 0.5,
        erase_prob: float = 0.25,
        bgr_to_rgb: bool = True,
    ) -> None:
        super().__init__(mean=list(mean), std=list(std), bgr_to_rgb=bgr_to_rgb)
        _check('flip_prob', flip_prob, 1)
        _check('erase_prob', erase_prob, 1)
        _check('magnitude', magnitude, 10)
        # Erased by ImageNet's colours in the order of the loader's channels, as they are drawn.
        step = -1 if bgr_to_rgb else 1
        self.augment = BatchAugmentation(
            flip_prob=flip_prob,
            num_ops=num_ops,
            magnitude=magnitude,
            magnitude_std=magnitude_std,
            erase_prob=erase_prob,
            noise_mean=list(mean)[::step],
            noise_std=list(std)[::step],
        )

    def forward(self, data: dict, training: bool = False) -> dict | list:
        """Augment and normalise one batch.

        Args:
            data (dict): ``inputs`` ``(B, 3, H, W)``, uint8, and ``seeds`` ``(B)``.
            training (bool): Whether to augment. Defaults to False.

        Returns:
            dict | list: The batch on the device, its inputs float32.
        """
        if not training:
            return super().forward(data, training)
        if 'seeds' not in data:
            raise ValueError('The batch has no `seeds`: use PackImageText and collate_image_text.')
        seed = int(data['seeds'][0])
        images = self.augment(data['inputs'].to(self.device, non_blocking=True), seed)
        return super().forward({**data, 'inputs': images}, training)


def _check(name: str, value: float, highest: float) -> None:
    """Refuse a value outside its range."""
    if not 0 <= value <= highest:
        raise ValueError(f'`{name}` is {value}: it must be in [0, {highest}].')
