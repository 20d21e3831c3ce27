"""The seam for models of other origin: prompts and an image in, logits of pixels out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.text.class_list import Prompt

ACTIVATIONS = ('softmax', 'sigmoid', 'identity')
TEXTS_PER_BATCH = 128
"""int: Sentences that go through a text encoder in one call."""


class OpenVocabularyModel(nn.Module):
    """Base of adapters: what another model computes, and nothing else.

    :class:`.OpenVocabularySegmentor` does the rest: resizing, windows, background, refinement.
    An adapter is registered in MMSegmentation's ``MODELS`` and implements two methods.

    Attributes:
        activation (str): What turns logits into scores: ``'softmax'`` over the prompts;
            ``'sigmoid'`` for a model that answers each prompt alone; ``'identity'`` for logits that
            are scores. The scale of a protocol applies to the softmax. Defaults to ``'softmax'``.
        patch_size (int): Least side of an image in pixels. Defaults to 1.

    Example:
        >>> class Brightness(OpenVocabularyModel):
        ...     def embed_prompts(self, prompts):
        ...         return torch.tensor([[len(prompt.word) / 10] for prompt in prompts])
        ...     def forward(self, images, prompt_embeds):
        ...         return images.mean(1, keepdim=True) * prompt_embeds[:, :, None]
        >>> Brightness()(torch.ones(1, 3, 4, 4), torch.ones(2, 1)).shape
        torch.Size([1, 2, 4, 4])
    """

    activation = 'softmax'
    patch_size = 1

    @property
    def logit_scale(self) -> float:
        """Factor on the logits before the softmax, where the protocol has none."""
        return 1.0

    @abstractmethod
    def embed_prompts(self, prompts: Sequence[Prompt]) -> Tensor:
        """Encode prompts, once per list of classes.

        Args:
            prompts (Sequence[Prompt]): ``K`` words, each with its templates.

        Returns:
            Tensor: ``(K, ...)``, any argument that :meth:`forward` understands.
        """
        raise NotImplementedError

    @abstractmethod
    def forward(self, images: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Compute logits.

        Args:
            images (Tensor): ``(B, 3, H, W)``, normalised as the config of the model says.
            prompt_embeds (Tensor): Of :meth:`embed_prompts`.

        Returns:
            Tensor: ``(B, K, h, w)`` of any resolution; it is resized to the image.
        """
        raise NotImplementedError

    def load_checkpoint(self, path: Path) -> None:
        """Load weights: a state dict of this module, alone or in a checkpoint of training.

        Override it where the weights are stored in another way.

        Args:
            path (Path): The file of weights.

        Raises:
            RuntimeError: If keys are missing or unexpected or shapes differ.
        """
        load_weights(self, read_checkpoint(path)['state_dict'], source=str(path))


@torch.no_grad()
def mean_over_templates(prompts: Sequence[Prompt], encode: Callable[[list[str]], Tensor]) -> Tensor:
    """Embed words as CLIP's zero-shot classifier: the normalised mean of normalised sentences.

    Args:
        prompts (Sequence[Prompt]): ``K`` words, each with its templates.
        encode (Callable): Returns the embeddings ``(n, D)`` of ``n`` texts.

    Returns:
        Tensor: ``(K, D)``.

    Example:
        >>> prompts = [Prompt('cat', 0, ('{}', 'a {}'))]
        >>> mean_over_templates(prompts, lambda texts: torch.eye(2)[: len(texts)])
        tensor([[0.7071, 0.7071]])
    """
    texts = [template.format(prompt.word) for prompt in prompts for template in prompt.templates]
    parts = [texts[i : i + TEXTS_PER_BATCH] for i in range(0, len(texts), TEXTS_PER_BATCH)]
    sentences = torch.cat([F.normalize(encode(part), dim=-1) for part in parts])  # (T, D)
    means = [rows.mean(0) for rows in sentences.split([len(p.templates) for p in prompts])]
    return F.normalize(torch.stack(means), dim=-1)  # (K, D)


def fit_to_patches(images: Tensor, patch_size: int) -> Tensor:
    """Resize images so that their sides are whole numbers of patches.

    Args:
        images (Tensor): ``(B, 3, H, W)``.
        patch_size (int): Side of a patch in pixels.

    Example:
        >>> fit_to_patches(torch.ones(1, 3, 30, 70), patch_size=16).shape
        torch.Size([1, 3, 32, 64])
    """
    size = [max(1, round(side / patch_size)) * patch_size for side in images.shape[-2:]]
    if size == list(images.shape[-2:]):
        return images
    return F.interpolate(images, size=size, mode='bilinear', align_corners=False)
