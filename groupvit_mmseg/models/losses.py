"""Contrastive and multi-label contrastive loss (paper: section 3.2).

Each rank computes only its own rows of the similarity matrices against the partners of all ranks,
``chunk_size`` rows at a time: memory per rank grows as chunk_size x (R B), in the forward and in
the backward pass, which computes a chunk again. The ranks' gradients, averaged as data parallel
training does, equal those of one process on the concatenated batch.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.models.distributed import gather, gather_with_grad, rank, world_size
from groupvit_mmseg.models.micro_batching import mean_over_chunks
from groupvit_mmseg.models.precision import autocast_disabled
from groupvit_mmseg.models.similarity import clamped_exp, new_logit_scale, normalize


def soft_cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean cross-entropy of rows against uniform targets over their positives.

    Args:
        logits (Tensor): ``(rows, columns)``.
        positives (Tensor): bool ``(rows, columns)``, at least one true per row.

    Returns:
        Tensor: scalar.
    """
    targets = positives / positives.sum(-1, keepdim=True)
    return F.cross_entropy(logits, targets.to(logits.dtype))


@MODELS.register_module()
class ImageTextContrastiveLoss(BaseModule):
    """Symmetric cross-entropy between the images and captions of all ranks.

    Args:
        temperature (float): start of the learned temperature. Defaults to 0.07.
        loss_weight (float): factor on the loss. Defaults to 1.0.
        chunk_size (int): rows of logits that exist at a time; a batch of more is computed in
            chunks, each of them twice. Defaults to 1024.
    """

    def __init__(
        self, temperature: float = 0.07, *, loss_weight: float = 1.0, chunk_size: int = 1024
    ) -> None:
        super().__init__()
        self.logit_scale = new_logit_scale(temperature)
        self.loss_weight = loss_weight
        self.chunk_size = chunk_size

    def forward(self, image_embeds: Tensor, text_embeds: Tensor) -> Tensor:
        """Loss of this rank's ``B`` pairs against all ranks' ``R * B``.

        Args:
            image_embeds (Tensor): ``(B, D)``, not normalised.
            text_embeds (Tensor): ``(B, D)``, not normalised; row ``i`` belongs to image ``i``.

        Returns:
            Tensor: scalar.
        """
        with autocast_disabled(image_embeds):
            images, texts = normalize(image_embeds, text_embeds)
            scale = clamped_exp(self.logit_scale)
            labels = rank() * len(images) + torch.arange(len(images), device=images.device)
            image_to_text = self._directional_loss(images, gather_with_grad(texts), labels, scale)
            text_to_image = self._directional_loss(texts, gather_with_grad(images), labels, scale)
            return self.loss_weight * (image_to_text + text_to_image) / 2

    def _directional_loss(
        self, rows: Tensor, columns: Tensor, labels: Tensor, scale: Tensor
    ) -> Tensor:
        """Cross-entropy of ``rows (B, D)`` among ``columns (R * B, D)``, mean over rows."""

        def chunk_loss(rows: Tensor, labels: Tensor) -> Tensor:
            return F.cross_entropy(scale * rows @ columns.T, labels)

        return mean_over_chunks(chunk_loss, rows, labels, chunk_size=self.chunk_size)


