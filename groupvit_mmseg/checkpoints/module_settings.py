"""Comparison of a module's settings with those that its weights were trained with.

Shapes do not determine attention heads: weights load without an error into a tower of other heads,
which then computes other results.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypedDict, cast

from mmengine.logging import print_log
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.architecture import check_belongs
from groupvit_mmseg.checkpoints.architecture_hints import (
    Hints,
    MergedSettings,
    Normalization,
    Settings,
    merge_settings,
    normalization,
    plain,
)
from groupvit_mmseg.checkpoints.key_formats import KeyFormat, key_format_of, to_pretrainer_names
from groupvit_mmseg.checkpoints.settings_readers import RECORD
from groupvit_mmseg.checkpoints.shape_inference import infer_structure
from groupvit_mmseg.checkpoints.stored_settings import key_format_settings, stored_settings
from groupvit_mmseg.checkpoints.types import Checkpoint
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY, WeightFile

HEADS = ('num_heads', 'text_heads')


# The parts of a GroupViT that are read here: the models import this package.
class _Attention(Protocol):
    num_heads: int


class _Block(Protocol):
    attn: _Attention


class _Options(Protocol):
    def _asdict(self) -> dict[str, object]: ...


class _Assignment(Protocol):
    scale: float
    options: _Options
    q_proj: nn.Linear


class _Grouping(Protocol):
    assign: _Assignment


class _Stage(Protocol):
    blocks: Sequence[_Block]
    grouping: _Grouping | None


class ModuleSettings(TypedDict, total=False):
    """Settings of a module, by the names of :class:`Hints`; only of the parts that it has."""

    num_heads: tuple[int, ...]
    text_heads: int
    assign_scale: float
    assignment: tuple[tuple[str, object], ...]
    normalization: Normalization


def check_module(
    module: nn.Module, path: Path, weights: WeightFile, *, strict: Sequence[str] = HEADS
) -> None:
    """Compare a module with the settings that belong to its weights.

    Other attention heads are an error. Another ``assign_scale``, assignment or normalisation may
    be intended at the start of a training, and is logged; so are heads that no place contains.

    Args:
        module (nn.Module): A GroupViT, a part of one, or a model that holds one.
        path (Path): The file of the weights.
        weights (WeightFile): Its content.
        strict (Sequence[str]): Settings that must be equal. Defaults to the heads.

    Raises:
        ValueError: If one of these differs, or the settings belong to another model.
    """
    _compare(module, settings_of_weights(path, weights), path, strict)


def _compare(module: nn.Module, stored: MergedSettings, path: Path, strict: Sequence[str]) -> None:
    """Compare a module with the settings of the weights in a file; see :func:`check_module`."""
    own = module_settings(module)
    for name, value in own.items():
        other = getattr(stored.hints, name)
        if name == 'assignment' and other is not None:
            value, other = without_noise(own['assignment']), without_noise(other)
        if other is None and name in HEADS:
            text = f'No file with {path} contains {name}: {plain(value)} of the config is used.'
            print_log(text, 'current', logging.WARNING)
        if other is None or other == value:
            continue
        text = (
            f'{stored.origins[name]} and the config of the {type(module).__name__} that loads '
            f'{path} disagree on {name}, {plain(other)} and {plain(value)}: change the config.'
        )
        if name in strict:
            raise ValueError(text)
        print_log(text, 'current', logging.WARNING)


def without_noise(options: Sequence[tuple[str, object]]) -> tuple[tuple[str, object], ...]:
    """Leave out the option of an assignment that changes nothing after training."""
    return tuple(option for option in options if option[0] != 'gumbel_noise')


def check_checkpoint(module: nn.Module, checkpoint: Checkpoint, *, source: str) -> None:
    """Compare a module with the settings in a checkpoint; see :func:`check_module`.

    A checkpoint is loaded to continue from its weights, so another ``assign_scale`` is an error,
    too: converters multiply it into the weights, and it would be applied twice.

    Args:
        module (nn.Module): The model that its weights were loaded into.
        checkpoint (Checkpoint): As ``read_checkpoint`` returns it.
        source (str): Its file, for messages.

    Raises:
        ValueError: If heads or ``assign_scale`` differ, or the config is of another model.
    """
    strict = (*HEADS, 'assign_scale')
    if 'settings' in checkpoint:
        _compare(module, checkpoint['settings'], Path(source), strict)
        return
    meta: Mapping[str, object] = checkpoint.get('meta') or {}
    text, record = meta.get(CONFIG_ENTRY), meta.get(RECORD)
    weights = WeightFile(
        dict(checkpoint['state_dict']),
        text if isinstance(text, str) else None,
        (),
        record=record if isinstance(record, Mapping) else None,
    )
    check_module(module, Path(source), weights, strict=strict)


def module_settings(module: nn.Module) -> ModuleSettings:
    """Return the settings that a module computes with."""
    own = ModuleSettings()
    for part in module.modules():
        stages, blocks = getattr(part, 'stages', None), getattr(part, 'blocks', None)
        if isinstance(stages, nn.ModuleList) and hasattr(part, 'grid_shape'):
            towers = cast(Sequence[_Stage], stages)  # a GroupViT's, by its attributes
            own['num_heads'] = tuple(_heads(stage.blocks) for stage in towers)
            scale = _assign_scale(towers)
            if scale is not None:
                own['assign_scale'] = scale
                own['assignment'] = _assignment_options(towers)
        elif isinstance(blocks, nn.ModuleList) and hasattr(part, 'context_length'):
            own['text_heads'] = _heads(cast(Sequence[_Block], blocks))  # a text encoder's
    preprocessor = getattr(module, 'data_preprocessor', None)
    if isinstance(getattr(preprocessor, 'mean', None), Tensor):
        mean, std = (getattr(preprocessor, name).flatten().tolist() for name in ('mean', 'std'))
        rgb = any(getattr(preprocessor, f'{p}channel_conversion', False) for p in ('', '_'))
        own['normalization'] = normalization(mean, std, rgb=rgb)
    return own


def _heads(blocks: Sequence[_Block]) -> int:
    """Return the attention heads of a stage or a text tower."""
    return int(blocks[0].attn.num_heads)


def _assign_scale(stages: Sequence[_Stage]) -> float | None:
    """Return the factor on the assignment logits; None without a grouping."""
    for stage in stages:
        if stage.grouping is not None:
            assign = stage.grouping.assign
            return round(assign.scale * assign.q_proj.in_features**0.5, 6)
    return None


def _assignment_options(stages: Sequence[_Stage]) -> tuple[tuple[str, object], ...]:
    """Return the options of the assignment that differ from the paper's."""
    groupings = [stage.grouping for stage in stages if stage.grouping is not None]
    options = groupings[-1].assign.options._asdict()  # the first has its whole query always
    return Settings('the module', dict(assignment=options)).hints.assignment or ()


