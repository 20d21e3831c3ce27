"""What a resumed run takes over, said before it is: errors where the result would be wrong."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapperDict

from groupvit_mmseg.engine.hooks.run_hooks import RunSummaryHook
from groupvit_mmseg.engine.optimizers.optimizer_check import optimizer_notes, same, schedule_notes
from groupvit_mmseg.engine.runner.config_changes import config_changes

SETTINGS_TOLD = 12
"""int: Changed settings that are named; the others are counted."""
STEPS = ('epoch', 'iter')
SUMMARY = ('ranks', 'effective_batch', 'samples_per_epoch', 'steps_per_epoch', 'precision')


def check_resumable(
    runner: Any,
    checkpoint: dict[str, Any],
    *,
    source: str,
    with_optimizer: bool = True,
    with_schedules: bool = True,
) -> None:
    """Refuse a checkpoint that a run cannot go on from; log everything that will differ.

    Entries that may be missing are added to the checkpoint.

    Args:
        runner (Runner): About to resume; optimiser and schedules are built here at the latest.
        checkpoint (dict): As :func:`.read_checkpoint` gives it.
        source (str): Where it comes from, for messages.
        with_optimizer (bool): Whether the optimiser's state is wanted. Defaults to True.
        with_schedules (bool): Whether those of the schedules are. Defaults to True.

    Raises:
        ValueError: If the run would not go on as the checkpoint's run would have; the sentence
            says what to do.
    """
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    try:
        _check_place(checkpoint, with_optimizer)
        notes = _averages(runner, checkpoint)
        if with_optimizer and not isinstance(runner.optim_wrapper, OptimWrapperDict):
            notes += _optimizer(runner, checkpoint, source)
        if with_schedules and not isinstance(runner.param_schedulers, dict):
            notes += _schedules(runner, checkpoint, source)
        notes += _data(runner, checkpoint)
    except ValueError as error:
        raise ValueError(
            f'{source} cannot be resumed from: {error}; to start from its weights instead, give '
            f'--cfg-options load_from={source} without --resume.'
        ) from error
    for note in [*notes, *_history(checkpoint), *_nothing_left(runner, checkpoint)]:
        runner.logger.warning(note)
    _log_changes(runner, checkpoint, source)


def _check_place(checkpoint: Mapping[str, Any], with_optimizer: bool) -> None:
    """Refuse a file of weights: best, published and converted ones."""
    meta = checkpoint.get('meta')
    known = isinstance(meta, Mapping) and all(isinstance(meta.get(n), int) for n in STEPS)
    has_optimizer = isinstance(checkpoint.get('optimizer'), Mapping)
    missing = [] if has_optimizer or not with_optimizer else ['no optimiser state']
    missing += [] if known else ['no epoch and iteration']
    if missing:
        raise ValueError(
            f'it holds {" and ".join(missing)}, as best, published and converted files do'
        )


def _averages(runner: Any, checkpoint: Mapping[str, Any]) -> list[str]:
    """Averaged weights belong to an EMAHook, the optimiser's state to the trained ones."""
    averaging = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if 'ema_state_dict' in checkpoint and not averaging:
        raise ValueError(
            'it was written with an EMAHook, so that its state_dict holds averaged weights, and '
            'its optimiser state belongs to others: add the EMAHook to custom_hooks'
        )
    if averaging and 'ema_state_dict' not in checkpoint:
        return ['The checkpoint holds no averaged weights: the EMAHook begins with those of now.']
    return []


def _optimizer(runner: Any, checkpoint: Mapping[str, Any], source: str) -> list[str]:
    """Optimiser and gradient scaler."""
    wrapper = runner.optim_wrapper
    state, kind = checkpoint['optimizer'], checkpoint['meta'].get('optimizer')
    if 'param_groups' not in state:
        raise ValueError('it holds the states of several optimisers, this run has one')
    notes = optimizer_notes(wrapper.optimizer, state, kind=kind, source=source)
    scaler = getattr(wrapper, 'scaler', None)
    if scaler is not None and scaler.is_enabled() and not state.get('scaler'):
        notes.append('The checkpoint holds no scale of gradients: float16 finds one anew.')
    return notes


def _schedules(runner: Any, checkpoint: Mapping[str, Any], source: str) -> list[str]:
    """Schedules of learning rate and momentum."""
    kinds = checkpoint['meta'].get('param_schedulers')
    states = checkpoint.get('param_schedulers')
    return schedule_notes(runner.param_schedulers, states, kinds=kinds, source=source)


def _data(runner: Any, checkpoint: Mapping[str, Any]) -> list[str]:
    """Amounts of data and how they are shared, as a RunSummaryHook noted them."""
    before = checkpoint.get('message_hub', {}).get('runtime_info', {}).get('run_summary')
    if not before or not any(isinstance(hook, RunSummaryHook) for hook in runner.hooks):
        return []
    now = RunSummaryHook.summary(runner)
    changed = [n for n in SUMMARY if n in before and not same(before[n], now[n])]
    if 'samples_per_epoch' in changed and checkpoint['meta'].get('taken'):
        raise ValueError(
            f'it is from the middle of an epoch of {before["samples_per_epoch"]} samples, this run '
            f'has {now["samples_per_epoch"]}: keep the data, or take a checkpoint of the end of an '
            'epoch'
        )
    told = ', '.join(f'{name} {before[name]} -> {now[name]}' for name in changed)
    return [f'From here on other data or steps than before: {told}.'] if changed else []


def _history(checkpoint: dict[str, Any]) -> list[str]:
    """Log histories and the best score may be missing."""
    if isinstance(checkpoint.get('message_hub'), Mapping):
        return []
    checkpoint['message_hub'] = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    return ['The checkpoint holds no log histories and no best score: both begin anew.']


def _nothing_left(runner: Any, checkpoint: Mapping[str, Any]) -> list[str]:
    """Runs that are at their end already."""
    cfg, meta = runner.cfg.get('train_cfg') or {}, checkpoint['meta']
    taken = sum(steps[-1] for steps in meta.get('taken') or ())
    whole = int(taken > 0 and taken >= len(runner.train_dataloader))  # an epoch, its end not noted
    for name, done in (('max_epochs', meta['epoch'] + whole), ('max_iters', meta['iter'])):
        if cfg.get(name) is not None and done >= cfg[name]:
            return [
                f'The checkpoint has {done} of the {cfg[name]} that train_cfg.{name} allows: '
                'nothing is left to train.'
            ]
    return []


def _log_changes(runner: Any, checkpoint: Mapping[str, Any], source: str) -> None:
    """Name the settings in which the configs differ, most of them on purpose."""
    text = checkpoint['meta'].get('cfg')
    changes = config_changes(text, runner.cfg.pretty_text) if isinstance(text, str) else []
    if changes:
        more = len(changes) - SETTINGS_TOLD
        told = '; '.join(changes[:SETTINGS_TOLD]) + (f'; and {more} more' if more > 0 else '')
        runner.logger.info(f'Settings that differ from those of {source}: {told}.')
