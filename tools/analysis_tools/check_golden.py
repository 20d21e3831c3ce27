"""Check the models against golden values of the official implementation, array by array.

    python tools/analysis_tools/check_golden.py tests/data/golden/golden_two_stage.npz

A golden file holds inputs and outputs, not weights: those are drawn by a rule from a seed and the
tensors' names. The model is built from the file's own ``meta/config``. Exit status 0 only if every
array of the file was checked and met its tolerance.
"""

import argparse
import json
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

import groupvit_mmseg  # noqa: F401  (registers the models)
from groupvit_mmseg.checkpoints import from_official
from groupvit_mmseg.checkpoints.key_map import OFFICIAL, rename
from groupvit_mmseg.models import GroupViTOutput, GroupViTPretrainer, GroupViTSegmentor
from groupvit_mmseg.models.assignment import gumbel_assignment
from groupvit_mmseg.text import tokenize

TOLERANCE = 2e-5  # of the largest absolute value of an array
GRADIENT_NORM_FLOOR = 1e-6  # absolute: some biases have zero gradient and hold noise
TIE_MARGIN = 1e-5  # of the group map's two best: below it a pixel may fall either way
INPUTS = {
    'image/input',
    'rect/input',
    'text/strings',
    'loss/image_embed',
    'loss/text_embed',
    'loss/prompt_embed',
    'assign/logits',
    'assign/gumbel_noise',
    'assign/upstream',
    'step/images',
    'step/token_ids',
    'seg/text_embed',
    'seg/input',
}


class Check(NamedTuple):
    """One row of the table: ``error`` is in units of ``limit``'s own scale."""

    name: str
    shape: tuple[int, ...]
    error: float
    limit: float
    note: str = ''

    @property
    def passed(self) -> bool:
        """Whether the error is within its limit; NaN is not."""
        return self.error <= self.limit


class Golden:
    """A golden file: its arrays, and the model that it describes.

    Args:
        path (Path): the ``.npz``.

    Raises:
        ValueError: if the file is not a golden file, or its config holds something unknown.
    """

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                self.arrays = {name: file[name] for name in file.files}
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f'{path} is not a readable .npz file ({error}).') from error
        missing = [n for n in ('meta/config', 'meta/seed', 'meta/keys') if n not in self.arrays]
        if missing:
            raise ValueError(f'{path} is not a golden file: it lacks {", ".join(missing)}.')
        self.config = self.json('meta/config')
        self.shapes: dict[str, list[int]] = self.json('meta/keys')
        self.seed = int(self.arrays['meta/seed'])

    def json(self, name: str) -> dict:
        """An array that holds a JSON text."""
        return json.loads(str(self.arrays[name]))

    def tensor(self, name: str) -> Tensor:
        """An array as a tensor."""
        return torch.from_numpy(self.arrays[name].copy())

    def has(self, prefix: str) -> bool:
        """Whether some array's name begins with ``prefix``."""
        return any(name.startswith(prefix) for name in self.arrays)

    def weights(self) -> dict[str, Tensor]:
        """The official state dict, filled by the rule."""
        return {key: filled(key, shape, self.seed) for key, shape in self.shapes.items()}


def filled(key: str, shape: list[int], seed: int) -> Tensor:
    """The values that a tensor has by its name, shape and the file's seed."""
    source = np.random.RandomState((seed * 1000003 + zlib.crc32(key.encode())) % 2**32)
    noise = source.standard_normal(shape)
    normal = np.asarray(noise, dtype=np.float32)
    if key.endswith('num_batches_tracked'):
        return torch.zeros(shape, dtype=torch.int64)
    if 'logit_scale' in key:
        values = np.full(shape, np.log(1 / 0.07))
    elif key.endswith('running_var'):
        values = 1 + 0.1 * np.abs(normal)
    elif key.endswith('running_mean'):
        values = 0.1 * normal
    elif key.endswith(('embed', 'embedding')) or 'group_token' in key or 'token_embedding' in key:
        values = 0.2 * normal
    elif len(shape) >= 2:
        values = normal / np.sqrt(np.prod(shape[1:]))
    elif key.endswith('weight'):
        values = 1 + 0.1 * normal
    else:
        values = 0.1 * normal
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def tower_configs(golden: Golden) -> dict:
    """Configs of the four parts that pretrainer and segmentor have in common."""
    image, text = golden.config.get('img_encoder', {}), golden.config.get('text_encoder', {})
    check_known(image, IMAGE_KEYS, 'img_encoder')
    check_known(text, TEXT_KEYS, 'text_encoder')
    backbone = {IMAGE_KEYS[k]: v for k, v in image.items() if IMAGE_KEYS[k]}
    text_encoder = {TEXT_KEYS[k]: v for k, v in text.items() if TEXT_KEYS[k]}
    width = backbone.get('embed_dims', 384) * (backbone.get('embed_factors') or [1])[-1]
    hidden = golden.shapes.get('img_projector.linear_hidden.0.weight', [4096])[0]
    projector = dict(
        type='GroupViTProjector',
        hidden_channels=hidden,
        out_channels=golden.config.get('output_dim', 256),
        num_layers=golden.config.get('proj_num_layers', 2),
    )
    return dict(
        backbone=dict(backbone, type='GroupViT'),
        text_encoder=dict(text_encoder, type='GroupViTTextEncoder'),
        image_projector=dict(projector, in_channels=int(width)),
        text_projector=dict(projector, in_channels=text.get('width', 256)),
    )


