"""Two towers, their projectors and the losses between them.

Shapes: ``B`` images, ``S`` segments, ``P`` prompts per caption, ``T = 1 + P`` texts per image,
``L`` text tokens, ``C`` channels of a tower, ``D`` channels of the common space.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar, cast

import torch
from mmengine.model import BaseModel
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.assignment import mean_of_members
from groupvit_mmseg.models.image_embeddings import mean_over_patches
from groupvit_mmseg.models.losses import MultiLabelContrastiveLoss
from groupvit_mmseg.models.micro_batching import (
    check_rows_are_alone,
    distinct_texts,
    run_in_micro_batches,
)
from groupvit_mmseg.models.similarity import clamped_exp

Output = TypeVar('Output')


class ImageTextEmbeds(NamedTuple):
    """Projected, not normalised embeddings of a batch.

    Attributes:
        image_embeds (Tensor): ``(B, D)``, the projection of the pooled segments, or with the
            projector's ``pool_projected`` the mean of the segments' projections over the patches.
        segment_embeds (Tensor): ``(B, S, D)``; ``S`` is 0 if neither needs segments.
        segment_shares (Tensor): ``(B, S)``, the share of the patches in each segment, with the
            assignments' straight-through gradient.
        text_embeds (Tensor): ``(B, 1 + P, D)``: the caption, then its prompts.
        token_embeds (Tensor, optional): ``(B, N, D)``, the projections of the tokens, if segments
            are their means. Defaults to None.
        assignment (Tensor, optional): ``(B, S, h, w)``, their soft assignment. Defaults to None.
    """

    image_embeds: Tensor
    segment_embeds: Tensor
    segment_shares: Tensor
    text_embeds: Tensor
    token_embeds: Tensor | None = None
    assignment: Tensor | None = None


@MODELS.register_module()
class GroupViTPretrainer(PretrainedInit, BaseModel):
    """Both towers and their losses, trained on image-caption pairs (paper: section 3.2).

    Args:
        backbone (dict): Config of a :class:`GroupViT`, or of an :class:`ImageTower` with any other
            backbone.
        text_encoder (dict): Config of the text tower.
        image_projector (dict): Config of the image tower's projector.
        text_projector (dict): Config of the text tower's projector.
        loss_contrastive (dict): Config of the loss between images and captions.
        loss_multi_label (dict | Sequence[dict], optional): Config of the loss between images and
            prompts, or of several that are added; None for data without prompts. Defaults to None.
        loss_grouping (dict, optional): Config of a :class:`GroupClusteringLoss`, which teaches the
            assignment where ``backbone.assignment.mean_of_tokens`` and
            ``image_projector.pool_projected`` are set. Defaults to None.
        micro_batch_size (int, optional): Pairs whose activations in the towers exist at a time, for
            batches that exceed the memory: the backward pass runs the towers again. Gradients and
            BatchNorm statistics are those of the whole batch; a backbone with BatchNorm needs
            ``norm_eval=True``. Defaults to None, all at once.
        text_buckets (int, optional): Calls of the text encoder for a batch, with texts of like
            length in a call and equal texts once; None encodes all texts in one call. Exact.
            Defaults to None.
        data_preprocessor (dict, optional): Config of mmengine's ``ImgDataPreprocessor``.
            Defaults to None.
        init_cfg (dict, optional): Initialisation config of mmengine. Defaults to None.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupViTPretrainer
        >>> from groupvit_mmseg.text import tokenize
        >>> projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
        >>> pretrainer = GroupViTPretrainer(
        ...     dict(type='GroupViT', img_size=32, patch_size=8, embed_dims=24, depths=(1,),
        ...          num_heads=(2,), num_group_tokens=(6,), num_output_groups=(4,)),
        ...     text_encoder=dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1),
        ...     image_projector=dict(projector, in_channels=24),
        ...     text_projector=dict(projector, in_channels=16),
        ...     loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        ... )
        >>> captions = tokenize(['a cat on a sofa', 'two dogs']).unsqueeze(1)  # (B, 1, L)
        >>> losses = pretrainer(torch.randn(2, 3, 32, 32), captions, mode='loss')
        >>> sorted(losses)
        ['logit_scale', 'loss_contrastive']
    """

    def __init__(
        self,
        backbone: dict,
        *,
        text_encoder: dict,
        image_projector: dict,
        text_projector: dict,
        loss_contrastive: dict,
        loss_multi_label: dict | Sequence[dict] | None = None,
        loss_grouping: dict | None = None,
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
        self.loss_multi_label = build_losses(loss_multi_label)
        self.loss_grouping = MODELS.build(loss_grouping) if loss_grouping else None
        self._check_grouping()
        self.micro_batch_size = micro_batch_size
        self.text_buckets = text_buckets

    def forward(  # type: ignore[override]  # mmengine names the second input data_samples
        self, inputs: Tensor, token_ids: Tensor, mode: str = 'tensor', **batch_info: object
    ) -> dict[str, Tensor] | ImageTextEmbeds:
        """Compute losses or embeddings; mmengine calls this method.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``, normalised.
            token_ids (Tensor): int64 ``(B, 1 + P, L)``: the caption, then its prompts.
            mode (str): ``'loss'`` or ``'tensor'``. Defaults to ``'tensor'``.
            batch_info (object): Captions, prompts and keys of the batch; not used.

        Returns:
            dict[str, Tensor] | ImageTextEmbeds: :meth:`loss` or :meth:`embed`.

        Raises:
            ValueError: For another mode; a :class:`GroupViTSegmentor` segments.
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
        """Compute projected embeddings of images ``(B, 3, H, W)`` and texts ``(B, T, L)``."""
        if self.micro_batch_size is not None:
            check_rows_are_alone(self.backbone)
        parts = self._in_parts(self._encode_images, inputs, self.micro_batch_size)
        tokens, shares, *members = (torch.cat(part) for part in zip(*parts, strict=True))
        projected = self.image_projector(tokens)  # (B, 1 + S, C) to (B, 1 + S, D), or S, or N
        text_embeds = self.text_projector(self._encode_texts(token_ids))  # (B, T, D)
        pooled, segments = projected[:, 0], projected[:, 1:]
        if self.image_projector.pool_projected:
            segments = projected
            if members:
                segments = mean_of_members(projected, members[0])
            pooled = projected.mean(dim=1) if members else mean_over_patches(projected, shares)
        return ImageTextEmbeds(
            image_embeds=pooled,
            segment_embeds=segments,
            segment_shares=shares,
            text_embeds=text_embeds,
            token_embeds=projected if members else None,
            assignment=members[1] if members else None,
        )

    def _in_parts(
        self, tower: Callable[[Tensor], Output], rows: Tensor, size: int | None
    ) -> list[Output]:
        """Run a tower on at most ``size`` rows at a time; micro-batches keep no activations."""
        return run_in_micro_batches(tower, rows, size, recompute=self.micro_batch_size is not None)

    def _encode_images(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the projector's input ``(B, 1 + S, C)`` and the segments' shares ``(B, S)``.

        The input is ``(B, 1, C)`` where no segment is needed, ``(B, S, C)`` where they alone are.
        Where segments are means of tokens, the input is these, ``(B, N, C)``, and further results
        are their assignments: hard ``(B, S, N)`` and soft ``(B, S, h, w)``.
        """
        output = self.backbone.encode(images)
        if self.image_projector.pool_projected:
            if output.tokens is None:
                return output.segments, output.segment_shares()
            assignments = output.hard_assignments[-1], output.group_probs()
            return output.tokens, output.segment_shares(), *assignments
        tokens = output.pooled.unsqueeze(1)  # (B, 1, C)
        if self._levels - {'pooled'}:
            # One call, so that BatchNorm's statistics include the segments, as in segmentation.
            tokens = torch.cat([tokens, output.segments], dim=1)  # (B, 1 + S, C)
        return tokens, output.segment_shares()

    def _encode_texts(self, token_ids: Tensor) -> Tensor:
        """Encode texts ``(B, T, L)`` to ``(B, T, C)``."""
        shape, rows, index = token_ids.shape[:2], token_ids.flatten(0, 1), None  # (B T, L)
        rows_at_a_time = self.micro_batch_size and self.micro_batch_size * shape[1]
        if self.text_buckets is not None:
            rows, index = distinct_texts(rows)  # (U, L), (B T,)
            bucket = -(-len(rows) // self.text_buckets)
            rows_at_a_time = min(rows_at_a_time or bucket, bucket)
        parts = self._in_parts(self.text_encoder, rows, rows_at_a_time)
        encoded = torch.cat(parts)  # (U, C), or all (B T, C)
        return (encoded if index is None else encoded[index]).unflatten(0, shape)

    def loss(self, inputs: Tensor, token_ids: Tensor) -> dict[str, Tensor]:
        """Compute losses and logit scales of a batch.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``, normalised.
            token_ids (Tensor): int64 ``(B, 1 + P, L)``.

        Returns:
            dict[str, Tensor]: Scalars ``loss_contrastive`` and ``logit_scale``, and with prompts
            ``loss_multi_label`` and ``logit_scale_multi_label``; of several losses, each name ends
            with the loss's place, from ``_0``. With ``loss_grouping`` its value under that name.
        """
        embeds = self.embed(inputs, token_ids)
        captions, prompts = embeds.text_embeds[:, 0], embeds.text_embeds[:, 1:]  # (B, D), (B, P, D)
        losses = dict(
            loss_contrastive=self.loss_contrastive(embeds.image_embeds, captions, token_ids[:, 0]),
            logit_scale=clamped_exp(self.loss_contrastive.logit_scale.detach()),
        )
        for ending, criterion in self._prompt_losses().items():
            images = embeds.image_embeds if criterion.level == 'pooled' else embeds.segment_embeds
            losses[f'loss_multi_label{ending}'] = criterion(
                images, prompts, token_ids[:, 1:], embeds.segment_shares
            )
            scale = clamped_exp(criterion.logit_scale.detach())
            losses[f'logit_scale_multi_label{ending}'] = scale
        if self.loss_grouping is not None:
            losses['loss_grouping'] = self.loss_grouping(embeds.token_embeds, embeds.assignment)
        return losses

    def _prompt_losses(self) -> dict[str, MultiLabelContrastiveLoss]:
        """Return the losses of prompts by the ending of their names in the log."""
        losses = self.loss_multi_label
        named: dict[str, nn.Module] = {}
        if isinstance(losses, nn.ModuleList):
            named = {f'_{place}': criterion for place, criterion in enumerate(losses)}
        elif losses is not None:
            named = {'': losses}
        return cast(dict[str, MultiLabelContrastiveLoss], named)

    @property
    def _levels(self) -> set[str]:
        """The levels of all losses of prompts."""
        return {each.level for each in self._prompt_losses().values()}

    def _check_grouping(self) -> None:
        """Check that something trains the assignment, and that a loss of it has what it needs.

        Raises:
            ValueError: If not.
        """
        is_mean = getattr(self.backbone, 'keeps_tokens', False)
        projects_tokens = is_mean and self.image_projector.pool_projected
        if self.loss_grouping is not None and not projects_tokens:
            raise ValueError(
                'loss_grouping needs segments that are means of their tokens: set '
                'image_projector.pool_projected and backbone.assignment.mean_of_tokens.'
            )
        if is_mean and self.loss_grouping is None and not self._levels - {'pooled'}:
            raise ValueError(
                'Nothing would train which tokens belong together: set '
                "loss_grouping=dict(type='GroupClusteringLoss') and image_projector.pool_projected."
            )


def build_losses(configs: dict | Sequence[dict] | None) -> nn.Module | None:
    """Build one loss, or several as an ``nn.ModuleList``; None where there is none."""
    if isinstance(configs, Sequence):
        return nn.ModuleList(MODELS.build(config) for config in configs)
    return MODELS.build(configs) if configs else None
