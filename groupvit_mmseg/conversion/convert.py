"""Conversion of whole models between the three key formats, with checks for completeness."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmseg.registry import MODELS
from torch import Tensor
from torch.overrides import TorchFunctionMode

from groupvit_mmseg.checkpoints.architecture import Structure, check_belongs
from groupvit_mmseg.checkpoints.architecture_hints import Settings, merge_settings
from groupvit_mmseg.checkpoints.key_formats import (
    HUGGING_FACE,
    PLUGIN,
    KeyFormat,
    Tensors,
    key_format_of,
    to_pretrainer_names,
    without_prefix,
)
from groupvit_mmseg.checkpoints.shape_inference import MissingTensorsError, infer_structure
from groupvit_mmseg.checkpoints.stored_settings import key_format_settings
from groupvit_mmseg.conversion.model_configs import check_fits_hugging_face, pretrainer_config


class Model(NamedTuple):
    """A whole model.

    Attributes:
        tensors (dict[str, Tensor]): With the pretrainer's keys.
        structure (Structure): Configs of its parts.
        source (dict[str, Tensor]): The same tensors with the keys of the source.
        dropped (dict[str, str]): Keys that were left out -> the reason.
        origins (dict[str, str]): Where each setting comes from that shapes do not determine, by
            the names of :class:`Hints`; settings that are not in it were assumed.
    """

    tensors: Tensors
    structure: Structure
    source: Tensors
    dropped: dict[str, str]
    origins: dict[str, str]


def decode(
    tensors: Mapping[str, Tensor],
    key_format: KeyFormat,
    settings: Sequence[Settings],
    *,
    where: str | Path,
) -> Model:
    """Make a model from tensors of any key format.

    Args:
        tensors (Mapping[str, Tensor]): All of its tensors.
        key_format (KeyFormat): The format that their keys must have.
        settings (Sequence[Settings]): Its settings, from each place.
        where (str | Path): Origin of the tensors, for messages.

    Returns:
        Model: The complete model.

    Raises:
        ValueError: If keys are unknown or missing (listed), or shapes differ; if settings are of
            another model, disagree, or are incomplete.
    """
    actual = key_format_of(tensors)
    if actual is not key_format:
        keys = 'no keys of a GroupViT' if actual is None else f'the {actual.title} keys'
        raise ValueError(f'{where} has {keys}, not the {key_format.title} ones: give such a file.')
    hints, origins = merge_settings(settings)
    try:
        renamed = to_pretrainer_names(tensors, key_format)
        fixed = key_format_settings(key_format, renamed.tensors)
        for name, value in fixed.hints._asdict().items():
            if value is not None:
                origins.setdefault(name, fixed.where)
        structure = infer_structure(renamed.tensors, hints.completed(fixed.hints))
    except MissingTensorsError as error:
        missing = [_key_in(key_format, key) for key in error.keys]
        raise ValueError(
            f'{where}: {len(missing)} tensors are missing: {", ".join(missing)}.'
        ) from error
    except ValueError as error:
        raise ValueError(f'{where}: {error}') from error
    for each in settings:
        check_belongs(each, structure)
    check_complete(renamed.tensors, structure, key_format, where=where)
    plain = renamed.tensors if key_format is PLUGIN else without_prefix(tensors, key_format)
    source = {key: value for key, value in plain.items() if key not in renamed.dropped}
    return Model(renamed.tensors, structure, source, renamed.dropped, origins)


def _key_in(key_format: KeyFormat, key: str) -> str:
    """Return a pretrainer's key in another format."""
    return next(iter(key_format.encode({key: torch.empty(1, 1, 1, device='meta')})))


def check_complete(
    tensors: Mapping[str, Tensor], structure: Structure, key_format: KeyFormat, *, where: str | Path
) -> None:
    """Compare tensors with those of the structure's model, under the keys of the file.

    Raises:
        ValueError: If tensors are missing, unknown or of another shape; lists them.
    """
    own = empty_pretrainer(structure).state_dict()
    if not structure.multi_label:  # a loss that the pretrainer had to have, see pretrainer_config
        own = {key: value for key, value in own.items() if not key.startswith('loss_multi_label.')}
    expected = key_format.encode(_on_meta(own, key_format))
    actual = key_format.encode(_on_meta(tensors, key_format))
    shapes = [
        f'{key} {list(actual[key].shape)} instead of {list(expected[key].shape)}'
        for key in actual
        if key in expected and actual[key].shape != expected[key].shape
    ]
    problems = {
        'missing': [key for key in expected if key not in actual],
        'unknown': [key for key in actual if key not in expected],
        'of another shape': shapes,
    }
    misfits = [f'{len(keys)} {kind}: {", ".join(keys)}' for kind, keys in problems.items() if keys]
    if misfits:
        raise ValueError(f'{where} is not a whole GroupViT; its tensors: {"; ".join(misfits)}.')