# The official name of a setting -> ours; empty for what does not change the values.
IMAGE_KEYS = dict(
    type='',
    drop_rate='',
    drop_path_rate='drop_path_rate',
    img_size='img_size',
    patch_size='patch_size',
    in_chans='in_channels',
    embed_dim='embed_dims',
    embed_factors='embed_factors',
    num_heads='num_heads',
    depths='depths',
    num_group_tokens='num_group_tokens',
    num_output_groups='num_output_groups',
    mlp_ratio='mlp_ratio',
)
TEXT_KEYS = dict(
    type='',
    context_length='context_length',
    width='embed_dims',
    layers='num_layers',
    vocab_size='vocab_size',
)


def check_known(config: dict, known: dict[str, str], where: str) -> None:
    """Raise ``ValueError`` for a setting that this tool would silently ignore."""
    unknown = sorted(set(config) - set(known))
    if unknown:
        raise ValueError(f'{where} in meta/config holds settings unknown here: {unknown}.')


def build_pretrainer(golden: Golden) -> GroupViTPretrainer:
    """The pretrainer of the file, filled and in evaluation mode."""
    temperature = golden.config.get('contrast_temperature', 0.07)
    losses = dict(loss_contrastive=dict(type='ImageTextContrastiveLoss', temperature=temperature))
    if 'multi_label_logit_scale' in golden.shapes:
        losses['loss_multi_label'] = dict(type='MultiLabelContrastiveLoss', temperature=temperature)
    model = MODELS.build(dict(type='GroupViTPretrainer', **tower_configs(golden), **losses))
    model.load_state_dict(from_official(golden.weights()), strict=True)
    return model.eval()


