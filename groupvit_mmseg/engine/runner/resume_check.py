"""Checks before a run resumes: errors if the result would be wrong, notes about differences."""

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from groupvit_mmseg.checkpoints.types import Checkpoint
from groupvit_mmseg.engine.hooks.run_hooks import RunSummaryHook
from groupvit_mmseg.engine.optimizers.optimizer_check import (
    built_optim_wrapper,
    optimizer_notes,
    same,
    schedule_notes,
)
from groupvit_mmseg.engine.runner.config_changes import config_changes

MAX_SETTINGS = 12
"""int: Changed settings that are listed; the others are counted."""
PROGRESS = ('epoch', 'iter')
SUMMARY = ('ranks', 'effective_batch', 'samples_per_epoch', 'steps_per_epoch', 'precision')


def check_resumable(
    runner: Runner,
    checkpoint: Checkpoint,
    *,
    source: str,
    with_optimizer: bool = True,
    with_schedules: bool = True,
) -> None:
    """Refuse a checkpoint from which a run cannot resume; log all differences.

    Builds the optimiser and the schedules, and adds optional entries to the checkpoint.

    Args:
        runner (Runner): A runner about to resume.
        checkpoint (Checkpoint): Content of the file, from :func:`.read_checkpoint`.
        source (str): The file, for messages.
        with_optimizer (bool): Whether to resume the optimiser. Defaults to True.
        with_schedules (bool): Whether to resume the schedules. Defaults to True.

    Raises:
        ValueError: If the run would not continue like the checkpoint's run.
    """
    assert runner.optim_wrapper is not None, 'a run that trains has an optimiser'
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    try:
        _check_progress(checkpoint, with_optimizer)
        notes = _averages(runner, checkpoint)
        notes += _optimizer(runner, checkpoint, source) if with_optimizer else []
        notes += _schedules(runner, checkpoint, source) if with_schedules else []
        notes += _data(runner, checkpoint)
    except ValueError as error:
        raise ValueError(
            f'{source} cannot be resumed from: {error}; to start from its weights instead, give '
            f'--cfg-options load_from={source} without --resume.'
        ) from error
    for note in [*notes, *_history(checkpoint), *_nothing_left(runner, checkpoint)]:
        runner.logger.warning(note)
    _log_changes(runner, checkpoint, source)


def _check_progress(checkpoint: Checkpoint, with_optimizer: bool) -> None:
    """Refuse a file of weights: best, published and converted ones."""
    meta = checkpoint.get('meta')
    has_progress = isinstance(meta, dict) and all(isinstance(meta.get(n), int) for n in PROGRESS)
    has_optimizer = isinstance(checkpoint.get('optimizer'), dict)
    missing = [] if has_optimizer or not with_optimizer else ['no optimiser state']
    missing += [] if has_progress else ['no epoch and iteration']
    if missing:
        raise ValueError(
            f'it holds {" and ".join(missing)}, as best, published and converted files do'
        )


def _averages(runner: Runner, checkpoint: Checkpoint) -> list[str]:
    """Compare averaged weights with the hooks: only an EMAHook separates them from trained ones."""
    averaging = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if 'ema_state_dict' in checkpoint and not averaging:
        raise ValueError(
            'it was written with an EMAHook, so its state_dict holds averaged weights, which its '
            'optimiser state does not belong to: add the EMAHook to custom_hooks'
        )
    if averaging and 'ema_state_dict' not in checkpoint:
        return ['The checkpoint holds no averaged weights: the EMAHook begins with its weights.']
    return []


def _optimizer(runner: Runner, checkpoint: Checkpoint, source: str) -> list[str]:
    """Compare optimiser and gradient scaler; several optimisers are not compared."""
    wrapper = built_optim_wrapper(runner)
    if isinstance(wrapper, OptimWrapperDict):
        return []
    state, kind = checkpoint['optimizer'], checkpoint['meta'].get('optimizer')
    if 'param_groups' not in state:
        raise ValueError('it holds the states of several optimisers, this run has one')
    notes = optimizer_notes(wrapper.optimizer, state, kind=kind, source=source)
    scaler = getattr(wrapper, 'scaler', None)
    if scaler is not None and scaler.is_enabled() and not state.get('scaler'):
        notes.append('The checkpoint holds no scale of gradients: float16 searches for a new one.')
    return notes


def _schedules(runner: Runner, checkpoint: Checkpoint, source: str) -> list[str]:
    """Compare schedules of learning rate and momentum; those by optimiser are not compared."""
    if isinstance(runner.param_schedulers, dict):
        return []
    schedules = runner.param_schedulers if isinstance(runner.param_schedulers, list) else None
    kinds = checkpoint['meta'].get('param_schedulers')
    states = checkpoint.get('param_schedulers')
    return schedule_notes(schedules, states, kinds=kinds, source=source)


def _data(runner: Runner, checkpoint: Checkpoint) -> list[str]:
    """Compare data, batch and ranks with those that a RunSummaryHook recorded."""
    before = checkpoint.get('message_hub', {}).get('runtime_info', {}).get('run_summary')
    if not before or not any(isinstance(hook, RunSummaryHook) for hook in runner.hooks):
        return []
    now = RunSummaryHook.summary(runner)
    changes = [n for n in SUMMARY if n in before and not same(before[n], now[n])]
    if 'samples_per_epoch' in changes and checkpoint['meta'].get('taken'):
        raise ValueError(
            f'it is from the middle of an epoch of {before["samples_per_epoch"]} samples, this run '
            f'has {now["samples_per_epoch"]}: keep the data, or use a checkpoint of the end of an '
            'epoch'
        )
    text = ', '.join(f'{name} {before[name]} -> {now[name]}' for name in changes)
    return [f'The data or the steps differ from here on: {text}.'] if changes else []


def _history(checkpoint: Checkpoint) -> list[str]:
    """Add empty log histories to a checkpoint without them."""
    if isinstance(checkpoint.get('message_hub'), dict):
        return []
    checkpoint['message_hub'] = {'log_scalars': {}, 'runtime_info': {}, 'resumed_keys': {}}
    return ['The checkpoint holds no log histories and no best score: both start empty.']


def _nothing_left(runner: Runner, checkpoint: Checkpoint) -> list[str]:
    """Note a run that has already reached its end."""
    cfg, meta = runner.cfg.get('train_cfg') or {}, checkpoint['meta']
    steps = sum(grid[-1] for grid in meta.get('taken') or ())
    # An epoch with all its steps done, whose end is not recorded yet.
    complete = int(steps > 0 and steps >= len(runner.train_dataloader))
    for name, done in (('max_epochs', meta['epoch'] + complete), ('max_iters', meta['iter'])):
        if cfg.get(name) is not None and done >= cfg[name]:
            return [
                f'The checkpoint has {done} of the {cfg[name]} that train_cfg.{name} allows: '
                'nothing is left to train.'
            ]
    return []


def _log_changes(runner: Runner, checkpoint: Checkpoint, source: str) -> None:
    """Log the settings in which the configs differ, usually on purpose."""
    text = checkpoint['meta'].get('cfg')
    changes = config_changes(text, runner.cfg.pretty_text) if isinstance(text, str) else []
    if changes:
        more = len(changes) - MAX_SETTINGS
        listed = '; '.join(changes[:MAX_SETTINGS]) + (f'; and {more} more' if more > 0 else '')
        runner.logger.info(f'Settings that differ from those of {source}: {listed}.')
