"""Checks whether an optimiser and its schedules can load the states of a checkpoint."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from groupvit_mmseg.checkpoints.types import OptimizerState

ParamGroup = Mapping[str, object]
ScheduleState = Mapping[str, object]

# Settings that only some kinds of optimisers have, for checkpoints of mmengine's own Runner, which
# do not name the optimiser.
KIND_SETTINGS = ('betas', 'momentum', 'alpha', 'rho', 'lambd')
# Settings of the config that loading a state replaces.
REPLACED_SETTINGS = (
    *('weight_decay', 'betas', 'eps', 'momentum'),
    *('muon_lr_mult', 'muon_momentum', 'muon_steps'),
)
COUNTERS = ('last_step', '_global_step', '_last_value', 'base_values', 'verbose')


class OptimizerKinds(TypedDict, total=False):
    """Classes of a run's optimiser and schedules, as a checkpoint records them.

    Attributes:
        optimizer (str): Class of the optimiser; missing if there are several.
        param_schedulers (list[str]): Classes of the schedules; missing if there are none.
    """

    optimizer: str
    param_schedulers: list[str]


def built_optim_wrapper(runner: Runner) -> OptimWrapper:
    """Return the optimiser's wrapper of a run that has built it, as ``before_train`` finds it."""
    wrapper = runner.optim_wrapper
    assert isinstance(wrapper, OptimWrapper), 'the runner builds the optimiser before its hooks run'
    return wrapper


