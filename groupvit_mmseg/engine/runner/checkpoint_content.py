"""Content of a checkpoint: collected from a run, and restored for mmengine's Runner."""

import time
from typing import Any, cast

import mmengine
import torch
from mmengine.dist import is_main_process
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner
from mmengine.runner.checkpoint import weights_to_cpu

from groupvit_mmseg.checkpoints.types import Checkpoint, CheckpointMeta
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.optimizers.optimizer_check import built_optim_wrapper, kinds_of
from groupvit_mmseg.engine.runner.serialization import history_from_plain, to_plain
from groupvit_mmseg.engine.runner.train_loop import RESUMABLE_LOOPS
from groupvit_mmseg.engine.sharding import full_state_dict, full_tensors


def gather_checkpoint(
    runner: Runner,
    meta: CheckpointMeta,
    *,
    by_epoch: bool,
    with_optimizer: bool,
    with_schedules: bool,
) -> Checkpoint | None:
    """Collect the content of a checkpoint; all ranks must call it, because shards are gathered.

    Args:
        runner (Runner): The run.
        meta (CheckpointMeta): Entries of ``meta`` besides those that identify the run.
        by_epoch (bool): Whether an epoch has just ended.
        with_optimizer (bool): Whether to include the optimiser's state.
        with_schedules (bool): Whether to include the schedules' states.

    Returns:
        Checkpoint | None: None on all ranks but the first.
    """
    state_dict = full_state_dict(unwrap_model(runner.model))
    wrapper = built_optim_wrapper(runner) if with_optimizer else None
    optimizer = full_tensors(wrapper.state_dict()) if wrapper is not None else None
    if not is_main_process():
        return None
    checkpoint: Checkpoint = {
        'meta': checkpoint_meta(runner, meta, by_epoch=by_epoch),
        'state_dict': weights_to_cpu(state_dict),
        'message_hub': to_plain(runner.message_hub.state_dict()),
    }
    if with_optimizer:
        checkpoint['optimizer'] = to_plain(optimizer)
    if with_schedules and runner.param_schedulers is not None:
        schedules = cast(list[_ParamScheduler], runner.param_schedulers)  # of one optimiser
        states = [schedule.state_dict() for schedule in schedules]
        checkpoint['param_schedulers'] = to_plain(states)
    return checkpoint


def checkpoint_meta(runner: Runner, meta: CheckpointMeta, *, by_epoch: bool) -> CheckpointMeta:
    """Complete ``meta`` with entries that identify the run.

    Args:
        runner (Runner): The run.
        meta (CheckpointMeta): Entries to complete, such as epoch and iteration; changed in place.
        by_epoch (bool): Whether an epoch has just ended.

    Returns:
        CheckpointMeta: Plain values.
    """
    meta.setdefault('epoch', runner.epoch + 1 if by_epoch else runner.epoch)
    meta.setdefault('iter', runner.iter if by_epoch else runner.iter + 1)
    if isinstance(runner.train_loop, RESUMABLE_LOOPS):
        meta.update(runner.train_loop.progress(meta['iter'], by_epoch=by_epoch))
    meta.update(kinds_of(runner.optim_wrapper, runner.param_schedulers))
    metainfo = _metainfo(runner)
    meta.update(
        {
            'cfg': runner.cfg.pretty_text,
            'seed': runner.seed,
            'experiment_name': runner.experiment_name,
            'time': time.strftime('%Y%m%d_%H%M%S'),
            'mmengine_version': mmengine.__version__,
            'torch_version': torch.__version__,
            'train_metainfo': metainfo,
        }
    )
    has_classes = metainfo is not None and 'classes' in metainfo
    dataset_meta = metainfo if has_classes else _classes_of_validation(runner)
    if dataset_meta:
        meta['dataset_meta'] = dataset_meta
    return to_plain(meta)


def restore_types(runner: Runner, checkpoint: Checkpoint) -> None:
    """Undo :func:`.to_plain` in place for values whose types mmengine requires."""
    scalars = checkpoint.get('message_hub', {}).get('log_scalars', {})
    for name, history in scalars.items():
        scalars[name] = history_from_plain(history)
    if not runner._resume:
        return
    # mmengine compares pickles, which can differ for equal objects: make equal ones identical.
    metainfo = _metainfo(runner)
    meta = checkpoint.setdefault('meta', {})
    if meta.get('train_metainfo', meta.get('dataset_meta')) == to_plain(metainfo):
        meta['dataset_meta'] = cast(dict[str, Any], metainfo)  # None too, as mmengine has it then


def _metainfo(runner: Runner) -> dict[str, Any] | None:
    """Return the ``metainfo`` of the training data set."""
    return getattr(runner.train_dataloader.dataset, 'metainfo', None)


def _classes_of_validation(runner: Runner) -> dict[str, list] | None:
    """Return the classes of the segmentor that validates; image-text pairs have none."""
    return getattr(getattr(runner._val_loop, 'segmentor', None), 'dataset_meta', None)
