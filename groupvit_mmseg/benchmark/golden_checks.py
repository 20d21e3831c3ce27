"""Comparison of a pretrainer with golden values of the official implementation.

Axes: ``B`` images, ``S`` segments, ``N`` tokens.
"""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.checkpoints import from_official
from groupvit_mmseg.checkpoints.key_map import OFFICIAL, rename
from groupvit_mmseg.conversion.golden import GoldenFile, tower_configs
from groupvit_mmseg.models import GroupViTPretrainer, MultiLabelContrastiveLoss
from groupvit_mmseg.models.assignment import gumbel_assignment
from groupvit_mmseg.text import tokenize

TOLERANCE = 2e-5  # of the largest absolute value of an array
GRADIENT_NORM_FLOOR = 1e-6  # absolute: some biases have zero gradient and hold noise


class Check(NamedTuple):
    """The result for one array.

    Attributes:
        name (str): Name of the array.
        shape (tuple[int, ...]): Its shape.
        error (float): Worst difference, in the unit of ``limit``.
        limit (float): Largest difference that passes.
        note (str): A remark for the reader. Defaults to ''.
    """

    name: str
    shape: tuple[int, ...]
    error: float
    limit: float
    note: str = ''

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit; NaN is not."""
        return self.error <= self.limit


def build_pretrainer(golden: GoldenFile) -> GroupViTPretrainer:
    """Build the pretrainer of a golden file with its weights, in evaluation mode."""
    temperature = golden.config.get('contrast_temperature', 0.07)
    losses = dict(loss_contrastive=dict(type='ImageTextContrastiveLoss', temperature=temperature))
    if 'multi_label_logit_scale' in golden.shapes:
        losses['loss_multi_label'] = dict(type='MultiLabelContrastiveLoss', temperature=temperature)
    model = MODELS.build(dict(type='GroupViTPretrainer', **tower_configs(golden), **losses))
    model.load_state_dict(from_official(golden.weights()), strict=True)
    return model.eval()


def check_pretrainer(golden: GoldenFile, model: GroupViTPretrainer) -> Iterator[Check]:
    """Compare weights, assignment, losses, a training step and both towers with a golden file."""
    yield from check_weights(golden)
    yield from check_assignment(golden)
    yield from check_losses(golden, model)
    yield from check_step(golden, model)
    yield from check_images(golden, model)
    yield from check_texts(golden, model)


def compare(golden: GoldenFile, name: str, value: Tensor) -> Check:
    """Compare a tensor with its array, relative to the array's largest absolute value."""
    reference = golden.tensor(name)
    if reference.shape != value.shape:
        note = f'shape {tuple(value.shape)}'
        return Check(name, tuple(reference.shape), float('inf'), TOLERANCE, note)
    difference = (value.double() - reference.double()).abs().max()
    scale = reference.double().abs().max().clamp(min=1e-30)
    return Check(name, tuple(reference.shape), float(difference / scale), TOLERANCE)


def compare_some(golden: GoldenFile, values: Mapping[str, Tensor | None]) -> Iterator[Check]:
    """Compare those of the values that the file has an array for."""
    for name, value in values.items():
        if name in golden.arrays:
            assert value is not None, name  # a gradient that no backward pass filled
            yield compare(golden, name, value)


def check_weights(golden: GoldenFile) -> Iterator[Check]:
    """Compare the drawn weights with ``meta/checksum``, tensor by tensor."""
    if 'meta/checksum' not in golden.arrays:
        return
    checksum: dict[str, float] | float = json.loads(golden.text('meta/checksum'))
    sums = {k: float(v.double().abs().sum()) for k, v in golden.weights().items()}
    if not isinstance(checksum, dict):
        checksum, sums = {'all': checksum}, {'all': sum(sums.values())}
    errors = [abs(sums[k] - checksum[k]) / max(abs(checksum[k]), 1e-30) for k in checksum]
    yield Check('meta/checksum', (len(checksum),), max(errors), TOLERANCE)


