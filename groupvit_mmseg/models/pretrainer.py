"""Two towers, their projectors and the losses between them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.micro_batching import (
    check_rows_are_alone,
    distinct_texts,
    run_in_micro_batches,
)
from groupvit_mmseg.models.similarity import clamped_exp


class ImageTextEmbeds(NamedTuple):
    """Projected, not normalised embeddings of a batch.

    Attributes:
        image_embeds (Tensor): ``(B, D)`` of the pooled segments.
        segment_embeds (Tensor): ``(B, S, D)``; empty ``S`` where no loss looks at segments.
        segment_shares (Tensor): ``(B, S)``, the share of the patches that each segment owns, with
            the assignments' straight-through gradient.
        text_embeds (Tensor): ``(B, 1 + P, D)``: the caption, then its prompts.
    """

    image_embeds: Tensor
    segment_embeds: Tensor
    segment_shares: Tensor
    text_embeds: Tensor


@MODELS.register_module()
class GroupViTPretrainer(PretrainedInit, BaseModel):
    """Learns both towers from image-caption pairs (paper: section 3.2).

    Args:
        backbone (dict): config of a :class:`GroupViT`, or of an :class:`ImageTower` with any other
            backbone.
        text_encoder (dict): config of the text tower.
        image_projector (dict): config of the image tower's projector.
        text_projector (dict): config of the text tower's projector.
        loss_contrastive (dict): config of the loss between images and captions.
        loss_multi_label (dict, optional): config of the loss between images and prompts; None for
            data without prompts. Defaults to None.
        micro_batch_size (int, optional): pairs whose activations in the towers exist at a time, for
            batches that do not fit: the backward pass runs the towers again. Gradients and
            BatchNorm statistics are those of the whole batch; a backbone with BatchNorm needs
            ``norm_eval=True``. Defaults to None, all at once.
        text_buckets (int, optional): calls of the text encoder for a batch, short texts apart from
            long ones and equal texts once; None encodes texts as they come. Exact. Defaults to
            None.
        data_preprocessor (dict, optional): config of mmengine's ``ImgDataPreprocessor``.
            Defaults to None.
        init_cfg (dict, optional): mmengine's initialisation config. Defaults to None.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        text_encoder: dict,
        image_projector: dict,
        text_projector: dict,
        loss_contrastive: dict,
        loss_multi_label: dict | None = None,
        micro_batch_size: int | None = None,
        text_buckets: int | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.text_encoder = MODELS.build(text_encoder)
        self.image_projector = MODELS.build(image_projector)
        self.text_projector = MODELS.build(text_projector)
        self.loss_contrastive = MODELS.build(loss_contrastive)
        self.loss_multi_label = MODELS.build(loss_multi_label) if loss_multi_label else None
        self.micro_batch_size = micro_batch_size
        self.text_buckets = text_buckets

    def forward(
        self, inputs: Tensor, token_ids: Tensor, mode: str = 'tensor', **batch_info: object
    ) -> dict[str, Tensor] | ImageTextEmbeds:
        """What mmengine calls.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``, normalised.
            token_ids (Tensor): int64 ``(B, 1 + P, L)``: the caption, then its prompts.
            mode (str): ``'loss'`` or ``'tensor'``. Defaults to ``'tensor'``.
            batch_info (object): captions, prompts and keys of the batch; not used.

        Returns:
            dict[str, Tensor] | ImageTextEmbeds: :meth:`loss` or :meth:`embed`.

        Raises:
            ValueError: for another mode; segmentation is :class:`GroupViTSegmentor`'s part.
        """
        if mode == 'loss':
            return self.loss(inputs, token_ids)
        if mode == 'tensor':
            return self.embed(inputs, token_ids)
        raise ValueError(
            f"GroupViTPretrainer has modes 'loss' and 'tensor', not {mode!r}: segment with a "
            'GroupViTSegmentor, which loads the same checkpoint.'
        )

    def embed(self, inputs: Tensor, token_ids: Tensor) -> ImageTextEmbeds:
        """Projected embeddings of images ``(B, 3, H, W)`` and texts ``(B, T, L)``."""
        if self.micro_batch_size is not None:
            check_rows_are_alone(self.backbone)
        parts = self._in_parts(self._encode_images, inputs, self.micro_batch_size)
        tokens, shares = (torch.cat(part) for part in zip(*parts, strict=True))
        image_embeds = self.image_projector(tokens)
        text_embeds = self.text_projector(self._encode_texts(token_ids))
        return ImageTextEmbeds(
            image_embeds=image_embeds[:, 0],
            segment_embeds=image_embeds[:, 1:],
            segment_shares=shares,
            text_embeds=text_embeds,
        )

    def _in_parts(
        self, tower: Callable[[Tensor], Any], rows: Tensor, size: int | None
    ) -> list[Any]:
        """A tower on at most ``size`` rows at a time; micro-batches keep no activations."""
        return run_in_micro_batches(tower, rows, size, recompute=self.micro_batch_size is not None)

    def _encode_images(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the projector sees of images, ``(B, 1 + S, C)``, and their segments' shares."""
        output = self.backbone.encode(images)
        tokens = output.pooled.unsqueeze(1)
        if self._looks_at_segments:
            # One call, so that BatchNorm's statistics are over all that it will see in use.
            tokens = torch.cat([tokens, output.segments], dim=1)
        return tokens, output.segment_shares()

    def _encode_texts(self, token_ids: Tensor) -> Tensor:
        """Texts ``(B, T, L)`` to ``(B, T, C)``."""
        shape, rows, place = token_ids.shape[:2], token_ids.flatten(0, 1), None
        rows_at_a_time = self.micro_batch_size and self.micro_batch_size * shape[1]
        if self.text_buckets is not None:
            rows, place = distinct_texts(rows)
            bucket = -(-len(rows) // self.text_buckets)
            rows_at_a_time = min(rows_at_a_time or bucket, bucket)
        parts = self._in_parts(self.text_encoder, rows, rows_at_a_time)
        return torch.cat(parts)[slice(None) if place is None else place].unflatten(0, shape)

    def loss(self, inputs: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """Losses and logit scales of a batch.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``, normalised.
            token_ids (Tensor): int64 ``(B, 1 + P, L)``.

        Returns:
            dict[str, Tensor]: scalars ``loss_contrastive`` and ``logit_scale``, and with prompts
            ``loss_multi_label`` and ``logit_scale_multi_label``.
        """
        embeds = self.embed(inputs, token_ids)
        captions, prompts = embeds.text_embeds[:, 0], embeds.text_embeds[:, 1:]
        losses = dict(
            loss_contrastive=self.loss_contrastive(embeds.image_embeds, captions),
            logit_scale=clamped_exp(self.loss_contrastive.logit_scale.detach()),
        )
        if self.loss_multi_label is not None:
            images = embeds.segment_embeds if self._looks_at_segments else embeds.image_embeds
            losses.update(
                loss_multi_label=self.loss_multi_label(
                    images, prompts, token_ids[:, 1:], embeds.segment_shares
                ),
                logit_scale_multi_label=clamped_exp(self.loss_multi_label.logit_scale.detach()),
            )
        return losses

    @property
    def _looks_at_segments(self) -> bool:
        """Whether a loss compares prompts with segments."""
        return self.loss_multi_label is not None and self.loss_multi_label.level != 'pooled'
