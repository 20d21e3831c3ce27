"""Comparison of a segmentor with golden values of the official implementation.

Axes: ``B`` images, ``S`` segments, ``K`` classes, ``H, W`` pixels.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.benchmark.golden_checks import (
    TOLERANCE,
    Check,
    build_pretrainer,
    check_pretrainer,
)
from groupvit_mmseg.conversion.golden import GoldenFile, tower_configs
from groupvit_mmseg.models import GroupViTOutput, GroupViTPretrainer, GroupViTSegmentor

TIE_MARGIN = 1e-5  # of the group map's two best: below it a pixel may go to either
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


def check_file(path: Path) -> list[Check]:
    """Compare the models with every array of a golden file.

    Args:
        path (Path): The ``.npz`` file.

    Returns:
        list[Check]: One for each array; an array that no check reads fails.

    Raises:
        ValueError: If the file is not a golden file, or has settings that are unknown here.
    """
    golden = GoldenFile(path)
    model = build_pretrainer(golden)
    checks = list(check_pretrainer(golden, model))
    if golden.has('seg/'):
        checks += check_segmentation(golden, build_segmentor(golden, model))
    known = INPUTS | {check.name for check in checks}
    rest = [name for name in golden.arrays if name not in known and not name.startswith('meta/')]
    return checks + [
        Check(name, golden.arrays[name].shape, float('nan'), 0.0, 'not checked') for name in rest
    ]


def build_segmentor(golden: GoldenFile, pretrainer: GroupViTPretrainer) -> GroupViTSegmentor:
    """Build a segmentor with the pretrainer's weights, for the classes of a golden file."""
    towers = tower_configs(golden)
    backbone = towers['backbone']
    size = backbone.get('img_size', 224)
    height, width = size if isinstance(size, list | tuple) else (size, size)
    model = MODELS.build(
        dict(
            type='GroupViTSegmentor',
            backbone=backbone,
            decode_head=dict(
                type='GroupViTZeroShotHead',
                class_names=_class_names(golden),
                text_encoder=towers['text_encoder'],
                image_projector=towers['image_projector'],
                text_projector=towers['text_projector'],
            ),
            test_cfg=ConfigDict(
                mode='slide', crop_size=(height, width), stride=(height // 2, width // 2)
            ),
        )
    )
    model.load_state_dict(pretrainer.state_dict())
    return model.eval()


def _class_names(golden: GoldenFile) -> list[str]:
    """Return names for the class embeddings of a golden file."""
    return [f'class {i}' for i in range(len(golden.arrays['seg/text_embed']))]


@torch.no_grad()
def check_segmentation(golden: GoldenFile, model: GroupViTSegmentor) -> Iterator[Check]:
    """Compare scores, label maps and group maps, ties of the group map excepted."""
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


def set_background(model: GroupViTSegmentor, golden: GoldenFile, threshold: float | None) -> None:
    """Set the classes of a golden file, with a background before them if there is a threshold."""
    has_background = threshold is not None
    model.set_classes(
        ['background'] * has_background + _class_names(golden),
        with_background=has_background,
        bg_thresh=threshold,
    )
    model.decode_head.class_embeds = golden.tensor('seg/text_embed')


def ties(output: GroupViTOutput, num_stages: int | None = None) -> Tensor:
    """Return the pixels ``(B, H, W)`` whose two best segments are nearer than the margin."""
    probs = output.pixel_probs(num_stages)  # (B, S, H, W)
    if probs.shape[1] == 1:
        return torch.zeros(len(probs), *output.image_shape, dtype=torch.bool)
    best, second = probs.topk(2, dim=1).values.unbind(1)  # (B, S, H, W) -> two of (B, H, W)
    return best - second < TIE_MARGIN


def tied_windows(model: GroupViTSegmentor, images: Tensor) -> Tensor:
    """Return the pixels ``(B, H, W)`` with a tie in any of the windows that cover them."""
    tied = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
    (crop_h, crop_w), (stride_h, stride_w) = model.test_cfg.crop_size, model.test_cfg.stride
    for top in window_starts(images.shape[2], crop_h, stride_h):
        for left in window_starts(images.shape[3], crop_w, stride_w):
            window = slice(top, top + crop_h), slice(left, left + crop_w)
            crop = images[:, :, window[0], window[1]]
            tied[:, window[0], window[1]] |= ties(model.extract_feat(crop))
    return tied


def window_starts(size: int, crop: int, stride: int) -> list[int]:
    """Return the first pixels of the windows along one side; the last window ends at the border."""
    last = max(size - crop, 0)
    return [*range(0, last, stride), last]


def compare_map(golden: GoldenFile, name: str, labels: Tensor, tied: Tensor) -> Check:
    """Return the share of pixels, ties excepted, at which two label maps ``(B, H, W)`` differ."""
    wrong = (labels != golden.tensor(name).long()) & ~tied
    note = f'{int(wrong.sum())} pixels differ, {int(tied.sum())} tied'
    return Check(name, tuple(labels.shape), float(wrong.float().mean()), 0.0, note)


def check_whole(golden: GoldenFile, name: str, scores: Tensor, tied: Tensor) -> Iterator[Check]:
    """Compare scores ``(B, K, H, W)`` to one unit in the last place of float16, and labels."""
    if f'{name}_label' in golden.arrays:
        yield compare_map(golden, f'{name}_label', scores.argmax(1), tied)
    if name not in golden.arrays:
        return
    reference = golden.arrays[name]
    spacing = torch.from_numpy(np.spacing(np.abs(reference)).astype(np.float64))
    difference = (scores.half().double() - torch.from_numpy(reference.astype(np.float64))).abs()
    units = (difference / spacing).masked_fill(tied.unsqueeze(1), 0.0)
    yield Check(name, reference.shape, float(units.max()), 1.0, 'in units of the last place')


def check_slide(golden: GoldenFile, name: str, scores: Tensor, tied: Tensor) -> Iterator[Check]:
    """Compare labels of averaged windows and each channel's sum, which a tie may change by 1."""
    if f'{name}_label' in golden.arrays:
        yield compare_map(golden, f'{name}_label', scores.argmax(1), tied)
    if f'{name}_sum' not in golden.arrays:
        return
    reference = golden.tensor(f'{name}_sum').double()
    sums = scores.double().sum(dim=(0, 2, 3)).view(reference.shape)  # (B, K, H, W) -> (K,)
    difference = ((sums - reference).abs() - int(tied.sum())).clamp(min=0).max()
    error = float(difference / reference.abs().max())
    note = f'{int(tied.sum())} tied'
    yield Check(f'{name}_sum', tuple(reference.shape), error, TOLERANCE, note)
