"""The record that travels with converted weights: settings, and what the model answered.

Shapes do not tell attention heads, and a comparison whose two sides share a wrong guess says
nothing. The answers to a fixed batch were computed with what the *source* said of itself, so a
reader that guesses otherwise finds them different.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.architecture_hints import Settings, plain
from groupvit_mmseg.checkpoints.settings_readers import end_token
from groupvit_mmseg.conversion.official_forward import Embeddings

TOLERANCE = 1e-6  # of the largest value: other machines and versions add in another order
CHANNELS = 8  # of each embedding, which are enough
GOLDEN_RATIO = 0.6180339887498949


def probe_batch(structure: Structure) -> tuple[Tensor, Tensor]:
    """Images ``(2, 3, H, W)`` and texts ``(2, L)`` that end in the end token.

    By arithmetic, not by a generator, whose numbers may change between versions of torch.
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


def record(structure: Structure, answers: Embeddings, *, assign_scale: float) -> dict[str, Any]:
    """What shapes do not tell of a model, and its answers, as plain values.

    Args:
        structure (Structure): Of the model.
        answers (Embeddings): To :func:`probe_batch`.
        assign_scale (float): Factor on the assignment logits that the written weights need.
    """
    return dict(
        version=1,
        num_heads=list(structure.backbone['num_heads']),
        text_heads=structure.text_encoder['num_heads'],
        img_size=list(structure.image_shape),
        assign_scale=assign_scale,
        normalization=plain(structure.normalization),
        answers=_plain_answers(answers),
    )


def _plain_answers(answers: Embeddings) -> dict[str, Any]:
    """Directions of the embeddings, their first channels; all logits."""
    images, texts = (
        torch.nn.functional.normalize(x, dim=-1)[:, :CHANNELS].tolist()
        for x in (answers.image_embeds, answers.text_embeds)
    )
    logits = answers.logits_per_image.tolist()
    return dict(image_embeds=images, text_embeds=texts, logits_per_image=logits)


def check_answers(settings: Settings, answers: Embeddings) -> None:
    """Compare answers with those that a place records.

    Args:
        settings (Settings): Of the place, with answers.
        answers (Embeddings): Of the model as it is understood now.

    Raises:
        ValueError: If they differ; names what.
    """
    assert settings.answers is not None
    for name, value in _plain_answers(answers).items():
        difference = _difference(settings.answers, name, value)
        if not difference <= TOLERANCE:
            raise ValueError(
                f'{settings.where} records what the model answered when it was written, and '
                f'{name} differ from that by {difference:.1e} of the largest value: the heads, the '
                'image size or the weights are not those of then; give the right ones, or '
                '--no-check for weights that were changed on purpose.'
            )


def _difference(recorded: Mapping[str, Any], name: str, value: list) -> float:
    """Largest difference over the largest value; infinite where a shape differs."""
    then = torch.tensor(recorded.get(name, []), dtype=torch.float64)
    now = torch.tensor(value, dtype=torch.float64)
    if then.shape != now.shape:
        return float('inf')
    return float((then - now).abs().max() / then.abs().max().clamp(min=1e-30))
