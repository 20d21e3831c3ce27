"""Batches of image-text pairs, as the runner gets them."""

from collections.abc import Sequence
from typing import TypedDict

from mmengine.registry import FUNCTIONS
from torch import Tensor
from torch.utils.data import default_collate  # stacks straight into shared memory


class ImageTextBatch(TypedDict):
    """A pretraining batch of ``B`` pairs with ``P`` prompts each and ``L`` text tokens.

    Attributes:
        inputs (Tensor): Images ``(B, 3, H, W)``, uint8, blue-green-red; the data preprocessor
            normalises them.
        token_ids (Tensor): ``(B, 1 + P, L)``, int64: the caption, then the prompts.
        captions (list[str]): The captions as text.
        prompts (list[list[str]]): The ``P`` prompts of each caption as text.
        keys (list[str]): ``source/key`` of each pair.
        skipped (list[str]): ``'key: reason'`` of the bad samples met while loading this batch.
        damaged (list[str]): ``'key: complaint'`` of images that a decoder read although they are
            damaged.
        seeds (Tensor): ``(B)``, int64: a random number of each pair, for the device's augmentation.
    """

    inputs: Tensor
    token_ids: Tensor
    captions: list[str]
    prompts: list[list[str]]
    keys: list[str]
    skipped: list[str]
    damaged: list[str]
    seeds: Tensor


class PackedSample(TypedDict):
    """A pair as ``PackImageText`` and the data set return it.

    Attributes:
        inputs (Tensor): Image ``(3, H, W)``, uint8, blue-green-red.
        token_ids (Tensor): ``(1 + P, L)``, int64: the caption, then the prompts.
        caption (str): The caption as text.
        prompts (list[str]): The ``P`` prompts as text.
        key (str): ``source/key``.
        damaged (list[str]): ``'key: complaint'`` if the image is damaged but could be read.
        seed (int): A random number.
        skipped (list[str]): ``'key: reason'`` of the bad samples met while loading this one.
    """

    inputs: Tensor
    token_ids: Tensor
    caption: str
    prompts: list[str]
    key: str
    damaged: list[str]
    seed: int
    skipped: list[str]


@FUNCTIONS.register_module()
def collate_image_text(samples: Sequence[PackedSample]) -> ImageTextBatch:
    """Join samples to a batch.

    Args:
        samples (Sequence[PackedSample]): Samples with images of one size.

    Returns:
        ImageTextBatch: The batch.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from groupvit_mmseg.datasets import PackImageText
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> pack = PackImageText()
        >>> samples = [
        ...     pack(dict(img=image, caption=caption, key=key)) | dict(skipped=[])
        ...     for key, caption in [('pets/0', 'a dog'), ('pets/1', 'two cats')]
        ... ]
        >>> batch = collate_image_text(samples)
        >>> batch['inputs'].shape, batch['token_ids'].shape, batch['keys']
        (torch.Size([2, 3, 8, 8]), torch.Size([2, 1, 77]), ['pets/0', 'pets/1'])
    """
    return ImageTextBatch(
        inputs=default_collate([sample['inputs'] for sample in samples]),
        token_ids=default_collate([sample['token_ids'] for sample in samples]),
        captions=[sample['caption'] for sample in samples],
        prompts=[sample['prompts'] for sample in samples],
        keys=[sample['key'] for sample in samples],
        skipped=[problem for sample in samples for problem in sample['skipped']],
        damaged=[complaint for sample in samples for complaint in sample.get('damaged', [])],
        seeds=default_collate([sample['seed'] for sample in samples]),
    )
