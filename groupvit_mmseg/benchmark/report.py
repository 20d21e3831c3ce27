"""Result files: scores together with everything that they depend on."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypedDict

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from torch import nn

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.result_types import CheckpointRecord
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.weight_files import shard_names
from groupvit_mmseg.evaluation.metrics import PerClassIoUMetric, class_names_of
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
from groupvit_mmseg.openmmlab_entries import describe_tta
from groupvit_mmseg.registry import type_name
from groupvit_mmseg.text.background_thresholds import preset_of
from groupvit_mmseg.text.vocabulary import CLASS_NAMES

PACKAGES = ('groupvit_mmseg', 'torch', 'mmengine', 'mmcv', 'mmseg')
WIDE_INSTRUCTIONS = ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_tile')
"""tuple[str, ...]: Flags of ``/proc/cpuinfo`` on which the speed of products depends."""


class BackgroundRecord(TypedDict):
    """Background of a head: its threshold, the preset that has this threshold, its words."""

    with_background: bool
    threshold: float | None
    preset: str | None
    words: list[str]


def evaluation_report(
    cfg: Config,
    head: nn.Module,
    metrics: Mapping[str, float],
    evaluator_metrics: Iterable[BaseMetric],
) -> dict[str, object]:
    """Collect scores and all settings that they depend on.

    Args:
        cfg (Config): The segmentation config; ``load_from`` is the checkpoint.
        head (nn.Module): The decode head that was evaluated; any but a ``GroupViTZeroShotHead``
            was trained on masks and has no prompts.
        metrics (Mapping[str, float]): Aggregates that the test loop returned, in percent.
        evaluator_metrics (Iterable[BaseMetric]): The metrics; every ``PerClassIoUMetric`` has the
            IoU of the classes.

    Returns:
        dict[str, object]: ``metrics``, ``class_iou``, ``classes``, ``background``, ``templates``,
        ``prompted``, ``protocol``, ``data``, ``checkpoint``, ``config`` and ``versions``, all JSON
        values; ``config`` is None without a file. ``background``, ``templates``, ``prompted``
        (every field of the class list), and ``top_k``, ``affinity`` and ``image_weight`` of the
        protocol are None without prompts.
    """
    evaluator_metrics = list(evaluator_metrics)
    prompted = head if isinstance(head, GroupViTZeroShotHead) else None
    classes = prompted.class_names if prompted else class_names_of(evaluator_metrics[0])
    return {
        'metrics': {name: _finite(value) for name, value in metrics.items()},
        'class_iou': {
            metric.prefix or 'IoU': metric.class_iou
            for metric in evaluator_metrics
            if isinstance(metric, PerClassIoUMetric)
        },
        'classes': list(classes),
        'background': describe_background(prompted) if prompted else None,
        'templates': list(prompted.templates) if prompted else None,
        'prompted': prompted.classes._asdict() if prompted else None,
        'protocol': describe_protocol(cfg, head),
        'data': describe_data(cfg),
        'checkpoint': describe_checkpoint(cfg.load_from),
        'config': str(cfg.filename) if cfg.filename else None,
        'versions': versions(),
    }


def describe_background(head: GroupViTZeroShotHead) -> BackgroundRecord:
    """Return threshold, preset and words of a head's background."""
    class_set = next((k for k, names in CLASS_NAMES.items() if names == head.class_names), None)
    return {
        'with_background': head.with_background,
        'threshold': head.bg_thresh,
        'preset': preset_of(head.bg_thresh, class_set),
        'words': list(head.background_words),
    }


def describe_protocol(cfg: Config, head: nn.Module) -> dict[str, object]:
    """Return resizing, windows, the options of the head's affinities and test-time augmentation."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    resize = [step for step in pipeline if 'Resize' in type_name(step)]
    segmentor = cfg.model.get('module', cfg.model)  # of a model that augments
    return {
        'resize': [dict(step) for step in resize],
        'inference': dict(segmentor.get('test_cfg') or {}),
        'top_k': getattr(head, 'top_k', None),
        'affinity': getattr(head, 'affinity', None),
        'image_weight': getattr(head, 'image_weight', None),
        'tta': describe_tta(pipeline),
    }


def describe_data(cfg: Config) -> dict[str, str]:
    """Return the data set, without the machine's own folder names."""
    dataset = cfg.test_dataloader.dataset
    return {
        'dataset': dataset.type,
        'data_root': Path(dataset.get('data_root') or '').name,
        'ann_file': dataset.get('ann_file', ''),
    }


def describe_checkpoint(path: str | Path | None) -> CheckpointRecord:
    """Return name and SHA-256 of a checkpoint.

    Args:
        path (str | Path | None): As :func:`.locate` takes it; None for random weights.

    Example:
        >>> _ = Path('weights.pth').write_bytes(b'')
        >>> record = describe_checkpoint('weights.pth')
        >>> record['file'], record['sha256'][:12]
        ('weights.pth', 'e3b0c44298fc')
    """
    if path is None:
        return {'file': None, 'sha256': None}
    main = locate(path)
    shards = shard_names(main) if main.suffix == '.json' else []
    digest = hashlib.sha256()
    for each in (main, *(main.parent / name for name in shards)):
        with each.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return {'file': main.name, 'sha256': digest.hexdigest()}


def versions() -> dict[str, str]:
    """Return the versions of Python, the device and the packages that scores depend on."""
    packages = {name: str(importlib.import_module(name).__version__) for name in PACKAGES}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
    return {'python': platform.python_version(), **packages, 'device': device}


def processor_name() -> str:
    """Return the model of the CPU, and on Linux which wide instructions it has.

    Example:
        >>> bool(processor_name().strip(' ()'))  # such as AMD EPYC (avx2, avx512f, avx512_vnni)
        True
    """
    file = Path('/proc/cpuinfo')
    lines = file.read_text().splitlines() if file.is_file() else []
    pairs = (line.partition(':') for line in lines)
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    name = fields.get('model name') or platform.processor() or platform.machine()
    wide = [flag for flag in WIDE_INSTRUCTIONS if flag in fields.get('flags', '').split()]
    return f'{name} ({", ".join(wide)})' if wide else name


def write_json(content: Mapping[str, object], path: str | Path) -> None:
    """Write a JSON file atomically; its folder is made.

    Args:
        content (Mapping[str, object]): JSON values.
        path (str | Path): The file.

    Example:
        >>> write_json({'mIoU': 52.3}, 'results/voc21.json')
        >>> json.loads(Path('results/voc21.json').read_text())
        {'mIoU': 52.3}
    """
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    write_text(path, text)


def _finite(value: float) -> float | None:
    """Return the number, or None if it is undefined (JSON has no NaN)."""
    value = float(value)
    return value if value == value and abs(value) != float('inf') else None
