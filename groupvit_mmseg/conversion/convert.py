"""Conversions of whole models between the three namings: complete, checked, and reported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.checkpoints.architecture import MissingTensorsError, Structure, infer_structure
from groupvit_mmseg.checkpoints.architecture_hints import Settings, agreed, check_belongs
from groupvit_mmseg.checkpoints.key_formats import (
    HUGGING_FACE,
    PLUGIN,
    KeyFormat,
    Tensors,
    key_format_of,
    to_pretrainer_names,
    without_prefix,
)
from groupvit_mmseg.checkpoints.travelling import naming_settings
from groupvit_mmseg.conversion.model_configs import check_fits_hugging_face, pretrainer_config


class Model(NamedTuple):
    """A whole model.

    Attributes:
        tensors (dict[str, Tensor]): Under the pretrainer's names.
        structure (Structure): What they belong to.
        source (dict[str, Tensor]): The same under the names they came with.
        dropped (dict[str, str]): Names that were left out -> the reason.
        places (dict[str, str]): Where that comes from which shapes do not tell, by the names of
            :class:`Hints`; what is not in it was assumed.
    """

    tensors: Tensors
    structure: Structure
    source: Tensors
    dropped: dict[str, str]
    places: dict[str, str]


def decode(
    tensors: Mapping[str, Tensor],
    key_format: KeyFormat,
    settings: Sequence[Settings],
    *,
    where: str | Path,
) -> Model:
    """A whole model from anybody's names.

    Args:
        tensors (Mapping[str, Tensor]): All of its tensors.
        key_format (KeyFormat): Whose names they must have.
        settings (Sequence[Settings]): What is said of it.
        where (str | Path): Where they come from, for messages.

    Raises:
        ValueError: If names are unknown, missing (listed), or shapes differ; if what is said of the
            model is of another one, contradicts itself, or does not suffice.
    """
    found = key_format_of(tensors)
    if found is not key_format:
        names = 'no names of a GroupViT' if found is None else f'the {found.title} names'
        raise ValueError(f'{where} has {names}, not the {key_format.title} ones: give such a file.')
    hints, places = agreed(settings)
    try:
        named = to_pretrainer_names(tensors, key_format)
        rule = naming_settings(key_format, named.tensors)
        for name, value in rule.hints._asdict().items():
            if value is not None:
                places.setdefault(name, rule.where)
        structure = infer_structure(named.tensors, hints.completed(rule.hints))
    except MissingTensorsError as error:
        keys = [_name_in(key_format, key) for key in error.keys]
        raise ValueError(f'{where}: {len(keys)} tensors are missing: {", ".join(keys)}.') from error
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
    for each in settings:
        check_belongs(each, structure)
    source = {
        k: v for k, v in without_prefix(tensors, key_format).items() if k not in named.dropped
    }
    check_complete(named.tensors, structure, key_format, where=where)
    if key_format is PLUGIN:
        source = named.tensors
    return Model(named.tensors, structure, source, named.dropped, places)


def _name_in(key_format: KeyFormat, key: str) -> str:
    """A pretrainer's name as the file would have it."""
    return next(iter(key_format.encode({key: torch.empty(1, 1, 1, device='meta')})))


def check_complete(
    tensors: Mapping[str, Tensor], structure: Structure, key_format: KeyFormat, *, where: str | Path
) -> None:
    """Compare tensors with those of the structure's model, in the names of the file.

    Raises:
        ValueError: Listing what is missing, superfluous or of another shape.
    """
    expected = key_format.encode(_on_meta(empty_pretrainer(structure).state_dict(), key_format))
    given = key_format.encode(_on_meta(tensors, key_format))
    shapes = [
        f'{key} {list(given[key].shape)} instead of {list(expected[key].shape)}'
        for key in given
        if key in expected and given[key].shape != expected[key].shape
    ]
    problems = {
        'missing': [key for key in expected if key not in given],
        'unknown': [key for key in given if key not in expected],
        'of another shape': shapes,
    }
    found = [f'{len(keys)} {kind}: {", ".join(keys)}' for kind, keys in problems.items() if keys]
    if found:
        raise ValueError(f'{where} is not a whole GroupViT; its tensors: {"; ".join(found)}.')


def _on_meta(tensors: Mapping[str, Tensor], key_format: KeyFormat) -> Tensors:
    """Shapes without numbers, of what a key format has a place for."""
    return {k: v.to('meta') for k, v in tensors.items() if k not in key_format.lost}


def empty_pretrainer(structure: Structure) -> torch.nn.Module:
    """The structure's pretrainer without numbers, in evaluation mode."""
    try:
        with torch.device('meta'):
            return MODELS.build(pretrainer_config(structure)).eval()
    except (AttributeError, AssertionError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f'Its shapes make no GroupViT ({error}).') from error


def encode(model: Model, key_format: KeyFormat) -> tuple[Tensors, dict[str, str]]:
    """A model under other names.

    Args:
        model (Model): The model.
        key_format (KeyFormat): The names that it is to have.

    Returns:
        tuple: The tensors, and the pretrainer's names that have no place there -> the reason.

    Raises:
        ValueError: If the format's implementation cannot be of this structure.
    """
    if key_format is HUGGING_FACE:
        check_fits_hugging_face(model.structure)
    tensors = model.tensors
    if key_format is not PLUGIN:
        tensors = _with_scale_in_weights(tensors, model.structure.backbone.get('assign_scale', 1.0))
    lost = {key: reason for key, reason in key_format.lost.items() if key in tensors}
    kept = {key: value for key, value in tensors.items() if key not in lost}
    return key_format.encode(kept), lost


def _with_scale_in_weights(tensors: Tensors, scale: float) -> Tensors:
    """The plugin's ``assign_scale`` moved into the queries' projection: only it has one."""
    if scale == 1.0:
        return tensors
    return {
        key: value * scale if '.grouping.assign.q_proj.' in key else value
        for key, value in tensors.items()
    }
