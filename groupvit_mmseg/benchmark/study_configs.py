"""Configs of the runs of a study, and digests of the settings that their results depend on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from groupvit_mmseg.benchmark.run_set import digest
from groupvit_mmseg.benchmark.study import Study
from groupvit_mmseg.config_files import merge_options, read_config

# Entries of a config that a training depends on, and entries that its evaluation depends on.
TRAINING = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'custom_hooks',
    'auto_scale_lr',
    'randomness',
    'load_from',
)
EVALUATION = ('val_dataloader', 'val_cfg')
# Parts of the pretrainer and their places in the segmentor of the validation.
SHARED = {
    'model.backbone': 'val_cfg.segmentor.backbone',
    'model.text_encoder': 'val_cfg.segmentor.decode_head.text_encoder',
    'model.image_projector': 'val_cfg.segmentor.decode_head.image_projector',
    'model.text_projector': 'val_cfg.segmentor.decode_head.text_projector',
}


class RunSettings(NamedTuple):
    """Digests of the settings that the result of a run depends on.

    Attributes:
        training (str): Of the training.
        evaluation (str): Of the evaluation.
    """

    training: str
    evaluation: str


def run_config(study: Study, name: str, seed: int, *, max_epochs: int | None = None) -> Config:
    """Return the config of one run.

    Changes of the towers and projectors of ``model`` are applied to the segmentor of the
    validation as well.

    Args:
        study (Study): The study.
        name (str): A variant.
        seed (int): A seed.
        max_epochs (int, optional): Length of the training for a trial; None for the variant's.
            Defaults to None.

    Raises:
        ValueError: If a change does not fit the config.

    Example:
        >>> from groupvit_mmseg.benchmark.study import find_study, read_study
        >>> study = read_study(find_study('assignment'))
        >>> cfg = run_config(study, 'soft', seed=1, max_epochs=2)
        >>> cfg.model.backbone.assignment.kind, cfg.val_cfg.segmentor.backbone.assignment.kind
        ('soft', 'soft')
        >>> cfg.randomness.seed, cfg.train_cfg.max_epochs, cfg.param_scheduler[1].end
        (1, 2, 2)
    """
    variant = study.variants[name]
    cfg = read_config(variant.config)
    for key, value in variant.options.items():
        if key.partition('.')[0] not in (*TRAINING, *EVALUATION):
            raise ValueError(f'Variant {name} sets {key}, which no run reads: name its full key.')
        merge_options(cfg, {key: value})
        for part, place in SHARED.items():
            if key == part or key.startswith(f'{part}.'):
                merge_options(cfg, {place + key.removeprefix(part): value})
    epochs = max_epochs or variant.max_epochs
    if epochs:
        set_epochs(cfg, epochs)
    merge_options(cfg, {'randomness.seed': seed})
    return cfg


def set_epochs(cfg: Config, epochs: int) -> None:
    """Change the length of a training; schedules of epochs that end with it end with the new one.

    Raises:
        ValueError: If the training, or a schedule that ends with it, counts iterations.
    """
    if 'max_epochs' not in cfg.train_cfg:
        raise ValueError(f'{cfg.filename} trains for iterations, not epochs: set max_iters.')
    before, cfg.train_cfg.max_epochs = cfg.train_cfg.max_epochs, epochs
    interval = cfg.train_cfg.get('val_interval', 1)
    cfg.train_cfg.val_interval = max(1, min(epochs, round(interval * epochs / before)))
    schedule = [
        part
        for part in cfg.get('param_scheduler') or []
        if not part.get('by_epoch', True) or part.get('begin', 0) < epochs
    ]
    for part in schedule:
        if not part.get('by_epoch', True) and 'T_max' in part:
            raise ValueError(
                f'{cfg.filename} has a {part.type} that counts iterations, so it cannot be fitted '
                'to another number of epochs: give it by_epoch=True and convert_to_iter_based=True.'
            )
        if part.get('by_epoch', True) and part.get('end') == before:
            part.end = epochs
            if 'T_max' in part:
                part.T_max = epochs - part.get('begin', 0)
    cfg.param_scheduler = schedule


def settings_of(study: Study, cfg: Config, start: RunSettings | None = None) -> RunSettings:
    """Return the digests of the settings of a run, before :func:`move_data`.

    Args:
        study (Study): The study.
        cfg (Config): Config of the run.
        start (RunSettings, optional): Of the run whose weights it starts from. Defaults to None.
    """
    content = cfg.to_dict()
    training = {key: content.get(key) for key in TRAINING}
    if start is not None:
        training['starts_from'] = start.training
    evaluation = {key: content.get(key) for key in EVALUATION}
    further = dict(metrics=study.metrics, evaluations=study.evaluations)
    return RunSettings(digest_of(training), digest_of({**evaluation, **further}))


def digest_of(content: Mapping[str, object]) -> str:
    """Return a digest of settings."""
    return digest([json.dumps(content, sort_keys=True, default=str)])


def move_data(cfg: Config, data_root: str | Path) -> Config:
    """Return a config whose ``data_root`` is another folder, wherever a path begins with it.

    Raises:
        ValueError: If the config has no ``data_root``.

    Example:
        >>> cfg = Config(dict(data_root='data/a', val=dict(folder='data/a/val')))
        >>> move_data(cfg, '/tmp/b').val.folder
        '/tmp/b/val'
    """
    if not cfg.get('data_root'):
        raise ValueError(f'{cfg.filename} has no data_root to move: leave out --data-root.')
    before = str(cfg.data_root).rstrip('/')
    moved = _moved(cfg.to_dict(), before, str(data_root).rstrip('/'))
    assert isinstance(moved, dict)
    return Config(moved, filename=cfg.filename)


def _moved(value: object, before: str, after: str) -> object:
    """Return a value of a config with paths below another folder."""
    if isinstance(value, str) and (value == before or value.startswith(f'{before}/')):
        return after + value[len(before) :]
    if isinstance(value, Mapping):
        return {key: _moved(each, before, after) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(each, before, after) for each in value)
    return value
