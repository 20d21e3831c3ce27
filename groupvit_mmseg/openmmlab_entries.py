"""Entries of a config that MMSegmentation's tools and functions read besides model and data.

``inference_model`` reads ``test_pipeline``, ``MMSegInferencer`` the ``visualizer``, ``tools/test.py
--show-dir`` the hook ``visualization``, ``tools/test.py --tta`` both ``tta_model`` and
``tta_pipeline``, and ``visualization_cam.py`` mean and standard deviation of ``data_preprocessor``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from mmengine.config import Config

from groupvit_mmseg.registry import type_name

TTA_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""tuple[float, ...]: Sizes relative to the test pipeline's, as MMSegmentation's configs have."""


class TransformConfig(TypedDict, total=False):
    """Config of a step of a test pipeline; only keys that are read or written here.

    Attributes:
        type (str): Class of the transform.
        scale (int | tuple[int, int]): Size of a ``Resize``, in pixels.
        scale_factor (float): Size of a ``Resize``, relative to the image.
        keep_ratio (bool): Whether a ``Resize`` keeps the image's proportions.
        prob (float): Probability of a ``RandomFlip``.
        direction (str): Direction of a ``RandomFlip``.
        transforms (list): Alternatives of each step of a ``TestTimeAug``.
    """

    type: str
    scale: int | tuple[int, int]
    scale_factor: float
    keep_ratio: bool
    prob: float
    direction: str
    transforms: list[list[TransformConfig]]


def add_openmmlab_entries(cfg: Config) -> None:
    """Add missing entries in place; the ``test_pipeline`` becomes that of the test data set.

    Args:
        cfg (Config): Config of a segmentor.

    Example:
        >>> cfg = Config(dict(model=dict(type='GroupViTSegmentor')))
        >>> add_openmmlab_entries(cfg)
        >>> sorted(cfg.keys())
        ['data_preprocessor', 'default_hooks', 'model', 'tta_model', 'visualizer']
    """
    visualizer = dict(
        type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
    )
    cfg.setdefault('visualizer', visualizer)
    cfg.setdefault('default_hooks', {})
    cfg.default_hooks.setdefault('visualization', dict(type='SegVisualizationHook'))
    cfg.setdefault('tta_model', dict(type='SegTTAModel'))
    cfg.setdefault('data_preprocessor', cfg.model.get('data_preprocessor'))
    pipeline = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline')
    if pipeline:
        cfg.test_pipeline = pipeline
        cfg.setdefault('tta_pipeline', tta_pipeline(pipeline))


def tta_pipeline(
    pipeline: Sequence[TransformConfig], ratios: Sequence[float] = TTA_RATIOS
) -> list[TransformConfig]:
    """Turn a test pipeline into a test-time augmentation: every size, also flipped horizontally.

    Args:
        pipeline (Sequence[dict]): Steps of the test pipeline; the first one loads the image.
        ratios (Sequence[float]): Sizes relative to those of its ``Resize``, or to the image where
            it has none. Defaults to :data:`TTA_RATIOS`.

    Returns:
        list[dict]: The loading step and a ``TestTimeAug`` of the others. Masks are loaded last,
        because predictions are compared with masks of the original size.

    Example:
        >>> steps = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
        >>> describe_tta(tta_pipeline(steps, ratios=(0.5, 1.0)))
        {'scales': [0.5, 1.0], 'flips': ['none', 'horizontal']}
    """
    loading, *steps = pipeline
    unscaled: TransformConfig = dict(type='Resize', keep_ratio=True)
    resize = next((step for step in steps if type_name(step) == 'Resize'), unscaled)
    masks = [step for step in steps if type_name(step) == 'LoadAnnotations']
    *others, packing = [s for s in steps if type_name(s) not in ('Resize', 'LoadAnnotations')]
    flips: list[TransformConfig] = [
        dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)
    ]
    sizes = [scale_resize(resize, ratio) for ratio in ratios]
    rest: list[list[TransformConfig]] = [[{**step}] for step in (*others, *masks, packing)]
    return [{**loading}, dict(type='TestTimeAug', transforms=[sizes, flips, *rest])]


def scale_resize(resize: TransformConfig, ratio: float) -> TransformConfig:
    """Return a ``Resize`` to ``ratio`` times the size of another."""
    if 'scale' not in resize:
        return {**resize, 'scale_factor': resize.get('scale_factor', 1.0) * ratio}
    scale = resize['scale']
    width, height = (scale, scale) if isinstance(scale, int) else scale
    return {**resize, 'scale': (int(width * ratio), int(height * ratio))}


def draws_nothing(hook: object) -> bool:
    """Return whether a hook's config is a ``SegVisualizationHook`` without ``draw``."""
    if not isinstance(hook, dict):
        return False
    return type_name(hook) == 'SegVisualizationHook' and not hook.get('draw')


def describe_tta(pipeline: Sequence[TransformConfig]) -> dict[str, list] | None:
    """Return the sizes and flips over which a test-time augmentation averages.

    Args:
        pipeline (Sequence[dict]): A test pipeline.

    Returns:
        dict | None: ``scales``, the ``scale`` or ``scale_factor`` of each resizing, and ``flips``,
        the direction of each or ``'none'``; None without a ``TestTimeAug``.
    """
    augmentation = next((step for step in pipeline if type_name(step) == 'TestTimeAug'), None)
    if augmentation is None:
        return None
    steps = [step for choices in augmentation['transforms'] for step in choices]
    resizes = [step for step in steps if type_name(step) == 'Resize']
    flips = [step for step in steps if type_name(step) == 'RandomFlip']
    return {
        'scales': [step.get('scale', step.get('scale_factor')) for step in resizes],
        'flips': [step['direction'] if step['prob'] else 'none' for step in flips],
    }