def _on_meta(tensors: Mapping[str, Tensor], key_format: KeyFormat) -> Tensors:
    """Return the tensors that a key format has, without numbers."""
    return {k: v.to('meta') for k, v in tensors.items() if k not in key_format.lost}


IN_PLACE = ('normal_', 'uniform_', 'erfinv_', 'clamp_')
"""tuple[str, ...]: Methods by which ``torch.nn.init`` draws numbers."""


class _WithoutDrawing(TorchFunctionMode):
    """Leave out random numbers: drawing on the meta device imports PyTorch's compiler."""

    def __torch_function__(
        self,
        func: Callable,
        types: Sequence[type],
        args: tuple = (),
        kwargs: dict | None = None,
    ) -> object:
        if getattr(func, '__name__', '') in IN_PLACE:
            return args[0] if args else (kwargs or {})['tensor']
        return func(*args, **(kwargs or {}))


def empty_pretrainer(structure: Structure) -> torch.nn.Module:
    """Build the structure's pretrainer without numbers, in evaluation mode.

    Args:
        structure (Structure): Of the model.

    Raises:
        ValueError: If there is no such model.
    """
    try:
        with torch.device('meta'), _WithoutDrawing():
            return MODELS.build(pretrainer_config(structure)).eval()
    except (AttributeError, AssertionError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f'No GroupViT has these shapes ({error}).') from error


def encode(model: Model, key_format: KeyFormat) -> tuple[Tensors, dict[str, str]]:
    """Convert a model to a key format.

    Args:
        model (Model): The model.
        key_format (KeyFormat): The format.

    Returns:
        tuple: The tensors, and the pretrainer's keys that the format lacks -> the reason.

    Raises:
        ValueError: If the format's implementation cannot have this structure.
    """
    if key_format is HUGGING_FACE:
        check_fits_hugging_face(model.structure)
    tensors = model.tensors
    if key_format is not PLUGIN:
        check_fits_papers_code(model.structure, key_format)
        tensors = _with_scale_in_weights(tensors, model.structure.assign_scale)
    lost = {key: reason for key, reason in key_format.lost.items() if key in tensors}
    rest = {key: value for key, value in tensors.items() if key not in lost}
    return key_format.encode(rest), lost


def check_fits_papers_code(structure: Structure, key_format: KeyFormat) -> None:
    """Refuse a structure that only this plugin computes.

    Noise is not used after training, so a model trained without it is one that can be converted.

    Args:
        structure (Structure): Of the model.
        key_format (KeyFormat): The format of the result, for the message.

    Raises:
        ValueError: If it has a convolutional stem, another assignment than the paper's, such as
            ``kind='soft'``, or ``pool_projected``.
    """
    options = structure.backbone.get('assignment', {})
    others = [f'{key}={value!r}' for key, value in options.items() if key != 'gumbel_noise']
    found = {
        'convolutional stem (conv_stem)': 'conv_stem' in structure.backbone,
        f'assignment with {", ".join(others)}': bool(others),
        'mean of projections (pool_projected)': structure.image_projector.get('pool_projected'),
    }
    names = [name for name, is_there in found.items() if is_there]
    if names:
        raise ValueError(
            f'The {key_format.title} format has no {" and no ".join(names)}: this model stays in '
            f'the {PLUGIN.title} format.'
        )


def _with_scale_in_weights(tensors: Tensors, scale: float) -> Tensors:
    """Multiply ``assign_scale``, which only the plugin has, into the projection of the queries."""
    if scale == 1.0:
        return tensors
    return {
        key: value * scale if '.grouping.assign.q_proj.' in key else value
        for key, value in tensors.items()
    }
