"""FreezeHook: freezes the parts of any model whose names match patterns."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import translate
from itertools import accumulate

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import nn

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model


@HOOKS.register_module()
class FreezeHook(Hook):
    """Excludes parts of a model from training and keeps frozen modules in evaluation mode.

    A pattern is a name of the model's ``named_modules`` or ``named_parameters`` and includes
    everything below it; ``*`` matches any characters, also dots: ``backbone`` is the entire
    backbone, ``backbone.stages.0`` its first stage, ``backbone.stages.*.group_tokens`` the group
    tokens of all stages, ``*.bias`` every bias.

    :class:`GroupViTRunner` freezes parameters before it wraps the model for several processes and
    builds the optimiser. Under mmengine's ``Runner`` the optimiser contains frozen parameters but
    does not change them. Frozen modules use no drop path and no Gumbel noise and update no
    statistics.

    Args:
        patterns (str | Sequence[str]): Patterns of the parts to freeze; each must match a
            parameter.

    Example:
        >>> custom_hooks = [dict(type='FreezeHook', patterns=['text_encoder', '*.bias'])]
    """

    priority = 'VERY_HIGH'

    def __init__(self, patterns: str | Sequence[str]) -> None:
        self.patterns = patterns
        self._frozen_modules: list[nn.Module] = []

    def before_run(self, runner: Runner) -> None:
        """Freeze all parameters that match and are not frozen yet.

        Raises:
            ValueError: If the model's wrapper waits for the gradients of all parameters, or a
                pattern matches none.
        """
        model = unwrap_model(runner.model)
        parameters = matching(model, self.patterns)
        late = [name for name, parameter in parameters.items() if parameter.requires_grad]
        if late and is_model_wrapper(runner.model) and waits_for_all_gradients(runner.model):
            raise ValueError(
                f'FreezeHook would freeze {len(late)} parameters after '
                f'{type(runner.model).__name__} has registered them for gradients; set '
                "runner_type = 'GroupViTRunner' or find_unused_parameters = True."
            )
        freeze(parameters)
        self._frozen_modules = frozen_modules(model, {id(p) for p in parameters.values()})
        num_frozen = sum(p.numel() for p in parameters.values())
        total = sum(p.numel() for p in model.parameters())
        print_log(f'FreezeHook: {num_frozen:,} of {total:,} parameters are frozen.', 'current')

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Return frozen modules to evaluation mode, which ``model.train()`` ended."""
        for module in self._frozen_modules:
            module.eval()


def freeze_configured(cfg: Config, model: nn.Module) -> None:
    """Freeze the parameters that the :class:`FreezeHook` of a run's config will freeze.

    Args:
        cfg (Config): Config of a run, with ``custom_hooks`` and ``default_hooks``.
        model (nn.Module): The model before it is wrapped.
    """
    hooks = [*(cfg.get('custom_hooks') or []), *(cfg.get('default_hooks') or {}).values()]
    for hook in hooks:
        kind = hook.get('type') if isinstance(hook, Mapping) else None
        if kind is FreezeHook or str(kind).split('.')[-1] == 'FreezeHook':
            freeze(matching(model, hook['patterns']))


def freeze(parameters: Mapping[str, nn.Parameter]) -> None:
    """Exclude parameters from training."""
    for parameter in parameters.values():
        parameter.requires_grad_(False)


def matching(model: nn.Module, patterns: str | Sequence[str]) -> dict[str, nn.Parameter]:
    """Return the parameters that match patterns.

    Args:
        model (nn.Module): Any model.
        patterns (str | Sequence[str]): Patterns of a :class:`FreezeHook`.

    Returns:
        dict[str, nn.Parameter]: Parameters by name.

    Raises:
        ValueError: If a pattern matches no parameter.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> list(matching(model, ['0', '*.bias']))
        ['0.weight', '0.bias', '1.bias']
    """
    parameters = dict(model.named_parameters())
    matches: dict[str, nn.Parameter] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        match = re.compile(translate(pattern)).match
        names = [name for name in parameters if any(map(match, heads_of(name)))]
        if not names:
            raise ValueError(no_match(pattern, parameters))
        matches.update({name: parameters[name] for name in names})
    return matches


def heads_of(name: str) -> Iterator[str]:
    """Split ``a.b.c`` into ``a``, ``a.b`` and ``a.b.c``."""
    return accumulate(name.split('.'), lambda head, part: f'{head}.{part}')


def no_match(pattern: str, names: Iterable[str]) -> str:
    """Return the message for a pattern that matches nothing, with similar names."""
    names = list(names)
    known = sorted({head for name in names for head in heads_of(name)})
    tops = sorted({name.split('.')[0] for name in names})
    close = get_close_matches(pattern, known, n=3, cutoff=0.5)
    hint = (
        f'did you mean {" or ".join(close)}?' if close else f'names begin with {", ".join(tops)}.'
    )
    return f'The frozen pattern {pattern!r} matches no parameter; {hint}'


def frozen_modules(model: nn.Module, frozen_ids: set[int]) -> list[nn.Module]:
    """Return the outermost modules that have parameters and whose parameters are all frozen.

    Args:
        model (nn.Module): Any model.
        frozen_ids (set[int]): ``id`` of each frozen parameter.
    """
    own_ids = {id(parameter) for parameter in model.parameters()}
    if own_ids and own_ids <= frozen_ids:
        return [model]
    return [part for child in model.children() for part in frozen_modules(child, frozen_ids)]


def waits_for_all_gradients(wrapper: nn.Module) -> bool:
    """Return whether a model's wrapper ends a step only once every parameter has a gradient."""
    return not getattr(wrapper, 'find_unused_parameters', True)
