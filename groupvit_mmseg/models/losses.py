"""Contrastive and multi-label contrastive loss (paper: section 3.2).

Each rank computes only its own rows of the similarity matrices against the partners of all ranks,
``chunk_size`` rows at a time: memory per rank grows as chunk_size x (R B), in the forward and in
the backward pass, which computes a chunk again. The ranks' gradients, averaged as data parallel
training does, equal those of one process on the concatenated batch.

Shapes: ``B`` images of this rank, ``R`` ranks, ``P`` prompts per caption, ``M = R * B * P`` prompts
of all ranks, ``S`` segments, ``D`` channels of the common space, ``L`` text tokens, ``n`` rows of a
chunk.
"""

from typing import Literal, get_args

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.models.chunked_cross_entropy import chunked_cross_entropy, uniform_targets
from groupvit_mmseg.models.distributed import gather_with_grad, rank
from groupvit_mmseg.models.precision import autocast_disabled
from groupvit_mmseg.models.prompt_ids import (
    consecutive_prompt_ids,
    positive_mask,
    unique_prompt_ids,
)
from groupvit_mmseg.models.similarity import clamped_exp, new_logit_scale, normalize
from groupvit_mmseg.models.smooth_maximum import smooth_maximum

Level = Literal['pooled', 'segments', 'patches']


