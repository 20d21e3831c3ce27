"""Entries of a config that MMSegmentation's tools and functions read beside the model and the data.

``inference_model`` reads ``test_pipeline``, ``MMSegInferencer`` the ``visualizer``, ``tools/test.py
--show-dir`` the hook ``visualization``, ``tools/test.py --tta`` both ``tta_model`` and
``tta_pipeline``, and ``visualization_cam.py`` mean and standard deviation of ``data_preprocessor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

TTA_RATIOS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""tuple[float, ...]: Sizes relative to the test pipeline's, as MMSegmentation's configs have."""


def add_openmmlab_entries(cfg: Config) -> None:
    """Add what is missing, in place; the ``test_pipeline`` becomes that of the test data set.

    Args:
        cfg (Config): Of a segmentor.
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
    pipeline: Sequence[Mapping[str, Any]], ratios: Sequence[float] = TTA_RATIOS
) -> list[dict[str, Any]]:
    """Test-time augmentation of a test pipeline: every size, each also flipped horizontally.

    Args:
        pipeline (Sequence[Mapping]): Steps of the test pipeline; the first one loads the image.
        ratios (Sequence[float]): Sizes relative to those of its ``Resize``, or to the image where
            it has none. Defaults to :data:`TTA_RATIOS`.

    Returns:
        list[dict]: The loading step and a ``TestTimeAug`` of the others. Masks are loaded last,
        for they are compared as they are stored.
    """
    loading, *steps = [dict(step) for step in pipeline]
    resize = next((s for s in steps if s['type'] == 'Resize'), dict(type='Resize', keep_ratio=True))
    masks = [s for s in steps if s['type'] == 'LoadAnnotations']
    *others, packing = [s for s in steps if s['type'] not in ('Resize', 'LoadAnnotations')]
    flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]
    sizes = [scaled(resize, ratio) for ratio in ratios]
    rest = [[step] for step in (*others, *masks, packing)]
    return [loading, dict(type='TestTimeAug', transforms=[sizes, flips, *rest])]


def scaled(resize: Mapping[str, Any], ratio: float) -> dict[str, Any]:
    """A ``Resize`` to ``ratio`` times its size."""
    if 'scale' not in resize:
        return dict(resize, scale_factor=resize.get('scale_factor', 1.0) * ratio)
    scale = resize['scale']
    sides = (scale, scale) if isinstance(scale, int) else scale
    return dict(resize, scale=tuple(int(side * ratio) for side in sides))


def describe_tta(pipeline: Sequence[Mapping[str, Any]]) -> dict[str, list] | None:
    """Sizes and flips over which a test-time augmentation averages.

    Args:
        pipeline (Sequence[Mapping]): A test pipeline.

    Returns:
        dict | None: ``scales``, the ``scale`` or ``scale_factor`` of each resizing, and ``flips``,
        the direction of each or ``'none'``; None without a ``TestTimeAug``.
    """
    augmentation = next((step for step in pipeline if step['type'] == 'TestTimeAug'), None)
    if augmentation is None:
        return None
    steps = [step for choices in augmentation['transforms'] for step in choices]
    resizes = [step for step in steps if step['type'] == 'Resize']
    flips = [step for step in steps if step['type'] == 'RandomFlip']
    return {
        'scales': [step.get('scale', step.get('scale_factor')) for step in resizes],
        'flips': [step['direction'] if step['prob'] else 'none' for step in flips],
    }