def build_segmentor(golden: Golden, pretrainer: GroupViTPretrainer) -> GroupViTSegmentor:
    """A segmentor with the same weights and the file's class embeddings."""
    towers = tower_configs(golden)
    names = [f'class {i}' for i in range(len(golden.arrays['seg/text_embed']))]
    head = dict(type='GroupViTZeroShotHead', class_names=names, **towers)
    backbone = head.pop('backbone')
    size = backbone.get('img_size', 224)
    height, width = (size, size) if isinstance(size, int) else size
    model = MODELS.build(
        dict(
            type='GroupViTSegmentor',
            backbone=backbone,
            decode_head=head,
            test_cfg=ConfigDict(
                mode='slide', crop_size=(height, width), stride=(height // 2, width // 2)
            ),
        )
    )
    model.load_state_dict(pretrainer.state_dict())
    return model.eval()


def compare(golden: Golden, name: str, value: Tensor) -> Check:
    """A tensor against its array: worst difference over the array's largest absolute value."""
    reference = golden.tensor(name)
    if reference.shape != value.shape:
        note = f'shape {tuple(value.shape)}'
        return Check(name, tuple(reference.shape), float('inf'), TOLERANCE, note)
    difference = (value.double() - reference.double()).abs().max()
    scale = reference.double().abs().max().clamp(min=1e-30)
    return Check(name, tuple(reference.shape), float(difference / scale), TOLERANCE)


def compare_some(golden: Golden, values: dict[str, Tensor]) -> Iterator[Check]:
    """Those of the values that the file has an array for."""
    for name, value in values.items():
        if name in golden.arrays:
            yield compare(golden, name, value)


def check_weights(golden: Golden) -> Iterator[Check]:
    """The fill against ``meta/checksum``, tensor by tensor."""
    if 'meta/checksum' not in golden.arrays:
        return
    checksum = golden.json('meta/checksum')
    sums = {k: float(v.double().abs().sum()) for k, v in golden.weights().items()}
    if not isinstance(checksum, dict):
        checksum, sums = {'all': checksum}, {'all': sum(sums.values())}
    errors = [abs(sums[k] - checksum[k]) / max(abs(checksum[k]), 1e-30) for k in checksum]
    yield Check('meta/checksum', (len(checksum),), max(errors), TOLERANCE)


def check_images(golden: Golden, model: GroupViTPretrainer) -> Iterator[Check]:
    """Outputs of the image tower at the native size and at another."""
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
            values[f'{part}/assign_soft_{i}'] = soft.unsqueeze(1)
        yield from compare_some(golden, values)


def check_texts(golden: Golden, model: GroupViTPretrainer) -> Iterator[Check]:
    """Token ids, which must be equal, and outputs of the text tower."""
    if not golden.has('text/'):
        return
    token_ids = tokenize(list(golden.json('text/strings')), model.text_encoder.context_length)
    yield compare(golden, 'text/token_ids', token_ids)._replace(limit=0.0)
    pooled = model.text_encoder(golden.tensor('text/token_ids'))
    yield from compare_some(
        golden, {'text/pooled': pooled, 'text/embed': model.text_projector(pooled)}
    )


def check_losses(golden: Golden, model: GroupViTPretrainer) -> Iterator[Check]:
    """Both losses of given embeddings and their gradients."""
    parts = [('contrastive', model.loss_contrastive, 'text')]
    if model.loss_multi_label is not None:
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


def check_assignment(golden: Golden) -> Iterator[Check]:
    """The Gumbel assignment of given logits and noise, and its gradient."""
    if not golden.has('assign/'):
        return
    logits = golden.tensor('assign/logits').requires_grad_()
    hard = gumbel_assignment(logits, noise=golden.tensor('assign/gumbel_noise'))
    hard.backward(golden.tensor('assign/upstream'))
    yield from compare_some(golden, {'assign/hard': hard.detach(), 'assign/grad': logits.grad})


def check_step(golden: Golden, model: GroupViTPretrainer) -> Iterator[Check]:
    """Both losses of a batch and the norm of every parameter's gradient."""
    if not golden.has('step/'):
        return
    model.zero_grad()
    losses = model.loss(golden.tensor('step/images'), golden.tensor('step/token_ids'))
    total = sum(value for key, value in losses.items() if key.startswith('loss'))
    total.backward()
    values = {f'step/{k[5:]}': v.detach() for k, v in losses.items() if k.startswith('loss')}
    yield from compare_some(golden, values)
    if 'step/grad_norms' in golden.arrays:
        yield gradient_norms(golden, model)


def gradient_norms(golden: Golden, model: GroupViTPretrainer) -> Check:
    """The worst gradient norm, in units of its own tolerance times ``TOLERANCE``."""
    reference = golden.json('step/grad_norms')
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


def check_segmentation(golden: Golden, model: GroupViTSegmentor) -> Iterator[Check]:
    """Scores, label maps and group maps, ties of the group map excepted."""
    images = golden.tensor('seg/input')
    output = model.extract_feat(images)
    tied = ties(output)
    num_stages = len(output.soft_assignments)
    for name, stages in dict(first=1, last=num_stages).items():
        if f'seg/group_map_{name}' in golden.arrays:
            group_map = output.group_map(stages)
            yield compare_map(golden, f'seg/group_map_{name}', group_map, ties(output, stages))
    for background, threshold in dict(bg95=0.95, bg35=0.35, nobg=None).items():
        set_background(model, golden, threshold)
        if golden.has(f'seg/whole_{background}'):
            scores = model.decode_head(output)
            yield from check_whole(golden, f'seg/whole_{background}', scores, tied)
        if golden.has(f'seg/slide_{background}'):
            scores = model.slide_inference(images, [{}] * len(images))
            yield from check_slide(
                golden, f'seg/slide_{background}', scores, tied_windows(model, images)
            )


def set_background(model: GroupViTSegmentor, golden: Golden, threshold: float | None) -> None:
    """The file's classes with or without a background before them."""
    embeds = golden.tensor('seg/text_embed')
    names = [f'class {i}' for i in range(len(embeds))]
    has_background = threshold is not None
    model.set_classes(
        ['background'] * has_background + names,
        with_background=has_background,
        bg_thresh=threshold,
    )
    model.decode_head.class_embeds = embeds


def ties(output: GroupViTOutput, num_stages: int | None = None) -> Tensor:
    """Pixels ``(B, H, W)`` whose two best segments are nearer than the margin."""
    probs = output.pixel_probs(num_stages)
    if probs.shape[1] == 1:
        return torch.zeros(len(probs), *output.image_shape, dtype=torch.bool)
    best, second = probs.topk(2, dim=1).values.unbind(1)
    return best - second < TIE_MARGIN


def tied_windows(model: GroupViTSegmentor, images: Tensor) -> Tensor:
    """Pixels ``(B, H, W)`` with a tie in any of the windows that cover them."""
    tied = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
    (crop_h, crop_w), (stride_h, stride_w) = model.test_cfg.crop_size, model.test_cfg.stride
    for top in window_starts(images.shape[2], crop_h, stride_h):
        for left in window_starts(images.shape[3], crop_w, stride_w):
            window = slice(top, top + crop_h), slice(left, left + crop_w)
            crop = images[:, :, window[0], window[1]]
            tied[:, window[0], window[1]] |= ties(model.extract_feat(crop))
    return tied


def window_starts(size: int, crop: int, stride: int) -> list[int]:
    """First pixels of the windows along one side; the last window ends at the border."""
    last = max(size - crop, 0)
    return [*range(0, last, stride), last]


def compare_map(golden: Golden, name: str, labels: Tensor, tied: Tensor) -> Check:
    """Share of pixels, ties excepted, at which two label maps differ."""
    wrong = (labels != golden.tensor(name).long()) & ~tied
    note = f'{int(wrong.sum())} pixels differ, {int(tied.sum())} tied'
    return Check(name, tuple(labels.shape), float(wrong.float().mean()), 0.0, note)


def check_whole(golden: Golden, name: str, scores: Tensor, tied: Tensor) -> Iterator[Check]:
    """Scores of the whole image to one unit in the last place of float16, and their labels."""
    if f'{name}_label' in golden.arrays:
        yield compare_map(golden, f'{name}_label', scores.argmax(1), tied)
    if name not in golden.arrays:
        return
    reference = golden.arrays[name]
    spacing = torch.from_numpy(np.spacing(np.abs(reference)).astype(np.float64))
    difference = (scores.half().double() - torch.from_numpy(reference.astype(np.float64))).abs()
    units = (difference / spacing).masked_fill(tied.unsqueeze(1), 0.0)
    yield Check(name, reference.shape, float(units.max()), 1.0, 'in units of the last place')


def check_slide(golden: Golden, name: str, scores: Tensor, tied: Tensor) -> Iterator[Check]:
    """Labels of the averaged windows, and each channel's sum (a tied pixel may move it by 1)."""
    if f'{name}_label' in golden.arrays:
        yield compare_map(golden, f'{name}_label', scores.argmax(1), tied)
    if f'{name}_sum' not in golden.arrays:
        return
    reference = golden.tensor(f'{name}_sum').double()
    sums = scores.double().sum(dim=(0, 2, 3)).view(reference.shape)
    difference = ((sums - reference).abs() - int(tied.sum())).clamp(min=0).max()
    error = float(difference / reference.abs().max())
    note = f'{int(tied.sum())} tied'
    yield Check(f'{name}_sum', tuple(reference.shape), error, TOLERANCE, note)


def check_file(golden: Golden) -> list[Check]:
    """Every check of a golden file; an array that none of them read fails."""
    model = build_pretrainer(golden)
    checks = [*check_weights(golden), *check_assignment(golden), *check_losses(golden, model)]
    checks += check_step(golden, model)
    with torch.no_grad():
        checks += [*check_images(golden, model), *check_texts(golden, model)]
        if golden.has('seg/'):
            checks += check_segmentation(golden, build_segmentor(golden, model))
    done = INPUTS | {check.name for check in checks}
    left = [n for n in golden.arrays if n not in done and not n.startswith('meta/')]
    return checks + [
        Check(name, golden.arrays[name].shape, float('nan'), 0.0, 'not checked') for name in left
    ]


def print_table(checks: list[Check]) -> None:
    """A line per array, then the verdict."""
    width = max(len(check.name) for check in checks)
    print(f'{"array":{width}}  {"shape":>18}  {"worst":>9}  {"limit":>7}')
    for check in checks:
        shape = 'x'.join(map(str, check.shape)) or 'scalar'
        verdict = 'ok' if check.passed else 'FAILED'
        print(
            f'{check.name:{width}}  {shape:>18}  {check.error:9.1e}  {check.limit:7.0e}  '
            f'{verdict}  {check.note}'
        )
    failed = sum(not check.passed for check in checks)
    print(f'{len(checks) - failed} of {len(checks)} arrays within tolerance')


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('file', type=Path, help='golden values, .npz')
    path = parser.parse_args().file
    try:
        checks = check_file(Golden(path))
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print_table(checks)
    return 0 if all(check.passed for check in checks) else 1


if __name__ == '__main__':
    sys.exit(main())