def settings_of_weights(path: Path, weights: WeightFile) -> MergedSettings:
    """Merge the stored settings of weights, completed by their keys and shapes.

    Args:
        path (Path): The file of the weights.
        weights (WeightFile): Its content.

    Raises:
        ValueError: If the settings are of another model, or disagree.
    """
    key_format = key_format_of(weights.tensors)
    if key_format is None:
        return MergedSettings(Hints(), {})
    settings = stored_settings(path, weights, key_format)
    tensors = to_pretrainer_names(weights.tensors, key_format).tensors
    return _completed(merge_settings(settings), tensors, key_format, settings)


def _completed(
    merged: MergedSettings,
    tensors: Mapping[str, Tensor],
    key_format: KeyFormat,
    settings: Sequence[Settings],
) -> MergedSettings:
    """Complete settings by those that the keys and the shapes of a whole model determine."""
    fixed = key_format_settings(key_format, tensors)
    hints = merged.hints.completed(fixed.hints)
    origins = dict.fromkeys(hints._fields, fixed.where) | merged.origins
    try:
        structure = infer_structure(tensors, hints)
    except ValueError:  # a part of a model, or one of unknown heads
        return MergedSettings(hints, origins)
    for each in settings:
        check_belongs(each, structure)
    paper = {name: 'the paper' for name in HEADS if getattr(hints, name) is None}
    known = hints._replace(
        num_heads=tuple(structure.backbone['num_heads']),
        text_heads=structure.text_encoder['num_heads'],
    )
    return MergedSettings(known, origins | paper)
