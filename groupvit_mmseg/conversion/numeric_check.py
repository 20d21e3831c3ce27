"""The numeric check of a conversion: the same images and texts through source and target."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.key_formats import HUGGING_FACE, OFFICIAL, KeyFormat
from groupvit_mmseg.conversion.convert import empty_pretrainer
from groupvit_mmseg.conversion.model_configs import hugging_face_config
from groupvit_mmseg.conversion.official_forward import Embeddings, OfficialForward, similarity

TOLERANCE = 1e-8  # of the largest value; both sides compute in float64


@torch.no_grad()
def embed(
    tensors: Mapping[str, Tensor],
    key_format: KeyFormat,
    structure: Structure,
    batch: tuple[Tensor, Tensor],
    hub_config: Mapping[str, object] | None = None,
) -> Embeddings:
    """Embed a batch by the implementation that a key format belongs to, in float64.

    The official keys are computed by :class:`OfficialForward`, Hugging Face's by ``transformers``.

    Args:
        tensors (Mapping[str, Tensor]): The weights.
        key_format (KeyFormat): The format of their keys.
        structure (Structure): Of the model.
        batch (tuple[Tensor, Tensor]): Images and texts, of ``probe_batch``.
        hub_config (Mapping[str, object], optional): Content of the ``config.json`` beside Hugging
            Face's weights, which ``transformers`` reads itself. Defaults to that of the structure.
    """
    double = {k: v.double() if v.is_floating_point() else v for k, v in tensors.items()}
    if key_format is OFFICIAL:
        heads = structure.backbone['num_heads'], structure.text_encoder['num_heads']
        return OfficialForward(double, num_heads=heads[0], text_heads=heads[1])(*batch)
    if key_format is HUGGING_FACE:
        return _hugging_face(double, hub_config or hugging_face_config(structure), *batch)
    return _plugin(double, structure, *batch)


def _plugin(
    tensors: Mapping[str, Tensor], structure: Structure, images: Tensor, token_ids: Tensor
) -> Embeddings:
    """Embed by the plugin's own modules."""
    model: Any = empty_pretrainer(structure)  # a GroupViTPretrainer: models import this package
    model.load_state_dict(dict(tensors), assign=True)
    output = model.backbone.encode(images)
    image_embeds = model.image_projector(output.pooled)
    text_embeds = model.text_projector(model.text_encoder(token_ids))
    logits = similarity(image_embeds, text_embeds, model.loss_contrastive.logit_scale)
    return Embeddings(output.segments, image_embeds, text_embeds, logits)


def _hugging_face(
    tensors: Mapping[str, Tensor], config: Mapping[str, object], images: Tensor, token_ids: Tensor
) -> Embeddings:
    """Embed by ``transformers.GroupViTModel``.

    Raises:
        ImportError: If ``transformers`` is not installed.
        ValueError: If it builds a model of other shapes from the config.
    """
    try:
        from transformers import GroupViTConfig, GroupViTModel
    except ImportError as error:
        raise ImportError(
            'The numeric check needs transformers; run: pip install transformers, or convert with '
            '--no-check.'
        ) from error
    model = GroupViTModel(GroupViTConfig.from_dict(dict(config))).double().eval()
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        first = ' '.join(str(error).split('\n\t')[1:2]).rstrip('. ')
        raise ValueError(f'The config.json is not of these weights ({first}).') from error
    with _float64_by_default():
        output = model(
            input_ids=token_ids, pixel_values=images, attention_mask=torch.ones_like(token_ids)
        )
    # Its embeddings are normalised.
    return Embeddings(
        output.vision_model_output.last_hidden_state,
        output.image_embeds,
        output.text_embeds,
        output.logits_per_image,
    )


@contextmanager
def _float64_by_default() -> Iterator[None]:
    """Set the default type, in which old versions of ``transformers`` make the causal mask."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def compare(first: Embeddings, second: Embeddings) -> float:
    """Return the largest difference between two results over the largest value.

    Embeddings are compared after normalisation.

    Raises:
        ValueError: If it is above ``TOLERANCE``; names the output that differs.
    """
    worst = 0.0
    for name, a, b in zip(Embeddings._fields, first, second, strict=True):
        if name.endswith('_embeds'):
            a, b = (torch.nn.functional.normalize(x, dim=-1) for x in (a, b))
        difference = float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        if not difference <= TOLERANCE:
            raise ValueError(
                f'The numeric check failed: {name} differ by {difference:.1e} of their largest '
                f'value (allowed: {TOLERANCE:.0e}); nothing was written.'
            )
        worst = max(worst, difference)
    return worst
