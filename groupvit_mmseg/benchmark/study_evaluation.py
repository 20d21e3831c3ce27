"""Evaluation of one run of a study: metrics by name, calibrated thresholds, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmseg.datasets import BaseSegDataset
from mmseg.registry import METRICS, MODELS
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.config_files import merge_options
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.evaluation.evaluate import evaluate_segmentor
from groupvit_mmseg.evaluation.metrics import PerClassIoUMetric
from groupvit_mmseg.evaluation.threshold_search import calibrate_segmentor
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.text.vocabulary import is_background

METRIC_TYPES: dict[str, dict[str, object]] = {
    '': dict(type='PerClassIoUMetric'),
    'oracle': dict(type='OracleIoUMetric'),
    'boundary': dict(type='BoundaryIoUMetric'),
    'foreground': dict(type='ForegroundIoUMetric'),
    'tag': dict(type='ImageTagIoUMetric'),
    'tag_foreground': dict(type='ImageTagIoUMetric', foreground_only=True),
    'tag_center': dict(type='ImageTagIoUMetric', center_share=0.3),
    'probing': dict(type='MaskProbingMetric'),
}
"""dict[str, dict]: Config of the metric behind each prefix of a metric's name."""

IOU_VALUES, PROBING_VALUES = ('mIoU', 'aAcc', 'mAcc'), ('jaccard', 'images')
NUM_PICTURES = 6
NEED_BACKGROUND = ('foreground', 'tag_foreground', 'tag_center', 'probing')


class RunScores(NamedTuple):
    """Scores of one evaluation.

    Attributes:
        metrics (dict[str, float | None]): By name; None where undefined.
        class_iou (dict[str, dict[str, float | None]]): IoU of the classes, by metric.
        bg_thresh (float, optional): The threshold, if it was calibrated. Defaults to None.
    """

    metrics: dict[str, float | None]
    class_iou: dict[str, dict[str, float | None]]
    bg_thresh: float | None = None


def check_metrics(names: Iterable[str], evaluations: Iterable[str]) -> None:
    """Refuse names of metrics or evaluations that do not exist.

    Raises:
        ValueError: Names the first of them.

    Example:
        >>> check_metrics(['mIoU', 'oracle/mIoU', 'voc: foreground/mIoU'], ['voc'])
    """
    known = ['', *evaluations]
    for name in names:
        evaluation, prefix = split_name(name)
        values = PROBING_VALUES if prefix == 'probing' else IOU_VALUES
        is_value = name.rpartition('/')[2].rpartition(': ')[2] in values
        if evaluation not in known or prefix not in METRIC_TYPES or not is_value:
            raise ValueError(
                f'There is no metric {name}: one is named PREFIX/NAME or EVALUATION: PREFIX/NAME, '
                f'its prefix is {", ".join(filter(None, METRIC_TYPES))} or none, its name '
                f'{", ".join(IOU_VALUES)}, or of probing {", ".join(PROBING_VALUES)}, its '
                f'evaluation {", ".join(known[1:]) or "none"}.'
            )


def split_name(name: str) -> tuple[str, str]:
    """Return the evaluation and the prefix in a metric's name, '' where there is none.

    Example:
        >>> split_name('voc: oracle/mIoU'), split_name('mIoU')
        (('voc', 'oracle'), ('', ''))
    """
    evaluation, _, metric = name.rpartition(': ')
    return evaluation, metric.rpartition('/')[0]


def build_segmentor(cfg: Config, checkpoint: str | Path) -> GroupViTSegmentor:
    """Build the segmentor of a validation with the weights of a checkpoint, in evaluation mode."""
    segmentor: GroupViTSegmentor = MODELS.build(cfg.val_cfg.segmentor)
    weights = read_checkpoint(checkpoint)['state_dict']
    load_weights(segmentor, weights, source=str(checkpoint))
    segmentor.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
    return segmentor