@MODELS.register_module()
class ImageTextContrastiveLoss(BaseModule):
    """Symmetric cross-entropy between the images and captions of all ranks.

    Args:
        temperature (float): Initial value of the learned temperature. Defaults to 0.07.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        chunk_size (int): Rows of logits that exist at a time; a batch of more is computed in
            chunks, each of them twice. Defaults to 1024.
        match_equal_captions (bool): Whether equal captions of a batch are positives of each
            other's images, with equal targets; for captions that are made of labels. Defaults to
            False, the paper's.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import ImageTextContrastiveLoss
        >>> loss = ImageTextContrastiveLoss(temperature=0.1)
        >>> embeds = torch.eye(4)
        >>> matching, shuffled = loss(embeds, embeds), loss(embeds, embeds.roll(1, 0))
        >>> bool(matching < shuffled)
        True
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        loss_weight: float = 1.0,
        chunk_size: int = 1024,
        match_equal_captions: bool = False,
    ) -> None:
        super().__init__()
        self.logit_scale = new_logit_scale(temperature)
        self.loss_weight = loss_weight
        self.chunk_size = chunk_size
        self.match_equal_captions = match_equal_captions

    def forward(
        self, image_embeds: Tensor, text_embeds: Tensor, caption_ids: Tensor | None = None
    ) -> Tensor:
        """Return the loss of this rank's ``B`` pairs against all ranks' ``R * B``.

        Args:
            image_embeds (Tensor): ``(B, D)``, not normalised.
            text_embeds (Tensor): ``(B, D)``, not normalised; row ``i`` belongs to image ``i``.
            caption_ids (Tensor, optional): Token ids ``(B, L)`` that are compared to find equal
                captions; read only with ``match_equal_captions``. Defaults to None.

        Returns:
            Tensor: Scalar.

        Raises:
            ValueError: If ``caption_ids`` are needed and missing.
        """
        with autocast_disabled(image_embeds):
            images, texts = normalize(image_embeds, text_embeds)  # (B, D) each
            scale = clamped_exp(self.logit_scale)
            numbers = self._caption_numbers(caption_ids)
            image_to_text = self._directional_loss(images, gather_with_grad(texts), scale, numbers)
            text_to_image = self._directional_loss(texts, gather_with_grad(images), scale, numbers)
            return self.loss_weight * (image_to_text + text_to_image) / 2

    def _caption_numbers(self, caption_ids: Tensor | None) -> tuple[Tensor, Tensor] | None:
        """Return numbers equal for equal captions, ``(B, 1)`` local and ``(R * B, 1)`` of all."""
        if not self.match_equal_captions:
            return None
        if caption_ids is None:
            raise ValueError('match_equal_captions=True needs the token ids of the captions.')
        return unique_prompt_ids(caption_ids[:, None])

    def _directional_loss(
        self,
        rows: Tensor,
        columns: Tensor,
        scale: Tensor,
        numbers: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Return the cross-entropy of ``rows (B, D)`` among ``columns (R * B, D)``."""
        if numbers is None:
            labels = rank() * len(rows) + torch.arange(len(rows), device=rows.device)
        else:
            labels, all_labels = numbers[0], numbers[1].flatten()  # (B, 1), (R * B,)

        def logits_and_targets(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            logits = scale * rows @ columns.T  # (n, R * B)
            if numbers is None:
                return logits, labels  # (n,)
            return logits, uniform_targets(positive_mask(labels, all_labels), logits.dtype)

        return chunked_cross_entropy(logits_and_targets, rows, labels, chunk_size=self.chunk_size)


@MODELS.register_module()
class MultiLabelContrastiveLoss(BaseModule):
    r"""Contrastive loss between images and the ``P`` prompts made of each caption's words.

    An image's targets are uniform over its own prompts among all ``R * B * P``; a prompt's target
    is its image.

    With ``level='segments'`` an image is represented by its segments :math:`z_1 \dots z_S` instead
    of its pooled embedding: the similarity to a prompt :math:`t` is the smooth maximum

    .. math:: \frac{1}{\beta} \log \sum_s \exp(\beta \cos(z_s, t))

    so that at least one segment, not only their mean, has to match each word. With
    ``level='patches'`` the maximum is over patches, each represented by the segment it belongs to.
    With :math:`a_s` the share of the patches that belong to segment :math:`s`, that is

    .. math:: \frac{1}{\beta} \log \sum_s a_s \exp(\beta \cos(z_s, t))

    A segment without patches does not contribute, and the gradient reaches the assignment through
    :math:`a_s` (straight-through): patches move to the segment that matches the prompt.

    With ``match_equal_prompts`` every equal prompt of the batch is a positive too: an image's
    targets are uniform over all prompts equal to one of its own, a prompt's over all images that
    have it. All of these options are ours, off in the paper's recipes.

    Args:
        temperature (float): Initial value of the learned temperature. Defaults to 0.07.
        loss_weight (float): Factor on the loss. Defaults to 1.0.
        level (str): Embeddings of an image that are compared with prompts: ``'pooled'``,
            ``'segments'`` or ``'patches'``. Defaults to ``'pooled'``.
        smooth_max_beta (float): :math:`\beta` above. Defaults to 10.0.
        match_equal_prompts (bool): Whether equal prompts are positives. Defaults to False.
        chunk_size (int): Rows of logits that exist at a time, as in
            :class:`ImageTextContrastiveLoss`. Defaults to 1024.

    Raises:
        ValueError: If ``level`` is none of the three.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import MultiLabelContrastiveLoss
        >>> loss = MultiLabelContrastiveLoss(level='segments')
        >>> segments, prompts = torch.randn(2, 8, 16), torch.randn(2, 3, 16)  # 3 prompts an image
        >>> loss(segments, prompts).shape
        torch.Size([])
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        loss_weight: float = 1.0,
        level: Level = 'pooled',
        smooth_max_beta: float = 10.0,
        match_equal_prompts: bool = False,
        chunk_size: int = 1024,
    ) -> None:
        super().__init__()
        if level not in get_args(Level):
            raise ValueError(
                f'MultiLabelContrastiveLoss: level must be one of {get_args(Level)}, not {level!r}.'
            )
        self.logit_scale = new_logit_scale(temperature)
        self.loss_weight = loss_weight
        self.level = level
        self.smooth_max_beta = smooth_max_beta
        self.match_equal_prompts = match_equal_prompts
        self.chunk_size = chunk_size

    def forward(
        self,
        image_embeds: Tensor,
        prompt_embeds: Tensor,
        prompt_ids: Tensor | None = None,
        segment_shares: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of this rank's ``B`` images and ``B * P`` prompts against all ranks'.

        Args:
            image_embeds (Tensor): Not normalised; ``(B, D)`` for level pooled, ``(B, S, D)`` for
                the others.
            prompt_embeds (Tensor): ``(B, P, D)``, not normalised.
            prompt_ids (Tensor, optional): Token ids ``(B, P, L)`` that are compared to find equal
                prompts; read only with ``match_equal_prompts``. Defaults to None.
            segment_shares (Tensor, optional): ``(B, S)``, the share of the patches that belong to
                each segment; read only for level patches. Defaults to None.

        Returns:
            Tensor: Scalar.

        Raises:
            ValueError: If ``prompt_ids`` or ``segment_shares`` are needed and missing.
        """
        if image_embeds.dim() == 2:
            # (B, 1, D): the smooth maximum over one segment is the similarity to that segment.
            image_embeds = image_embeds.unsqueeze(1)
        shares = self._shares(segment_shares)
        with autocast_disabled(image_embeds):
            images, prompts = normalize(image_embeds, prompt_embeds)  # (B, S, D), (B, P, D)
            local_ids, all_ids = self._prompt_ids(prompts, prompt_ids)
            image_to_prompt, prompt_to_image = self._directional_losses(
                images, prompts, local_ids, all_ids, *shares
            )
            return self.loss_weight * (image_to_prompt + prompt_to_image) / 2

    def _directional_losses(
        self, images: Tensor, prompts: Tensor, local_ids: Tensor, all_ids: Tensor, *shares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of images among all prompts, and of prompts among all images."""
        scale = clamped_exp(self.logit_scale)
        all_prompts = gather_with_grad(prompts).flatten(0, 1)  # (M, D), M = R * B * P
        all_images = gather_with_grad(images)  # (R * B, S, D)
        all_shares = [gather_with_grad(share) for share in shares]  # none, or one (R * B, S)

        def of_images(images: Tensor, ids: Tensor, *shares: Tensor) -> tuple[Tensor, Tensor]:
            logits = scale * self._similarity(images, all_prompts, *shares)  # (n, M)
            positives = positive_mask(ids, all_ids.flatten())  # (n, M)
            return logits, uniform_targets(positives, logits.dtype)

        def of_prompts(prompts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
            logits = scale * self._similarity(all_images, prompts, *all_shares).T  # (n, R * B)
            positives = positive_mask(all_ids, ids).T  # (n, R * B)
            return logits, uniform_targets(positives, logits.dtype)

        image_rows = (images, local_ids, *shares)  # (B, S, D), (B, P), (B, S)
        prompt_rows = (prompts.flatten(0, 1), local_ids.flatten())  # (B * P, D), (B * P,)
        return (
            chunked_cross_entropy(of_images, *image_rows, chunk_size=self.chunk_size),
            chunked_cross_entropy(of_prompts, *prompt_rows, chunk_size=self.chunk_size),
        )

    def _shares(self, shares: Tensor | None) -> tuple[Tensor, ...]:
        """Return the weights of the smooth maximum; none where all are one."""
        if self.level != 'patches':
            return ()
        if shares is None:
            raise ValueError("level='patches' needs segment_shares, (B, S).")
        return (shares,)

    def _similarity(
        self, segments: Tensor, prompts: Tensor, shares: Tensor | None = None
    ) -> Tensor:
        """Return the smooth maximum over the segments, ``(B, M)``.

        Args:
            segments (Tensor): ``(B, S, D)``.
            prompts (Tensor): ``(M, D)``.
            shares (Tensor, optional): ``(B, S)``, weights of the segments. Defaults to None.
        """
        cosines = segments @ prompts.T  # (B, S, M)
        if segments.shape[1] == 1:
            return cosines.squeeze(1)  # (B, M)
        return smooth_maximum(cosines, self.smooth_max_beta, shares)

    def _prompt_ids(self, prompts: Tensor, prompt_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return numbers that are equal for equal prompts: ``(B, P)`` local, ``(R * B, P)`` all."""
        if self.match_equal_prompts:
            if prompt_ids is None:
                raise ValueError('match_equal_prompts=True needs the token ids of the prompts.')
            return unique_prompt_ids(prompt_ids)
        return consecutive_prompt_ids(prompts)