@torch.no_grad()
def check_images(golden: GoldenFile, model: GroupViTPretrainer) -> Iterator[Check]:
    """Compare outputs of the image tower at the native size and at another."""
    for part in ('image', 'rect'):
        if not golden.has(part):
            continue
        output = model.backbone.encode(golden.tensor(f'{part}/input'))
        values = {
            f'{part}/pooled': output.pooled,
            f'{part}/group_tokens': output.segments,
            f'{part}/embed': model.image_projector(output.pooled),
            f'{part}/group_embed': model.image_projector(output.segments),
        }
        for i, (hard, soft) in enumerate(
            zip(output.hard_assignments, output.soft_assignments, strict=True)
        ):
            values[f'{part}/assign_hard_{i}'] = hard.unsqueeze(1)  # (B, 1, S, N)
            values[f'{part}/assign_soft_{i}'] = soft.unsqueeze(1)  # (B, 1, S, N)
        yield from compare_some(golden, values)


@torch.no_grad()
def check_texts(golden: GoldenFile, model: GroupViTPretrainer) -> Iterator[Check]:
    """Compare token ids, which must be equal, and outputs of the text tower."""
    if not golden.has('text/'):
        return
    texts: list[str] = json.loads(golden.text('text/strings'))
    token_ids = tokenize(texts, model.text_encoder.context_length)
    yield compare(golden, 'text/token_ids', token_ids)._replace(limit=0.0)
    pooled = model.text_encoder(golden.tensor('text/token_ids'))
    yield from compare_some(
        golden, {'text/pooled': pooled, 'text/embed': model.text_projector(pooled)}
    )


def check_losses(golden: GoldenFile, model: GroupViTPretrainer) -> Iterator[Check]:
    """Compare both losses of the file's embeddings and their gradients."""
    parts = [('contrastive', model.loss_contrastive, 'text')]
    if isinstance(model.loss_multi_label, MultiLabelContrastiveLoss):
        parts.append(('multi_label', model.loss_multi_label, 'prompt'))
    for name, criterion, kind in parts:
        if f'loss/{name}' not in golden.arrays:
            continue
        images = golden.tensor('loss/image_embed').requires_grad_()
        texts = golden.tensor(f'loss/{kind}_embed').requires_grad_()
        criterion.zero_grad()
        loss = criterion(images, texts)
        loss.backward()
        values = {
            f'loss/{name}': loss.detach(),
            f'loss/{name}_grad_image': images.grad,
            f'loss/{name}_grad_{kind}': texts.grad,
            f'loss/{name}_grad_logit_scale': criterion.logit_scale.grad,
        }
        yield from compare_some(golden, values)


def check_assignment(golden: GoldenFile) -> Iterator[Check]:
    """Compare the Gumbel assignment of the file's logits and noise, and its gradient."""
    if not golden.has('assign/'):
        return
    logits = golden.tensor('assign/logits').requires_grad_()
    hard = gumbel_assignment(logits, noise=golden.tensor('assign/gumbel_noise'))
    hard.backward(golden.tensor('assign/upstream'))
    yield from compare_some(golden, {'assign/hard': hard.detach(), 'assign/grad': logits.grad})


def check_step(golden: GoldenFile, model: GroupViTPretrainer) -> Iterator[Check]:
    """Compare both losses of a batch and the norm of every parameter's gradient."""
    if not golden.has('step/'):
        return
    model.zero_grad()
    outputs = model.loss(golden.tensor('step/images'), golden.tensor('step/token_ids'))
    losses = {key: value for key, value in outputs.items() if key.startswith('loss')}
    torch.stack(list(losses.values())).sum().backward()
    values = {f'step/{key[len("loss_") :]}': value.detach() for key, value in losses.items()}
    yield from compare_some(golden, values)
    if 'step/grad_norms' in golden.arrays:
        yield gradient_norms(golden, model)


def gradient_norms(golden: GoldenFile, model: GroupViTPretrainer) -> Check:
    """Compare the norms of all gradients; the error is that of the worst one."""
    reference: dict[str, float] = json.loads(golden.text('step/grad_norms'))
    parameters = dict(model.named_parameters())
    worst, culprit = 0.0, ''
    for key, norm in reference.items():
        gradient = parameters.pop(str(rename(key, OFFICIAL))).grad
        value = 0.0 if gradient is None else float(gradient.double().norm())
        error = max(abs(value - norm) - GRADIENT_NORM_FLOOR, 0.0) / max(abs(norm), 1e-30)
        if error >= worst:
            worst, culprit = error, key
    if parameters:
        worst, culprit = float('inf'), f'no reference for {", ".join(parameters)}'
    return Check('step/grad_norms', (len(reference),), worst, TOLERANCE, f'worst: {culprit}')