def evaluate(
    cfg: Config, checkpoint: str | Path, names: Sequence[str], *, pictures: Path | None = None
) -> RunScores:
    """Evaluate a checkpoint on the validation set of a config.

    Metrics of the foreground are left out of a set without a background.

    Args:
        cfg (Config): Its ``val_cfg`` has the segmentor; ``calibrate`` has the changes that lead to
            the images for the threshold, if it is to be calibrated.
        checkpoint (str | Path): Of the pretrainer.
        names (Sequence[str]): Metrics, without the name of an evaluation.
        pictures (Path, optional): File of :func:`save_pictures`, None for no file.
            Defaults to None.
    """
    segmentor = build_segmentor(cfg, checkpoint)
    threshold = None
    if cfg.get('calibrate'):
        threshold = _calibrated(cfg, segmentor)
        segmentor.set_classes(segmentor.classes, bg_thresh=threshold)
    loader = _loader(cfg)
    dataset = cast(BaseSegDataset, loader.dataset)
    metrics = build_metrics(names, is_background(dataset.metainfo['classes'][0]))
    values = evaluate_segmentor(segmentor, loader, metrics)
    if pictures is not None:
        save_pictures(segmentor, dataset, pictures)
    class_iou = {
        metric.prefix or 'IoU': metric.class_iou
        for metric in metrics
        if isinstance(metric, PerClassIoUMetric)
    }
    return RunScores({k: _finite(v) for k, v in values.items()}, class_iou, threshold)


def build_metrics(names: Iterable[str], with_background: bool) -> list[BaseMetric]:
    """Build the metrics behind names; those that need a background only with one."""
    prefixes = dict.fromkeys(['', *(split_name(name)[1] for name in names)])
    usable = [key for key in prefixes if with_background or key not in NEED_BACKGROUND]
    return [METRICS.build(dict(METRIC_TYPES[key])) for key in usable]


def changed(cfg: Config, changes: Mapping[str, object]) -> Config:
    """Return a copy of a config with the changes of one evaluation."""
    copy = Config(cfg.to_dict(), filename=cfg.filename)
    merge_options(copy, {key: value for key, value in changes.items() if key != 'calibrate'})
    if changes.get('calibrate'):
        copy.calibrate = changes['calibrate']
    return copy


def _loader(cfg: Config) -> DataLoader:
    """Build the loader of the validation, without worker processes."""
    return Runner.build_dataloader(
        {**cfg.val_dataloader.to_dict(), 'num_workers': 0, 'persistent_workers': False}
    )


def _calibrated(cfg: Config, segmentor: GroupViTSegmentor) -> float:
    """Return the background threshold that is best on the images for it."""
    segmentor.set_classes(segmentor.classes, bg_thresh=0.0)
    loader = _loader(changed(cfg, {**cfg.calibrate, 'calibrate': None}))
    return calibrate_segmentor(segmentor, loader).threshold


@torch.no_grad()
def save_pictures(segmentor: GroupViTSegmentor, dataset: BaseSegDataset, path: Path) -> None:
    """Save truth, groups and prediction of six images spread over a data set.

    Args:
        segmentor (GroupViTSegmentor): With the classes of the data set.
        dataset (BaseSegDataset): Images with masks.
        path (Path): The file, ``.npz`` with ``image_I``, ``truth_I``, ``groups_I`` and
            ``prediction_I``; without groups where the segmentor has none.
    """
    arrays: dict[str, NDArray] = {'classes': np.array(dataset.metainfo['classes'])}
    count = min(NUM_PICTURES, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, count).astype(int).tolist()
    for place, index in enumerate(indices):
        (sample,) = segmentor.test_step(pseudo_collate([dataset[index]]))
        arrays[f'image_{place}'] = load_image(sample.metainfo['img_path'])
        maps = dict(truth='gt_sem_seg', groups='pred_group_map', prediction='pred_sem_seg')
        for name, field in maps.items():
            if field in sample:
                labels = sample.get(field).get('data')[0].cpu().numpy()
                arrays[f'{name}_{place}'] = labels.astype(np.int32)
    write_atomically(path, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]


def _finite(value: float) -> float | None:
    """Return a number rounded to four digits, None if it is undefined."""
    return round(float(value), 4) if np.isfinite(value) else None
