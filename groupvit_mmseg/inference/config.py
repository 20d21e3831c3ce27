"""The ordinary segmentation config of any config of this project, pretraining included."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmengine.config import Config

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor
from groupvit_mmseg.openmmlab_entries import add_openmmlab_entries

PRETRAINING_PARTS = (
    'train_cfg',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'model_wrapper_cfg',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
)


def read_model_config(config: str | Path | None, checkpoint: str | Path) -> Config:
    """Return the config of a model: that of a file, or one that is read off the weights.

    Args:
        config (str | Path, optional): The config file; None for one with the structure of the
            weights for Pascal VOC, by the protocol of the config in them or else the paper's.
        checkpoint (str | Path): The weights, as :func:`.open_model` takes them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the config cannot be read, or the weights are no whole GroupViT.
    """
    return open_model(checkpoint).config if config is None else read_config(config)


def is_open_vocabulary(cfg: Config) -> bool:
    """Return whether a config's model is an :class:`.OpenVocabularySegmentor`.

    Example:
        >>> is_open_vocabulary(Config(dict(model=dict(type='OpenVocabularySegmentor'))))
        True
    """
    model = cfg.get('model')
    return isinstance(model, dict) and model.get('type') in (
        OpenVocabularySegmentor.__name__,
        OpenVocabularySegmentor,
    )


def describe_model(cfg: Config) -> str:
    """Return everything in a config that predictions depend on, as text.

    These are the section of the model and, for a model of other origin, the source of the modules
    that the config imports.

    Raises:
        ValueError: If the config has no segmentor.
    """
    if not is_open_vocabulary(cfg):
        model = segmentation_config(cfg).model.to_dict()
        return json.dumps(model, sort_keys=True, default=str)
    names = (cfg.get('custom_imports') or {}).get('imports') or []
    names = [names] if isinstance(names, str) else names
    files = [getattr(sys.modules.get(name), '__file__', None) for name in names]
    sources = [Path(file).read_text(encoding='utf-8') for file in files if file]
    return '\n'.join([json.dumps(cfg.model.to_dict(), sort_keys=True, default=str), *sources])


def segmentation_config(cfg: Config) -> Config:
    """Turn a config of pretraining into an ordinary segmentation config of its evaluation.

    Args:
        cfg (Config): Config of a segmentor, or of pretraining with a segmentor in ``val_cfg``.

    Returns:
        Config: A copy whose ``model`` is the segmentor, whose test loop is MMSegmentation's, and
        which has the entries that MMSegmentation's tools and ``mmseg.apis`` read.

    Example:
        >>> head = dict(type='GroupViTZeroShotHead')
        >>> segmentor = dict(type='GroupViTSegmentor', decode_head=head)
        >>> cfg = Config(dict(model=segmentor))
        >>> segmentation_config(cfg).tta_model.type
        'SegTTAModel'

    Raises:
        ValueError: If the config has no segmentor.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'{cfg.filename} has no model: name the config of a model.')
    segmentor = (cfg.get('val_cfg') or {}).get('segmentor')
    if 'decode_head' in cfg.model and segmentor is not None:
        raise ValueError(
            f'{cfg.filename} has a decode_head in model and a segmentor in val_cfg: change '
            'val_cfg.segmentor.decode_head, the one that is evaluated.'
        )
    if 'decode_head' in cfg.model:
        add_openmmlab_entries(cfg)
        return cfg
    if segmentor is None:
        raise ValueError(
            f'{cfg.filename} describes no segmentation: name a segmentor in val_cfg, or use one of '
            'the zero-shot configs.'
        )
    cfg.model = segmentor
    # Changes of the test loader, from the command line for example, apply to the validation's.
    cfg.merge_from_dict(dict(val_dataloader=cfg.get('test_dataloader') or {}))
    cfg.test_dataloader = cfg.val_dataloader
    cfg.test_evaluator = cfg.get('test_evaluator') or cfg.val_evaluator
    cfg.test_cfg = dict(type='TestLoop')
    # Checkpoints already hold the averaged weights as `state_dict`.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] != 'EMAHook']
    for part in PRETRAINING_PARTS:
        cfg.pop(part, None)
    add_openmmlab_entries(cfg)
    return cfg
