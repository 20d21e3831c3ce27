"""``init_cfg=dict(type='Pretrained', checkpoint=...)`` for weights of any format, strictly."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.key_formats import Tensors, key_format_of, to_pretrainer_names
from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.checkpoints.module_settings import check_module
from groupvit_mmseg.checkpoints.position_grid import interpolate_positions
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.types import Checkpoint
from groupvit_mmseg.checkpoints.weight_files import read_weights

# Part of the training, not of the towers: Hugging Face's models have none.
SECOND_LOSS = 'loss_multi_label.'
SECOND_SCALE = f'{SECOND_LOSS}logit_scale'
FIRST_OF_SEVERAL = f'{SECOND_LOSS}0.logit_scale'

InitCfg = dict[str, object]


class PretrainedInit:
    """Mixin before ``BaseModule`` whose ``Pretrained`` reads every format and checks all keys.

    mmengine's own only logs keys that do not fit. Options of the config: ``checkpoint``, the name
    of released weights, or a file, a sharded one, a folder, an http(s) address or
    ``hf://OWNER/NAME`` with official, Hugging Face's or the plugin's keys; ``prefix``, the part of
    the file to load, if the module's class does not determine it.
    """

    pretrained_part = ''  # prefix of this module's keys in a pretrainer; '' for the whole
    init_cfg: InitCfg | list[InitCfg] | None
    is_init: bool

    def init_weights(self) -> None:
        """Initialise as configured; pretrained weights come last and overwrite the rest."""
        assert isinstance(self, nn.Module)
        if self.is_init:
            return
        whole = self.init_cfg
        pretrained, others = split_configs(whole)
        self.init_cfg = others or None
        self._weights_follow = bool(pretrained)
        super().init_weights()  # type: ignore[misc]  # BaseModule's, the next class in order
        self.init_cfg = whole
        for cfg in pretrained:
            source, prefix = pretrained_options(cfg)
            load_pretrained(self, source, prefix=prefix)

    def _dump_init_info(self) -> None:
        """Log the origin of parameters, unless a file follows that overwrites them."""
        if not self._weights_follow:
            super()._dump_init_info()  # type: ignore[misc]  # BaseModule's, the next class in order


class PretrainedOptions(NamedTuple):
    """Options of an ``init_cfg`` of the type ``Pretrained``."""

    checkpoint: str
    prefix: str | None


def split_configs(
    init_cfg: InitCfg | Sequence[InitCfg] | None,
) -> tuple[list[InitCfg], list[InitCfg]]:
    """Split an ``init_cfg`` into those of the type ``Pretrained`` and the others."""
    configs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
    pretrained = [cfg for cfg in configs if cfg['type'] == 'Pretrained']
    return pretrained, [cfg for cfg in configs if cfg['type'] != 'Pretrained']


def pretrained_options(cfg: InitCfg) -> PretrainedOptions:
    """Return the options of an ``init_cfg``; raise ``ValueError`` for one that is unknown."""
    unknown = sorted(set(cfg) - {'type', 'checkpoint', 'prefix', 'map_location'})
    prefix = cfg.get('prefix')
    if unknown or 'checkpoint' not in cfg or not isinstance(prefix, str | None):
        raise ValueError(
            f'init_cfg={dict(cfg)} must hold a checkpoint, may hold a prefix, and nothing else.'
        )
    return PretrainedOptions(str(cfg['checkpoint']), prefix)


def load_pretrained(module: nn.Module, source: str, *, prefix: str | None = None) -> None:
    """Load weights of a whole GroupViT, or of this part of it, from any format.

    Args:
        module (nn.Module): A backbone, text encoder, projector, pretrainer or segmentor.
        source (str): As :func:`.read_weights` takes it.
        prefix (str, optional): Prefix of the part's keys, in the file or in a pretrainer. Defaults
            to that of the module's class.

    Raises:
        RuntimeError: If keys are missing or unexpected, or shapes differ; counts and lists them.
        ValueError: If the file has no tensors of the part, or was trained with other heads.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints.pretrained import load_pretrained
        >>> from groupvit_mmseg.models import GroupViTProjector
        >>> projector = GroupViTProjector(4, out_channels=2, num_layers=1)
        >>> state_dict = {'image_projector.' + k: v for k, v in projector.state_dict().items()}
        >>> torch.save(state_dict, 'projector.pth')
        >>> load_pretrained(projector, 'projector.pth', prefix='image_projector.')
    """
    path = locate(source)
    weights = read_weights(path)
    part = getattr(module, 'pretrained_part', '') if prefix is None else prefix
    state_dict = select_part(weights.tensors, part, source=source)
    state_dict = resize_positions(state_dict, module)
    if not part:
        state_dict = match_multi_label_scale(state_dict, module, source=source)
    load_weights(module, state_dict, source=source)
    check_module(module, path, weights)
    print_log(f'{type(module).__name__}: loaded {len(state_dict)} tensors of {source}', 'current')


def select_part(tensors: Mapping[str, Tensor], part: str, *, source: str) -> Tensors:
    """Return the tensors of a part without its prefix; those of the part alone as they are.

    Args:
        tensors (Mapping[str, Tensor]): With keys of any format.
        part (str): Prefix in a pretrainer or in the file, such as ``backbone.``.
        source (str): Their file, for the message.

    Raises:
        ValueError: If there are none.
    """
    key_format = key_format_of(tensors)
    if key_format is None and not any(key.startswith(part) for key in tensors):
        return dict(tensors)
    renamed = (
        dict(tensors) if key_format is None else to_pretrainer_names(tensors, key_format).tensors
    )
    for candidates in (renamed, tensors):
        matches = {k.removeprefix(part): v for k, v in candidates.items() if k.startswith(part)}
        if matches:
            return matches
    some = ', '.join(list(tensors)[:3])
    raise ValueError(f'{source} holds no tensors of {part}* (its first are {some}).')


def resize_positions(state_dict: Mapping[str, Tensor], module: nn.Module) -> Tensors:
    """Resize position embeddings to the module's patch grid and text length."""
    grid = _first_attribute(module, 'grid_shape')
    length = _first_attribute(module, 'context_length')
    tensors = dict(state_dict)
    for key, value in state_dict.items():
        if key.endswith('pos_embed') and value.dim() == 3 and grid is not None:
            tensors[key] = resize_grid(value, grid)
        if key.endswith('pos_embed') and value.dim() == 2 and length is not None:
            # Attention is causal: shorter texts never see the positions that are cut.
            tensors[key] = value[:length]
    return tensors


