"""The entry ``meta`` of a checkpoint: what identifies the run, and the classes of its model."""

import time
from typing import Any

import mmengine
import torch

from groupvit_mmseg.engine.optimizers.optimizer_check import kinds_of
from groupvit_mmseg.engine.runner.serialization import to_plain
from groupvit_mmseg.engine.runner.train_loop import RESUMABLE_LOOPS


def checkpoint_meta(runner: Any, meta: dict[str, Any], *, by_epoch: bool) -> dict[str, Any]:
    """Complete ``meta`` with what identifies the run.

    Args:
        runner (GroupViTRunner): The run.
        meta (dict): Entries that are given; they stay.
        by_epoch (bool): Whether a whole epoch has just ended.

    Returns:
        dict: Plain values; see :class:`.GroupViTRunner`.
    """
    meta.setdefault('epoch', runner.epoch + 1 if by_epoch else runner.epoch)
    meta.setdefault('iter', runner.iter if by_epoch else runner.iter + 1)
    if isinstance(runner.train_loop, RESUMABLE_LOOPS):
        meta.update(runner.train_loop.progress(meta['iter'], by_epoch=by_epoch))
    meta.update(kinds_of(runner.optim_wrapper, runner.param_schedulers))
    learnt = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    meta.update(
        cfg=runner.cfg.pretty_text,
        seed=runner.seed,
        experiment_name=runner.experiment_name,
        time=time.strftime('%Y%m%d_%H%M%S'),
        mmengine_version=mmengine.__version__,
        torch_version=torch.__version__,
        train_metainfo=learnt,
        **_dataset_meta(learnt or {}, getattr(runner._val_loop, 'segmentor', None)),
    )
    return to_plain(meta)


def _dataset_meta(learnt: dict[str, Any], segmentor: Any) -> dict[str, Any]:
    """``dataset_meta`` with the classes that the weights segment or tell apart, if any.

    Pairs have no classes: those of the segmentor that validates are meant.
    """
    if 'classes' in learnt:
        return {'dataset_meta': learnt}
    segmented = getattr(segmentor, 'dataset_meta', None)
    return {'dataset_meta': segmented} if segmented else {}
