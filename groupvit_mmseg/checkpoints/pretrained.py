"""``init_cfg=dict(type='Pretrained', checkpoint=...)`` from anybody's weights, all keys checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.key_formats import Tensors, key_format_of, to_pretrainer_names
from groupvit_mmseg.checkpoints.loading import load_weights
from groupvit_mmseg.checkpoints.module_settings import check_module
from groupvit_mmseg.checkpoints.position_grid import interpolate_positions
from groupvit_mmseg.checkpoints.weight_files import locate, read_weights

# Belongs to the training, not to what was learnt: Hugging Face's models have none.
SECOND_SCALE = 'loss_multi_label.logit_scale'


class PretrainedInit:
    """Before ``BaseModule`` among a model's bases: its ``Pretrained`` reads every format, strictly.

    mmengine's own only logs what did not fit. Options of the config: ``checkpoint``, a file, a
    sharded one, a folder or ``hf://OWNER/NAME``, with official, Hugging Face's or the plugin's
    names; ``prefix``, the part of the file to take, where it is not found by itself.
    """

    pretrained_part = ''  # of a pretrainer that this module is; '' for the whole
    init_cfg: Any
    is_init: bool

    def init_weights(self) -> None:
        """Initialise as configured; pretrained weights come last and overwrite the rest."""
        if self.is_init:
            return
        whole = self.init_cfg
        pretrained, others = split_configs(whole)
        self.init_cfg = others or None
        self._weights_follow = bool(pretrained)
        super().init_weights()  # type: ignore[misc]
        self.init_cfg = whole
        for cfg in pretrained:
            check_options(cfg)
            load_pretrained(self, cfg['checkpoint'], prefix=cfg.get('prefix'))  # type: ignore[arg-type]

    def _dump_init_info(self) -> None:
        """Log where parameters come from, but not before they have come from a file."""
        if not self._weights_follow:
            super()._dump_init_info()  # type: ignore[misc]


def split_configs(init_cfg: Any) -> tuple[list, list]:
    """The ``Pretrained`` ones of an ``init_cfg``, and the others."""
    configs = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or [])
    pretrained = [cfg for cfg in configs if cfg['type'] == 'Pretrained']
    return pretrained, [cfg for cfg in configs if cfg['type'] != 'Pretrained']


def check_options(cfg: Mapping) -> None:
    """Raise ``ValueError`` with one sentence for an ``init_cfg`` that is not understood whole."""
    unknown = sorted(set(cfg) - {'type', 'checkpoint', 'prefix', 'map_location'})
    if unknown or 'checkpoint' not in cfg:
        raise ValueError(
            f'init_cfg={dict(cfg)} must hold a checkpoint, may hold a prefix, and nothing else.'
        )


def load_pretrained(module: nn.Module, source: str, *, prefix: str | None = None) -> None:
    """Load weights of a whole GroupViT, or of this part of it, from any format.

    Args:
        module (nn.Module): A backbone, text encoder, projector, pretrainer or segmentor.
        source (str): As :func:`.read_weights` takes it.
        prefix (str, optional): What the names of the part begin with, in the file or in a
            pretrainer. Defaults to what the module is.

    Raises:
        RuntimeError: If keys are missing or unexpected, or shapes differ; counts and lists them.
        ValueError: If the file holds nothing of the part, or was trained with other heads.
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
    """The tensors of a part without its prefix; those of a file of the part alone as they are.

    Args:
        tensors (Mapping[str, Tensor]): With anybody's names.
        part (str): Prefix in a pretrainer or in the file, such as ``backbone.``.
        source (str): Where they come from, for the message.
    """
    key_format = key_format_of(tensors)
    if key_format is None and not any(key.startswith(part) for key in tensors):
        return dict(tensors)
    named = (
        dict(tensors) if key_format is None else to_pretrainer_names(tensors, key_format).tensors
    )
    for candidates in (named, tensors):
        found = {k.removeprefix(part): v for k, v in candidates.items() if k.startswith(part)}
        if found:
            return found
    some = ', '.join(list(tensors)[:3])
    raise ValueError(f'{source} holds nothing of {part}* (it begins with {some}).')


def resize_positions(state_dict: Tensors, module: nn.Module) -> Tensors:
    """Position embeddings brought to the module's patch grid and text length."""
    modules: list[Any] = list(module.modules())
    grids = [m.grid_shape for m in modules if hasattr(m, 'grid_shape')]
    lengths = [m.context_length for m in modules if hasattr(m, 'context_length')]
    resized = dict(state_dict)
    for key, value in state_dict.items():
        if key.endswith('pos_embed') and value.dim() == 3 and grids:
            resized[key] = resize_grid(value, grids[0])
        if key.endswith('pos_embed') and value.dim() == 2 and lengths:
            # Attention is causal: shorter texts never see the positions that are cut.
            resized[key] = value[: int(lengths[0])]
    return resized


def resize_grid(positions: Tensor, grid_shape: Sequence[int]) -> Tensor:
    """Position embeddings ``(1, N, C)`` of a square grid, resized bicubically to another grid.

    Raises:
        ValueError: If they have another size, but are not those of a square.
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
    resized = interpolate_positions(positions.float(), (side, side), grid_shape)
    return resized.to(positions.dtype)


def match_multi_label_scale(state_dict: Tensors, module: nn.Module, *, source: str) -> Tensors:
    """The second logit scale follows the module's losses, not the file's."""
    own = dict(module.named_parameters()).get(SECOND_SCALE)
    settled = {key: value for key, value in state_dict.items() if key != SECOND_SCALE}
    if own is None:
        return settled
    if SECOND_SCALE not in state_dict:
        print_log(f'{source} has no {SECOND_SCALE}: it keeps its initial value.', 'current')
    settled[SECOND_SCALE] = state_dict.get(SECOND_SCALE, own.detach())
    return settled
