"""FreezeHook: parts of any model, chosen by name, that do not learn."""

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import translate
from itertools import accumulate
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmseg.registry import HOOKS
from torch import nn

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model


@HOOKS.register_module()
class FreezeHook(Hook):
    """Takes parts of a model out of what is learnt, and keeps frozen modules in evaluation mode.

    A pattern is a name as the model's ``named_modules`` and ``named_parameters`` give it, and
    stands for everything below; ``*`` stands for any characters, dots too: ``backbone`` is the
    whole backbone, ``backbone.stages.0`` its first stage, ``backbone.stages.*.group_tokens`` the
    group tokens of all stages, ``*.bias`` every bias.

    :class:`GroupViTRunner` freezes before it wraps the model for several processes and builds the
    optimiser. Under mmengine's ``Runner`` the optimiser lists frozen parameters, but leaves them
    alone. Frozen modules drop no paths, draw no Gumbel noise and update no statistics.

    Args:
        patterns (str | Sequence[str]): What to freeze; each must match something.
    """

    priority = 'VERY_HIGH'

    def __init__(self, patterns: str | Sequence[str]) -> None:
        self.patterns = patterns
        self._frozen: list[nn.Module] = []

    def before_run(self, runner: Any) -> None:
        """Freeze what is not frozen yet.

        Raises:
            ValueError: If the model is wrapped in a way that waits for all gradients, or a pattern
                matches nothing.
        """
        model = unwrap_model(runner.model)
        matched = matching(model, self.patterns)
        late = [name for name, parameter in matched.items() if parameter.requires_grad]
        if late and is_model_wrapper(runner.model) and waits_for_all_gradients(runner.model):
            raise ValueError(
                f'FreezeHook would freeze {len(late)} parameters after '
                f'{type(runner.model).__name__} has counted on their gradients; set '
                "runner_type = 'GroupViTRunner' or find_unused_parameters = True."
            )
        freeze(matched)
        self._frozen = frozen_modules(model, {id(p) for p in matched.values()})
        frozen = sum(p.numel() for p in matched.values())
        total = sum(p.numel() for p in model.parameters())
        print_log(f'FreezeHook: {frozen:,} of {total:,} parameters are frozen.', 'current')

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Undo what ``model.train()`` did to frozen modules."""
        for module in self._frozen:
            module.eval()


def freeze_configured(cfg: Mapping, model: nn.Module) -> None:
    """Freeze what the :class:`FreezeHook` of a runner's config will freeze.

    Args:
        cfg (Mapping): Config of a run, with ``custom_hooks`` and ``default_hooks``.
        model (nn.Module): The model before it is wrapped.
    """
    hooks = [*(cfg.get('custom_hooks') or []), *(cfg.get('default_hooks') or {}).values()]
    for hook in hooks:
        kind = hook.get('type') if isinstance(hook, Mapping) else None
        if kind is FreezeHook or str(kind).split('.')[-1] == 'FreezeHook':
            freeze(matching(model, hook['patterns']))


def freeze(parameters: Mapping[str, nn.Parameter]) -> None:
    """Take parameters out of what is learnt."""
    for parameter in parameters.values():
        parameter.requires_grad_(False)


def matching(model: nn.Module, patterns: str | Sequence[str]) -> dict[str, nn.Parameter]:
    """The parameters that patterns match.

    Args:
        model (nn.Module): Any model.
        patterns (str | Sequence[str]): As :class:`FreezeHook` takes them.

    Returns:
        dict[str, nn.Parameter]: By name.

    Raises:
        ValueError: If a pattern matches nothing.
    """
    parameters, matched = dict(model.named_parameters()), {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matches = re.compile(translate(pattern)).match
        found = [name for name in parameters if any(map(matches, heads_of(name)))]
        if not found:
            raise ValueError(no_match(pattern, parameters))
        matched.update({name: parameters[name] for name in found})
    return matched


def heads_of(name: str) -> Iterator[str]:
    """``a.b.c`` to ``a``, ``a.b`` and ``a.b.c``."""
    return accumulate(name.split('.'), lambda head, part: f'{head}.{part}')


def no_match(pattern: str, names: Mapping[str, Any]) -> str:
    """One sentence for a pattern that matches nothing, with names that look like it."""
    known = sorted({head for name in names for head in heads_of(name)})
    tops = sorted({name.split('.')[0] for name in names})
    close = get_close_matches(pattern, known, n=3, cutoff=0.5)
    hint = (
        f'did you mean {" or ".join(close)}?' if close else f'names begin with {", ".join(tops)}.'
    )
    return f'The frozen pattern {pattern!r} matches no parameter; {hint}'


def frozen_modules(model: nn.Module, frozen: set[int]) -> list[nn.Module]:
    """The outermost modules all of whose parameters, at least one, have an id in ``frozen``."""
    own = {id(parameter) for parameter in model.parameters()}
    if own and own <= frozen:
        return [model]
    return [found for child in model.children() for found in frozen_modules(child, frozen)]


def waits_for_all_gradients(wrapper: nn.Module) -> bool:
    """Whether a wrapped model never ends a step without a gradient of each parameter."""
    return not getattr(wrapper, 'find_unused_parameters', True)