def optimizer_notes(
    optimizer: Optimizer, state: OptimizerState, *, kind: str | None, source: str
) -> list[str]:
    """Check that an optimiser can load a state; report the settings that the state replaces.

    Args:
        optimizer (Optimizer): Optimiser of this run, after its schedules are built.
        state (OptimizerState): Its ``state_dict`` in the checkpoint.
        kind (str, optional): Class of the optimiser that wrote it, if the checkpoint names it.
        source (str): The checkpoint, for messages.

    Returns:
        list[str]: A note about each setting of the config that is not used.

    Raises:
        ValueError: If the state is of another kind of optimiser or of other parameters.
    """
    groups = state['param_groups']
    _check_kind(optimizer, groups, kind)
    sizes = [[len(group['params']) for group in one] for one in (groups, optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'its optimiser has {len(sizes[0])} groups with {sum(sizes[0])} parameters, '
            f'that of this run {len(sizes[1])} with {sum(sizes[1])}: keep the trained parameters '
            'and their groups (frozen parts, paramwise_cfg)'
        )
    _check_shapes(optimizer, state)
    replaced = dict.fromkeys(_replaced(groups, optimizer.param_groups))
    return [
        f'{name} {configured} of the config is not used: the optimiser continues with the {stored} '
        f'of {source}.'
        for name, stored, configured in replaced
    ]


def schedule_notes(
    schedules: Sequence[_ParamScheduler] | None,
    states: Sequence[ScheduleState] | None,
    *,
    kinds: Sequence[str] | None,
    source: str,
) -> list[str]:
    """Check that schedules can load their states; report the settings that the states replace.

    Args:
        schedules (Sequence, optional): Schedules of this run.
        states (Sequence[Mapping], optional): Their states in the checkpoint.
        kinds (Sequence[str], optional): Classes of the schedules that wrote them, if the
            checkpoint names them.
        source (str): The checkpoint, for messages.

    Returns:
        list[str]: A note about each schedule that continues with other settings than the config's.

    Raises:
        ValueError: If the number or the kinds of the schedules differ.
    """
    here = [type(schedule).__name__ for schedule in schedules or ()]
    if not here:
        note = f'{source} has {len(states or ())} schedules and this run none: rates do not change.'
        return [note] if states else []
    assert schedules is not None
    if not states:
        raise ValueError(f'it holds no states of the schedules {", ".join(here)}')
    if len(states) != len(here) or (kinds is not None and list(kinds) != here):
        stored = ', '.join(kinds or ()) or f'{len(states)} of them'
        raise ValueError(
            f'it was written with other schedules ({stored}) than those of this run '
            f'({", ".join(here)}): keep param_scheduler'
        )
    notes = []
    for schedule, state in zip(schedules, states, strict=True):
        notes += _schedule_note(schedule, state, source)
    return notes


def kinds_of(wrapper: object, schedules: object) -> OptimizerKinds:
    """Return the classes of a run's optimiser and schedules, as a checkpoint records them.

    Args:
        wrapper (object): The optimiser's wrapper; several optimisers have no class to record.
        schedules (object): A list of schedules; None, or a dict for several optimisers.
    """
    kinds: OptimizerKinds = {}
    optimizer = getattr(wrapper, 'optimizer', None)
    if isinstance(optimizer, Optimizer):
        kinds['optimizer'] = type(optimizer).__name__
    if isinstance(schedules, list):
        kinds['param_schedulers'] = [type(schedule).__name__ for schedule in schedules]
    return kinds


def _check_kind(optimizer: Optimizer, groups: Sequence[ParamGroup], kind: str | None) -> None:
    """Refuse the state of another kind of optimiser."""
    here = type(optimizer).__name__
    settings = [{n for n in KIND_SETTINGS if n in g} for g in (*groups, *optimizer.param_groups)]
    if kind not in (None, here) or any(names != settings[0] for names in settings):
        other = kind or 'an optimiser with ' + ', '.join(sorted(settings[0]) or ['other settings'])
        raise ValueError(f'it was written with {other}, this run has {here}: keep the optimiser')


def _check_shapes(optimizer: Optimizer, state: OptimizerState) -> None:
    """Refuse states of parameters of other shapes."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    numbers = [n for group in state['param_groups'] for n in group['params']]
    for number, parameter in zip(numbers, parameters, strict=True):
        for name, value in state['state'].get(number, {}).items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                raise ValueError(
                    f'its optimiser has {name} of shape {tuple(value.shape)} where this run has a '
                    f'parameter of shape {tuple(parameter.shape)}: keep the order of parameters'
                )


def _replaced(
    before: Sequence[ParamGroup], now: Sequence[ParamGroup]
) -> Iterator[tuple[str, object, object]]:
    """Return name, stored value and configured value of settings in which groups differ."""
    for stored, configured in zip(before, now, strict=True):
        scheduled = ['initial_lr' in group for group in (stored, configured)]
        rates = [('lr', 'initial_lr')] if all(scheduled) else []
        rates += [] if any(scheduled) else [('lr', 'lr')]
        for name, key in [*rates, *((n, n) for n in REPLACED_SETTINGS)]:
            both = key in configured and key in stored
            if both and not same(stored[key], configured[key]):
                yield name, stored[key], configured[key]


def _schedule_note(schedule: _ParamScheduler, state: ScheduleState, source: str) -> list[str]:
    """Report the settings of a schedule that its state replaces, and the step at which it ends."""
    own = schedule.state_dict()
    changed = {
        name: (state[name], own[name])
        for name in own
        if name in state and name not in COUNTERS and not same(state[name], own[name])
    }
    if own.keys() - state.keys() and state.keys() - own.keys():  # versions only add settings
        raise ValueError(f'it was written with another schedule than {type(schedule).__name__}')
    if not changed:
        return []
    settings = ', '.join(
        f'{name} {stored} instead of {configured}' for name, (stored, configured) in changed.items()
    )
    return [
        f'{type(schedule).__name__} continues with the settings of {source}, not of the config '
        f'({settings}); after step {state.get("end")} it has no effect.'
    ]


def same(first: object, second: object) -> bool:
    """Return whether two settings are equal, numbers up to rounding.

    Example:
        >>> same([0.1 + 0.2, 'cosine'], (0.3, 'cosine'))
        True
    """
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(same(*pair) for pair in pairs)
    if isinstance(first, float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-9)
    return bool(first == second)
