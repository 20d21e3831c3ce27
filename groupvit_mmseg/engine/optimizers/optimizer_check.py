"""Whether an optimiser and its schedules can go on from the states of a checkpoint."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

# Settings that tell kinds of optimisers apart, for checkpoints that do not name theirs.
TELLING = ('betas', 'momentum', 'alpha', 'rho', 'lambd')
# Settings of the config that a loaded state replaces.
REPLACED = ('weight_decay', 'betas', 'eps', 'momentum')
COUNTERS = ('last_step', '_global_step', '_last_value', 'base_values', 'verbose')


def optimizer_notes(
    optimizer: Optimizer, state: Mapping[str, Any], *, kind: str | None, source: str
) -> list[str]:
    """Check that an optimiser can load a state; tell which of its settings the state replaces.

    Args:
        optimizer (Optimizer): Of this run, its schedules built.
        state (Mapping): Its ``state_dict`` in the checkpoint.
        kind (str, optional): Class of the optimiser that wrote it, where the checkpoint says.
        source (str): The checkpoint, for messages.

    Returns:
        list[str]: One sentence for each setting of the config that is not used.

    Raises:
        ValueError: If it is of another kind of optimiser, or of other parameters.
    """
    groups = state['param_groups']
    _check_kind(optimizer, groups, kind)
    sizes = [[len(group['params']) for group in one] for one in (groups, optimizer.param_groups)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'its optimiser has {len(sizes[0])} groups of together {sum(sizes[0])} parameters, '
            f'that of this run {len(sizes[1])} of {sum(sizes[1])}: keep what is trained and how '
            'it is grouped (frozen parts, paramwise_cfg)'
        )
    _check_shapes(optimizer, state)
    replaced = dict.fromkeys(_replaced(groups, optimizer.param_groups))
    return [
        f'{name} {here} of the config is not used: the optimiser goes on with the {there} of '
        f'{source}.'
        for name, there, here in replaced
    ]


def schedule_notes(
    schedules: Sequence[Any] | None,
    states: Sequence[Mapping[str, Any]] | None,
    *,
    kinds: Sequence[str] | None,
    source: str,
) -> list[str]:
    """Check that schedules can load their states; tell which of their settings these replace.

    Args:
        schedules (Sequence, optional): Of this run.
        states (Sequence[Mapping], optional): Their states in the checkpoint.
        kinds (Sequence[str], optional): Classes of the schedules that wrote them, where the
            checkpoint says.
        source (str): The checkpoint, for messages.

    Returns:
        list[str]: One sentence for each schedule that goes on as the checkpoint has it.

    Raises:
        ValueError: If they are fewer, more, or of other kinds.
    """
    here = [type(schedule).__name__ for schedule in schedules or ()]
    if not here:
        ending = f'{source} has {len(states or ())} schedules and this run none: rates stay as they'
        return [f'{ending} are.'] if states else []
    assert schedules is not None
    if not states:
        raise ValueError(f'it holds no states of the schedules {", ".join(here)}')
    if len(states) != len(here) or (kinds is not None and list(kinds) != here):
        there = ', '.join(kinds or ()) or f'{len(states)} of them'
        raise ValueError(
            f'it was written with other schedules ({there}) than those of this run '
            f'({", ".join(here)}): keep param_scheduler'
        )
    notes = []
    for schedule, state in zip(schedules, states, strict=True):
        notes += _schedule_note(schedule, state, source)
    return notes


def kinds_of(wrapper: Any, schedules: Any) -> dict[str, Any]:
    """Classes of a run's one optimiser and of its schedules, as a checkpoint notes them.

    Args:
        wrapper (Any): The optimiser's wrapper.
        schedules (Any): A list of schedules; None, or a dict for several optimisers.

    Returns:
        dict: ``optimizer`` and ``param_schedulers``, where there are such.
    """
    kinds: dict[str, Any] = {}
    if isinstance(getattr(wrapper, 'optimizer', None), Optimizer):
        kinds['optimizer'] = type(wrapper.optimizer).__name__
    if isinstance(schedules, list):
        kinds['param_schedulers'] = [type(schedule).__name__ for schedule in schedules]
    return kinds


def _check_kind(optimizer: Optimizer, groups: Sequence[Mapping], kind: str | None) -> None:
    """Refuse the state of another kind of optimiser."""
    here = type(optimizer).__name__
    telling = [{n for n in TELLING if n in g} for g in (*groups, *optimizer.param_groups)]
    if kind not in (None, here) or any(names != telling[0] for names in telling):
        other = kind or 'an optimiser with ' + ', '.join(sorted(telling[0]) or ['other settings'])
        raise ValueError(f'it was written with {other}, this run has {here}: keep the optimiser')


def _check_shapes(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
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
    before: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Any, Any]]:
    """Name, stored and configured value of the settings in which groups differ."""
    for there, here in zip(before, now, strict=True):
        scheduled = [('lr', 'initial_lr')] if 'initial_lr' in here and 'initial_lr' in there else []
        constant = [('lr', 'lr')] if 'initial_lr' not in here and 'initial_lr' not in there else []
        for name, key in [*scheduled, *constant, *((n, n) for n in REPLACED)]:
            if key in here and key in there and not same(there[key], here[key]):
                yield name, there[key], here[key]


def _schedule_note(schedule: Any, state: Mapping[str, Any], source: str) -> list[str]:
    """What of a schedule's settings is replaced, and where it ends then."""
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
    told = ', '.join(f'{name} {there}, not {here}' for name, (there, here) in changed.items())
    return [
        f'{type(schedule).__name__} goes on as {source} has it, not as the config says ({told}); '
        f'from step {state.get("end")} on it changes nothing.'
    ]


def same(first: Any, second: Any) -> bool:
    """Whether two settings are equal, numbers to rounding."""
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        pairs = zip(first, second, strict=False)
        return len(first) == len(second) and all(same(*pair) for pair in pairs)
    if isinstance(first, float) and isinstance(second, int | float):
        return math.isclose(first, second, rel_tol=1e-9)
    return bool(first == second)
