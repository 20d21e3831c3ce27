"""The record in files of converted weights: settings, and the model's outputs for a fixed batch.

Shapes do not determine attention heads, and a comparison whose two sides share a wrong guess finds
nothing. The outputs were computed with the settings that the *source* contained, so a reader with
other settings computes other outputs.
"""

from collections.abc import Mapping
from typing import TypedDict

import torch
from torch import Tensor

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.architecture_hints import Settings
from groupvit_mmseg.checkpoints.settings_readers import end_token
from groupvit_mmseg.conversion.official_forward import Embeddings

TOLERANCE = 1e-6  # of the largest value: other machines and versions add in another order
CHANNELS = 8  # recorded of each embedding
GOLDEN_RATIO = 0.6180339887498949


class NormalizationRecord(TypedDict):
    """Normalisation of the input images."""

    mean: list[float]
    std: list[float]
    rgb: bool


class Answers(TypedDict):
    """Outputs for :func:`probe_batch`: directions of embeddings (first channels), and logits."""

    image_embeds: list[list[float]]
    text_embeds: list[list[float]]
    logits_per_image: list[list[float]]


class Record(TypedDict):
    """Plain values that shapes do not determine, and the outputs."""

    version: int
    num_heads: list[int]
    text_heads: int
    img_size: list[int]
    assign_scale: float
    normalization: NormalizationRecord
    answers: Answers


def probe_batch(structure: Structure) -> tuple[Tensor, Tensor]:
    """Return images ``(2, 3, H, W)`` and texts ``(2, L)`` that end in the end token.

    They are computed by arithmetic, as random numbers may change between versions of torch.

    Args:
        structure (Structure): Of the model.
    """
    shape = (2, structure.backbone['in_channels'], *structure.image_shape)
    places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    images = ((places * places * GOLDEN_RATIO).frac() * 12**0.5 - 3**0.5).reshape(shape)
    length = structure.text_encoder['context_length']
    end = end_token(structure.text_encoder['vocab_size'])
    numbers = torch.arange(2 * length).reshape(2, length)
    token_ids = numbers * numbers * 7919 % max(end - 2, 1) + 1
    token_ids[0, length // 2 :] = 0
    token_ids[0, length // 2], token_ids[1, -1] = end, end
    return images, token_ids


def record(structure: Structure, answers: Embeddings, *, assign_scale: float) -> Record:
    """Return the record of a model.

    Args:
        structure (Structure): Of the model.
        answers (Embeddings): Outputs for :func:`probe_batch`.
        assign_scale (float): Factor on the assignment logits that the written weights need.
    """
    mean, std, rgb = structure.normalization
    return Record(
        version=1,
        num_heads=list(structure.backbone['num_heads']),
        text_heads=structure.text_encoder['num_heads'],
        img_size=list(structure.image_shape),
        assign_scale=assign_scale,
        normalization=NormalizationRecord(mean=list(mean), std=list(std), rgb=rgb),
        answers=_plain_answers(answers),
    )


def _plain_answers(answers: Embeddings) -> Answers:
    """Return the first channels of the normalised embeddings, and all logits."""
    images, texts = (
        torch.nn.functional.normalize(x, dim=-1)[:, :CHANNELS].tolist()
        for x in (answers.image_embeds, answers.text_embeds)
    )
    logits = answers.logits_per_image.tolist()
    return Answers(image_embeds=images, text_embeds=texts, logits_per_image=logits)


def check_answers(settings: Settings, answers: Embeddings) -> None:
    """Compare outputs with those in a record.

    Args:
        settings (Settings): From the place of the record, with answers.
        answers (Embeddings): Of the model with its present settings.

    Raises:
        ValueError: If they differ; names the output.
    """
    assert settings.answers is not None
    for name, value in _plain_answers(answers).items():
        difference = _difference(settings.answers, name, value)
        if not difference <= TOLERANCE:
            raise ValueError(
                f'{settings.where} records outputs of the model when it was written, and '
                f'{name} differ from those by {difference:.1e} of the largest value: the heads, '
                'the image size or the weights have changed; give the right ones, or '
                '--no-check for weights that were changed on purpose.'
            )


def _difference(recorded: Mapping[str, object], name: str, value: object) -> float:
    """Return the largest difference over the largest value; infinite if the shape differs."""
    then = torch.tensor(recorded.get(name, []), dtype=torch.float64)
    now = torch.tensor(value, dtype=torch.float64)
    if then.shape != now.shape:
        return float('inf')
    return float((then - now).abs().max() / then.abs().max().clamp(min=1e-30))
