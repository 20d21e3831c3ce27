"""The one structure in which image-text pairs go to the runner."""

from collections.abc import Sequence
from typing import Any, TypedDict

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
    """

    inputs: Tensor
    token_ids: Tensor
    captions: list[str]
    prompts: list[list[str]]
    keys: list[str]
    skipped: list[str]
    damaged: list[str]


@FUNCTIONS.register_module()
def collate_image_text(samples: Sequence[dict[str, Any]]) -> ImageTextBatch:
    """Make a batch of what ``PackImageText`` returned.

    Args:
        samples (Sequence[dict]): Samples with images of one size.

    Returns:
        ImageTextBatch: The batch.
    """
    return ImageTextBatch(
        inputs=default_collate([sample['inputs'] for sample in samples]),
        token_ids=default_collate([sample['token_ids'] for sample in samples]),
        captions=[sample['caption'] for sample in samples],
        prompts=[sample['prompts'] for sample in samples],
        keys=[sample['key'] for sample in samples],
        skipped=[problem for sample in samples for problem in sample['skipped']],
        damaged=[complaint for sample in samples for complaint in sample.get('damaged', [])],
    )