def _first_attribute(module: nn.Module, name: str) -> Any:
    """Return an attribute of the first module inside that has it; None without one."""
    return next((getattr(m, name) for m in module.modules() if hasattr(m, name)), None)


def resize_grid(positions: Tensor, grid_shape: Sequence[int]) -> Tensor:
    """Resize position embeddings ``(1, N, C)`` of a square grid bicubically to another grid.

    Args:
        positions (Tensor): The embeddings.
        grid_shape (Sequence[int]): Rows and columns of the other grid.

    Raises:
        ValueError: If their number differs, and they are not those of a square.
    """
    count = positions.shape[1]
    if count == grid_shape[0] * grid_shape[1]:
        return positions
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(
            f'Position embeddings of {count} patches are not those of a square image, so they '
            f'cannot be resized to {tuple(grid_shape)}: set img_size to that of the weights.'
        )
    grid = interpolate_positions(positions.float(), (side, side), grid_shape)  # (1, N', C)
    return grid.to(positions.dtype)


def weights_for(module: nn.Module, checkpoint: Checkpoint, *, source: str) -> Tensors:
    """Return the weights of a checkpoint for a whole model.

    Weights of other implementations get the second logit scale if the model has one, and lose
    theirs if it has none. Checkpoints of training are returned as they are.

    Args:
        module (nn.Module): The model that is to receive them.
        checkpoint (Checkpoint): As :func:`.read_checkpoint` returns it.
        source (str): Its file, for the log.
    """
    if 'settings' not in checkpoint:
        return checkpoint['state_dict']
    return match_multi_label_scale(checkpoint['state_dict'], module, source=source)


def match_multi_label_scale(
    state_dict: Mapping[str, Tensor], module: nn.Module, *, source: str
) -> Tensors:
    """Add or remove second logit scales, so that they match the module's losses of prompts.

    Where the module has several such losses, each gets the one of the file; where the file has
    several and the module one, it gets the first.
    """
    given = state_dict.get(SECOND_SCALE, state_dict.get(FIRST_OF_SEVERAL))
    own = {k: p for k, p in module.named_parameters() if k.startswith(SECOND_LOSS)}
    tensors = {k: v for k, v in state_dict.items() if k in own or not k.startswith(SECOND_LOSS)}
    for key in own.keys() - tensors.keys():
        if given is None:
            print_log(f'{source} has no {key}: it keeps its initial value.', 'current')
        tensors[key] = own[key].detach() if given is None else given
    return tensors
