"""The result file: a number together with everything that it depends on."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.evaluation.metrics import PerClassIoUMetric
from groupvit_mmseg.openmmlab_entries import describe_tta
from groupvit_mmseg.text.background_thresholds import preset_of
from groupvit_mmseg.text.vocabulary import CLASS_NAMES

PACKAGES = ('groupvit_mmseg', 'torch', 'mmengine', 'mmcv', 'mmseg')


def evaluation_report(
    cfg: Config, head: Any, metrics: Mapping[str, float], evaluator_metrics: Iterable[Any]
) -> dict[str, Any]:
    """Gather a result and what it was measured with.

    Args:
        cfg (Config): The segmentation config; ``load_from`` is the checkpoint.
        head (Any): The decode head that was evaluated; any but a ``GroupViTZeroShotHead`` has
            learnt its classes from masks and has no prompts to tell of.
        metrics (Mapping[str, float]): Aggregates that the test loop returned, in percent.
        evaluator_metrics (Iterable[Any]): The metric objects; those of ``PerClassIoUMetric`` give
            the classes.

    Returns:
        dict[str, Any]: ``metrics``, ``class_iou``, ``classes``, ``background``, ``templates``,
        ``prompted``, ``protocol``, ``data``, ``checkpoint``, ``config`` and ``versions``; only what
        JSON knows. ``background``, ``templates``, ``prompted`` (every field of the class list) and
        ``top_k`` of the protocol are None without prompts.
    """
    evaluator_metrics = list(evaluator_metrics)
    prompted = hasattr(head, 'templates')
    classes = head.class_names if prompted else evaluator_metrics[0].dataset_meta['classes']
    return {
        'metrics': {name: _finite(value) for name, value in metrics.items()},
        'class_iou': {
            metric.prefix or 'IoU': metric.class_iou
            for metric in evaluator_metrics
            if isinstance(metric, PerClassIoUMetric)
        },
        'classes': list(classes),
        'background': describe_background(head) if prompted else None,
        'templates': list(head.templates) if prompted else None,
        'prompted': head.classes._asdict() if prompted else None,
        'protocol': describe_protocol(cfg, head),
        'data': describe_data(cfg),
        'checkpoint': describe_checkpoint(cfg.load_from),
        'config': str(cfg.filename),
        'versions': versions(),
    }


def describe_background(head: Any) -> dict[str, Any]:
    """How a head tells the background: threshold, the preset it belongs to, background words."""
    class_set = next((k for k, names in CLASS_NAMES.items() if names == head.class_names), None)
    return {
        'with_background': head.with_background,
        'threshold': head.bg_thresh,
        'preset': preset_of(head.bg_thresh, class_set),
        'words': list(head.background_words),
    }


def describe_protocol(cfg: Config, head: Any) -> dict[str, Any]:
    """Resizing, windows, the number of classes let through per crop, test-time augmentation."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    resize = [step for step in pipeline if 'Resize' in step['type']]
    segmentor = cfg.model.get('module', cfg.model)  # of a model that augments
    return {
        'resize': [dict(step) for step in resize],
        'inference': dict(segmentor.get('test_cfg') or {}),
        'top_k': getattr(head, 'top_k', None),
        'tta': describe_tta(pipeline),
    }


def describe_data(cfg: Config) -> dict[str, Any]:
    """The data set, without the machine's own folder names."""
    dataset = cfg.test_dataloader.dataset
    return {
        'dataset': dataset.type,
        'data_root': Path(dataset.get('data_root') or '').name,
        'ann_file': dataset.get('ann_file', ''),
    }


def describe_checkpoint(path: str | Path | None) -> dict[str, Any]:
    """Name and SHA-256 of a checkpoint; no name for random weights."""
    if path is None:
        return {'file': None, 'sha256': None}
    with open(path, 'rb') as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return {'file': Path(path).name, 'sha256': digest.hexdigest()}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a number depends on."""
    found = {name: str(importlib.import_module(name).__version__) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    return {'python': platform.python_version(), **found, 'device': device}


def write_json(content: Mapping[str, Any], path: str | Path) -> None:
    """Write a file that is either whole or not there; its folder is made."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    write_atomically(path, lambda stream: stream.write(text.encode()))


def _finite(value: float) -> float | None:
    """The number, or None where it is undefined (JSON knows no NaN)."""
    value = float(value)
    return value if value == value and abs(value) != float('inf') else None
