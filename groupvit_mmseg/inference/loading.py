"""Builds segmentors from configs and loads checkpoints into them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.loading import check_finite, load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.module_settings import check_checkpoint
from groupvit_mmseg.checkpoints.pretrained import weights_for
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.inference.config import is_open_vocabulary, segmentation_config
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.text.class_list import ClassList

EvaluatedSegmentor: TypeAlias = GroupViTSegmentor | OpenVocabularySegmentor
"""TypeAlias: A segmentor that the benchmarks evaluate."""


def load_segmentor(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    device: str = 'cpu',
    **test_cfg: object,
) -> GroupViTSegmentor:
    """Build a segmentor and load weights; its classes are set later.

    Args:
        config (str | Path | Config, optional): Config of a segmentor, or of pretraining that
            evaluates one; None derives it, as :func:`.open_model` does.
        checkpoint (str | Path): Weights of a pretrainer or a segmentor, as
            :func:`.read_checkpoint` takes them.
        device (str): Device to compute on. Defaults to 'cpu'.
        **test_cfg: Fields of :class:`.InferenceOptions`, which replace those of the config; the
            default of ``mode`` is ``'whole'``, not that of the config.

    Returns:
        GroupViTSegmentor: In evaluation mode.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If there is no such device or option of ``test_cfg``, a value is out of its
            range, or a weight is not finite.
    """
    check_device(device)
    tensors: Mapping[str, Tensor] | None = None
    if config is None:
        config, tensors = open_model(checkpoint)[:2]
    elif not isinstance(config, Config):
        if not Path(config).is_file():
            raise FileNotFoundError(f'There is no config at {config}.')
        config = read_config(config)
    init_default_scope('mmseg')
    model = segmentation_config(config).model
    for option in set(ClassList._fields) - {'templates', 'alias_pooling'}:
        model.decode_head.pop(option, None)
    model.decode_head.class_names = ['thing']
    model.test_cfg = {**(model.get('test_cfg') or {}), 'mode': 'whole', **test_cfg}
    segmentor = MODELS.build(model)
    if tensors is None:
        load_checkpoint(segmentor, checkpoint)
    else:
        load_weights(segmentor, tensors, source=str(checkpoint))
    check_finite(segmentor, checkpoint)
    return segmentor.to(device).eval()


def load_evaluated(
    config: str | Path | Config | None,
    checkpoint: str | Path,
    *,
    device: str = 'cpu',
    **test_cfg: object,
) -> EvaluatedSegmentor:
    """Build a segmentor of any model that an evaluation takes, and load weights.

    Args:
        config (str | Path | Config, optional): As for :func:`load_segmentor`, or a config whose
            model is an :class:`.OpenVocabularySegmentor`.
        checkpoint (str | Path): As for :func:`load_segmentor`; an adapter may read other files.
        device (str): Device to compute on. Defaults to 'cpu'.
        **test_cfg: As for :func:`load_segmentor`.

    Raises:
        FileNotFoundError: If there is no such config or checkpoint.
        ValueError: If there is no such device or option of ``test_cfg``, a value is out of its
            range, or a weight is not finite.
    """
    if isinstance(config, str | Path):
        config = read_config(config)
    if config is None or not is_open_vocabulary(config):
        return load_segmentor(config, checkpoint, device=device, **test_cfg)
    check_device(device)
    init_default_scope('mmseg')
    model = config.model.to_dict()
    model['test_cfg'] = {**(model.get('test_cfg') or {}), 'mode': 'whole', **test_cfg}
    segmentor = MODELS.build(model)
    segmentor.model.load_checkpoint(locate(checkpoint))
    check_finite(segmentor, checkpoint)
    return segmentor.to(device).eval()


def check_device(device: str) -> str:
    """Return the device if PyTorch can use it.

    Args:
        device (str): PyTorch's name of the device.

    Raises:
        ValueError: If PyTorch cannot.

    Example:
        >>> check_device('cpu')
        'cpu'
    """
    try:
        torch.empty(0, device=device)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip('.')
        raise ValueError(f'PyTorch cannot use the device {device!r} here: {reason}.') from error
    return device


def load_checkpoint(segmentor: nn.Module, checkpoint: str | Path) -> None:
    """Load weights; raise if a key does not fit, or the towers had other numbers of heads."""
    content = read_checkpoint(checkpoint)
    weights = weights_for(segmentor, content, source=str(checkpoint))
    load_weights(segmentor, weights, source=str(checkpoint))
    check_checkpoint(segmentor, content, source=str(checkpoint))
