"""GroupViTOptimConstructor: few parameter groups, so that AdamW updates each in one call."""

from collections.abc import Iterable, Sequence

import torch
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from mmseg.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from groupvit_mmseg.engine.optimizers.layer_depth import LayerDistances
from groupvit_mmseg.engine.optimizers.muon import matrix_weights
from groupvit_mmseg.torch_versions import has_fused_optimizers

OPTIONS = {'flat_decay_mult', 'custom_keys', 'layer_decay'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupViTOptimConstructor(DefaultOptimWrapperConstructor):
    """Optimiser with one group per distinct (learning rate, weight decay).

    mmengine's constructor makes one group per parameter, counts only 1-D parameters as flat, and
    accepts keys that match nothing. Here logit scales (0-D) are flat too, and such a key is an
    error. For :class:`.MuonAdamW` the weights of linear layers and convolutions have groups of
    their own.

    Options of ``paramwise_cfg``:

    - ``flat_decay_mult`` (float): Factor on the weight decay of parameters with at most one
      dimension: biases, norms, logit scales. Defaults to 1.
    - ``custom_keys`` (dict): ``dict(lr_mult=, decay_mult=)`` by a part of the parameter's name; the
      longest key that a name contains is used, and overrides ``flat_decay_mult``. With
      :class:`.MuonAdamW`, ``use_muon=False`` leaves these matrices to AdamW.
    - ``layer_decay`` (float): Factor on the learning rate per layer of the backbone, from the
      heads down to the patches: 1 for the heads and the last norm, ``layer_decay`` for the last
      block, its square for the one before. Multiplies ``lr_mult``. It does not apply to a text
      encoder, which is not part of the backbone. Defaults to 1.

    Args:
        optim_wrapper_cfg (dict): Config of the wrapper and, under ``optimizer``, the optimiser.
        paramwise_cfg (dict, optional): The options above. Defaults to None.

    Raises:
        ValueError: If ``paramwise_cfg`` has another option, or ``layer_decay`` is not in (0, 1].

    Example:
        >>> optim_wrapper = dict(
        ...     type='OptimWrapper',
        ...     optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
        ...     constructor='GroupViTOptimConstructor',
        ...     paramwise_cfg=dict(flat_decay_mult=0.0, layer_decay=0.75),
        ... )
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        super().__init__(optim_wrapper_cfg, dict(paramwise_cfg or {'flat_decay_mult': 1.0}))
        unknown = sorted(set(self.paramwise_cfg) - OPTIONS)
        if unknown:
            raise ValueError(
                f'paramwise_cfg has the options {sorted(OPTIONS)}, not {unknown}; '
                "use mmengine's DefaultOptimWrapperConstructor for those."
            )
        self.layer_decay = self.paramwise_cfg.get('layer_decay', 1.0)
        if not 0 < self.layer_decay <= 1:
            raise ValueError(
                f'paramwise_cfg.layer_decay = {self.layer_decay} must be above 0 and at most 1, '
                'such as 0.75.'
            )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimiser; without ``fused`` where this PyTorch has no fused one."""
        if self.optimizer_cfg.get('fused') and not has_fused_optimizers(model):
            self.optimizer_cfg = {**self.optimizer_cfg, 'fused': False}
            print_log(f'PyTorch {torch.__version__} has fused optimisers on GPUs only.', 'current')
        return super().__call__(model)

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', is_dcn_module: object = None
    ) -> None:
        """Add the groups of a module's trainable parameters to ``params``.

        Raises:
            ValueError: If a custom key is part of no parameter's name, or ``layer_decay`` is set
                and no backbone has ``get_layer_depth``.
        """
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._check_keys(name for name, _ in named)
        distances = LayerDistances(module) if self.layer_decay != 1 else None
        matrices = matrix_weights(module) if self._separates_matrices else None
        groups: dict[tuple[float, float, bool], dict] = {}
        for name, parameter in named:
            lr, decay = self._settings(name, parameter.ndim)
            if distances is not None:
                lr *= self.layer_decay ** distances.of(name)
            settings: dict[str, object] = dict(lr=lr, weight_decay=decay)
            is_matrix = matrices is not None and id(parameter) in matrices
            if matrices is not None:
                is_matrix = is_matrix and (self._factors(name) or {}).get('use_muon', True)
                settings['use_muon'] = is_matrix
            group = groups.setdefault((lr, decay, is_matrix), dict(params=[], **settings))
            group['params'].append(parameter)
        # The logged learning rate is the first group's, so that is the one with the largest.
        ordered = [groups[key] for key in sorted(groups, reverse=True)]
        params.extend(ordered)
        if distances is not None:
            log_groups(ordered)

    @property
    def _separates_matrices(self) -> bool:
        """Whether the optimiser treats weights of linear layers and convolutions differently."""
        kind = self.optimizer_cfg['type']
        if isinstance(kind, str):  # a name, or a scope or module before it
            kind = OPTIMIZERS.module_dict.get(kind.rpartition('.')[2])
        return getattr(kind, 'separates_matrices', False)

    def _check_keys(self, names: Iterable[str]) -> None:
        """Refuse a custom key that is part of no name."""
        names = list(names)
        for key in self.paramwise_cfg.get('custom_keys', {}):
            if not any(key in name for name in names):
                raise ValueError(
                    f'The optimiser key {key!r} in paramwise_cfg.custom_keys is part of no '
                    "trainable parameter's name; correct or remove it."
                )

    def _settings(self, name: str, ndim: int) -> tuple[float, float]:
        """Return the learning rate and weight decay of a parameter."""
        decay = self.base_wd or 0.0
        factors = self._factors(name)
        if factors is not None and set(factors) != {'use_muon'}:
            return (
                self.base_lr * factors.get('lr_mult', 1.0),
                decay * factors.get('decay_mult', 1.0),
            )
        if ndim <= 1:
            decay *= self.paramwise_cfg.get('flat_decay_mult', 1.0)
        return self.base_lr, decay

    def _factors(self, name: str) -> dict | None:
        """Return what the longest key that is part of a name says."""
        custom = self.paramwise_cfg.get('custom_keys', {})
        keys = sorted(key for key in custom if key in name)
        return custom[max(keys, key=len)] if keys else None


def log_groups(groups: Sequence[dict]) -> None:
    """Log learning rate, weight decay and size of each group, in decreasing order of rates."""
    lines = [
        f'    lr {group["lr"]:.3g}, weight decay {group["weight_decay"]:.3g}: '
        f'{len(group["params"])} tensors, {sum(p.numel() for p in group["params"]):,} parameters'
        for group in groups
    ]
    print_log('\n'.join(['Parameter groups:', *lines]), 'current')
