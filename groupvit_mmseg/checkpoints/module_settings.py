"""Whether a module that weights were loaded into computes what the weights were trained for.

Shapes do not tell attention heads: weights load without a complaint into a tower of other heads,
and answer something else.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.architecture import infer_structure
from groupvit_mmseg.checkpoints.architecture_hints import Told, agreed, check_belongs, plain
from groupvit_mmseg.checkpoints.key_formats import KeyFormat, key_format_of, to_pretrainer_names
from groupvit_mmseg.checkpoints.settings_readers import RECORD, normalization
from groupvit_mmseg.checkpoints.travelling import naming_settings, travelling_settings
from groupvit_mmseg.checkpoints.weight_files import CONFIG_ENTRY, WeightFile

HEADS = ('num_heads', 'text_heads')


def check_module(
    module: nn.Module, path: Path, weights: WeightFile, *, refused: Sequence[str] = HEADS
) -> None:
    """Compare a module with what is said of the weights that it got.

    Other attention heads are an error. Another ``assign_scale`` or normalisation of the pictures
    may be meant where learning begins, and is logged; so is it if nothing tells the heads.

    Args:
        module (nn.Module): A GroupViT, a part of one, or a model that holds one.
        path (Path): Of the weights.
        weights (WeightFile): What it holds.
        refused (Sequence[str]): Settings that must be equal. Defaults to the heads.

    Raises:
        ValueError: If one of these differs, or what is said of the weights is of another model.
    """
    own, told = own_settings(module), told_settings(path, weights)
    for name, value in own.items():
        said = getattr(told.hints, name)
        if said is None and name in HEADS:
            text = f'Nothing with {path} tells {name}: {plain(value)} of the config is used.'
            print_log(text, 'current', logging.WARNING)
        if said is None or said == value:
            continue
        text = (
            f'{told.places[name]} and the config of the {type(module).__name__} that loads {path} '
            f'disagree on {name}, {plain(said)} and {plain(value)}: change the config.'
        )
        if name in refused:
            raise ValueError(text)
        print_log(text, 'current', logging.WARNING)


def check_checkpoint(module: nn.Module, checkpoint: Mapping[str, Any], *, source: str) -> None:
    """Compare a module with the config that travels in a checkpoint; see :func:`check_module`.

    A checkpoint is loaded to go on with what was learnt, so another ``assign_scale`` is an error
    too: converters put it into the weights, and it would count twice.

    Args:
        module (nn.Module): The model that its weights were loaded into.
        checkpoint (Mapping): As ``read_checkpoint`` gives it.
        source (str): Where it comes from, for messages.

    Raises:
        ValueError: If heads or ``assign_scale`` differ, or the config is of another model.
    """
    meta = checkpoint.get('meta') or {}
    tensors = dict(checkpoint['state_dict'])
    weights = WeightFile(tensors, meta.get(CONFIG_ENTRY), (), record=meta.get(RECORD))
    check_module(module, Path(source), weights, refused=(*HEADS, 'assign_scale'))


def own_settings(module: nn.Module) -> dict[str, Any]:
    """What a module computes with, by the names of :class:`Hints`; only of what it holds."""
    own: dict[str, Any] = {}
    for part in module.modules():
        stages, blocks = getattr(part, 'stages', None), getattr(part, 'blocks', None)
        if isinstance(stages, nn.ModuleList) and hasattr(part, 'grid_shape'):
            own['num_heads'] = tuple(_heads(stage.blocks) for stage in stages)
            own['assign_scale'] = _assign_scale(stages)
        elif isinstance(blocks, nn.ModuleList) and hasattr(part, 'context_length'):
            own['text_heads'] = _heads(blocks)
    pictures: Any = getattr(module, 'data_preprocessor', None)
    if isinstance(getattr(pictures, 'mean', None), Tensor):
        mean, std = (value.flatten().tolist() for value in (pictures.mean, pictures.std))
        rgb = any(getattr(pictures, f'{p}channel_conversion', False) for p in ('', '_'))
        own['normalization'] = normalization(mean, std, rgb=rgb)
    return {name: value for name, value in own.items() if value is not None}


def _heads(blocks: Any) -> int:
    """Attention heads of a stage or a text tower."""
    return int(blocks[0].attn.num_heads)


def _assign_scale(stages: Any) -> float | None:
    """Factor on the assignment logits; None without a grouping."""
    for stage in stages:
        if stage.grouping is not None:
            assign = stage.grouping.assign
            return round(assign.scale * assign.q_proj.in_features**0.5, 6)
    return None


def told_settings(path: Path, weights: WeightFile) -> Told:
    """What is said of weights, completed by what their names and shapes say.

    Args:
        path (Path): Of the weights.
        weights (WeightFile): What it holds.

    Raises:
        ValueError: If what is said is of another model, or contradicts itself.
    """
    key_format = key_format_of(weights.tensors)
    if key_format is None:
        return Told(agreed(()).hints, {})
    settings = travelling_settings(path, weights, key_format)
    hints, places = agreed(settings)
    named = to_pretrainer_names(weights.tensors, key_format).tensors
    return _completed(Told(hints, places), named, key_format, settings)


def _completed(
    told: Told, named: Mapping[str, Tensor], key_format: KeyFormat, settings: Sequence[Any]
) -> Told:
    """The same with what the names and the shapes of a whole model tell besides."""
    rule = naming_settings(key_format, named)
    hints = told.hints.completed(rule.hints)
    places = dict.fromkeys(hints._fields, rule.where) | told.places
    try:
        structure = infer_structure(named, hints)
    except ValueError:  # a part of a model, or nothing tells its heads
        return Told(hints, places)
    for each in settings:
        check_belongs(each, structure)
    heads = tuple(structure.backbone['num_heads']), structure.text_encoder['num_heads']
    known = dict(zip(HEADS, heads, strict=True))
    paper = {name: 'the paper' for name in HEADS if getattr(hints, name) is None}
    return Told(hints._replace(**known), places | paper)