@MODELS.register_module()
class MultiLabelContrastiveLoss(BaseModule):
    r"""Contrastive loss between images and the ``P`` prompts made of each caption's words.

    An image's targets are uniform over its own prompts among all ``R * B * P``; a prompt's target
    is its image.

    With ``level='segments'`` an image is not its pooled embedding but its segments
    :math:`z_1 \dots z_S`: the similarity to a prompt :math:`t` is the smooth maximum

    .. math:: \frac{1}{\beta} \log \sum_s \exp(\beta \cos(z_s, t))

    so that some segment, not only their mean, has to answer to each word. With
    ``level='patches'`` every patch answers with the segment it belongs to. With :math:`a_s` the
    share of the patches that segment :math:`s` owns, that is

    .. math:: \frac{1}{\beta} \log \sum_s a_s \exp(\beta \cos(z_s, t))

    A segment without patches has no say, and the gradient reaches the assignment through
    :math:`a_s` (straight-through): patches move to the segment that answers.

    With ``match_equal_prompts`` every equal prompt of the batch is a positive too: an image's
    targets are uniform over all prompts equal to one of its own, a prompt's over all images that
    have it. All of these are ours, off in the paper's recipes.

    Args:
        temperature (float): start of the learned temperature. Defaults to 0.07.
        loss_weight (float): factor on the loss. Defaults to 1.0.
        level (str): what of an image is compared, ``'pooled'``, ``'segments'`` or ``'patches'``.
            Defaults to ``'pooled'``.
        smooth_max_beta (float): :math:`\beta` above. Defaults to 10.0.
        match_equal_prompts (bool): equal prompts are positives. Defaults to False.
        chunk_size (int): rows of logits that exist at a time, as in
            :class:`ImageTextContrastiveLoss`. Defaults to 1024.

    Raises:
        ValueError: if ``level`` is none of the three.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        *,
        loss_weight: float = 1.0,
        level: Literal['pooled', 'segments', 'patches'] = 'pooled',
        smooth_max_beta: float = 10.0,
        match_equal_prompts: bool = False,
        chunk_size: int = 1024,
    ) -> None:
        super().__init__()
        if level not in ('pooled', 'segments', 'patches'):
            raise ValueError(
                "MultiLabelContrastiveLoss: level must be 'pooled', 'segments' or 'patches', not "
                f'{level!r}.'
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
        """Loss of this rank's ``B`` images and ``B * P`` prompts against all ranks'.

        Args:
            image_embeds (Tensor): not normalised; ``(B, D)`` for level pooled, ``(B, S, D)`` for
                the others.
            prompt_embeds (Tensor): ``(B, P, D)``, not normalised.
            prompt_ids (Tensor, optional): token ids ``(B, P, L)`` by which prompts are equal;
                read only with ``match_equal_prompts``. Defaults to None.
            segment_shares (Tensor, optional): ``(B, S)``, the share of the patches that each
                segment owns; read only for level patches. Defaults to None.

        Returns:
            Tensor: scalar.
        """
        if image_embeds.dim() == 2:
            image_embeds = image_embeds.unsqueeze(1)  # one segment: its smooth maximum is itself
        shares = self._check_shares(segment_shares)
        with autocast_disabled(image_embeds):
            images, prompts = normalize(image_embeds, prompt_embeds)
            scale = clamped_exp(self.logit_scale)
            local_ids, all_ids = self._prompt_ids(prompts, prompt_ids)
            image_to_prompt = self._image_to_prompt_loss(
                images, prompts, shares, scale, local_ids, all_ids
            )
            prompt_to_image = self._prompt_to_image_loss(
                images, prompts, shares, scale, local_ids, all_ids
            )
            return self.loss_weight * (image_to_prompt + prompt_to_image) / 2

    def _image_to_prompt_loss(
        self,
        images: Tensor,
        prompts: Tensor,
        shares: Tensor | None,
        scale: Tensor,
        local_ids: Tensor,
        all_ids: Tensor,
    ) -> Tensor:
        """Cross-entropy of this rank's images among all prompts."""
        columns = gather_with_grad(prompts).flatten(0, 1)

        def chunk_loss(images: Tensor, local_ids: Tensor, shares: Tensor | None = None) -> Tensor:
            positives = positive_mask(local_ids, all_ids.flatten())
            return soft_cross_entropy(scale * self._similarity(images, columns, shares), positives)

        rows = (images, local_ids) if shares is None else (images, local_ids, shares)
        return mean_over_chunks(chunk_loss, *rows, chunk_size=self.chunk_size)

    def _prompt_to_image_loss(
        self,
        images: Tensor,
        prompts: Tensor,
        shares: Tensor | None,
        scale: Tensor,
        local_ids: Tensor,
        all_ids: Tensor,
    ) -> Tensor:
        """Cross-entropy of this rank's prompts among all images."""
        all_shares = None if shares is None else gather_with_grad(shares)
        all_images = gather_with_grad(images)

        def chunk_loss(prompts: Tensor, local_ids: Tensor) -> Tensor:
            positives = positive_mask(all_ids, local_ids).T
            logits = scale * self._similarity(all_images, prompts, all_shares).T
            return soft_cross_entropy(logits, positives)

        rows = prompts.flatten(0, 1), local_ids.flatten()
        return mean_over_chunks(chunk_loss, *rows, chunk_size=self.chunk_size)

    def _check_shares(self, shares: Tensor | None) -> Tensor | None:
        """The weights of the smooth maximum, None where all are one."""
        if self.level != 'patches':
            return None
        if shares is None:
            raise ValueError("level='patches' needs segment_shares, (B, S).")
        return shares

    def _similarity(self, segments: Tensor, prompts: Tensor, shares: Tensor | None) -> Tensor:
        """``(B, S, D)``, ``(M, D)``, ``(B, S)`` to the smooth maximum over S, ``(B, M)``."""
        cosines = segments @ prompts.T  # (B, S, M)
        if segments.shape[1] == 1:
            return cosines.squeeze(1)
        answers = (self.smooth_max_beta * cosines).exp()  # cosines: no shift needed to stay finite
        if shares is not None:
            answers = answers * shares.unsqueeze(-1)
        return answers.sum(1).log() / self.smooth_max_beta

    def _prompt_ids(self, prompts: Tensor, prompt_ids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Equal for prompts that are one: ``(B, P)`` of this rank's, ``(R * B, P)`` of all."""
        if self.match_equal_prompts:
            if prompt_ids is None:
                raise ValueError('match_equal_prompts=True needs the token ids of the prompts.')
            return unique_prompt_ids(prompt_ids)
        shape = prompts.shape[:2]
        all_ids = torch.arange(world_size() * shape.numel(), device=prompts.device)
        all_ids = all_ids.view(-1, shape[1])
        return all_ids[rank() * shape[0] :][: shape[0]], all_ids


def positive_mask(sets: Tensor, numbers: Tensor) -> Tensor:
    """Which of the numbers is in which of the small sets.

    Args:
        sets (Tensor): int64 ``(rows, P)``.
        numbers (Tensor): int64 ``(columns,)``.

    Returns:
        Tensor: bool ``(rows, columns)``.
    """
    found = sets[:, 0, None] == numbers
    for column in sets.unbind(1)[1:]:
        found |= column[:, None] == numbers
    return found


def unique_prompt_ids(prompt_ids: Tensor) -> tuple[Tensor, Tensor]:
    """The same number for equal prompts, on all ranks.

    Args:
        prompt_ids (Tensor): token ids ``(B, P, L)`` of this rank.

    Returns:
        tuple[Tensor, Tensor]: int64 ``(B, P)`` of this rank and ``(R * B, P)`` of all.
    """
    batch_size, num_prompts = prompt_ids.shape[:2]
    rows = gather(prompt_ids.contiguous()).flatten(0, 1)
    numbers = torch.unique(rows, dim=0, return_inverse=True)[1].view(-1, num_prompts)
    start = rank() * batch_size
    return numbers[start : start + batch_size], numbers
