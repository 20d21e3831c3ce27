"""Checkpoints of any origin: read without running their content, loaded if every key fits."""

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.types import Storage

from groupvit_mmseg.checkpoints.key_formats import PLUGIN, key_format_of, to_pretrainer_names
from groupvit_mmseg.checkpoints.module_settings import settings_of_weights
from groupvit_mmseg.checkpoints.plain_pickle import read_plain
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.torch_archive import check_archive
from groupvit_mmseg.checkpoints.types import Checkpoint
from groupvit_mmseg.checkpoints.weight_files import STATE_DICT_ENTRIES, WeightFile, read_weights
from groupvit_mmseg.torch_versions import UNREAD_FORMAT, UNREAD_TYPES, load_plain_data

NUM_SHAPES = 5
NUM_KEYS = 20
"""int: Tensors of another shape that a message names; the others are counted."""


# What pickletools says of a file that begins with anything else.
NO_PICKLE = re.compile(r'at position 0, opcode .* unknown')
MapLocation: TypeAlias = str | torch.device | Callable[[Storage, str], Storage]
"""TypeAlias: Device of tensors, or a function that moves a storage, as in ``torch.load``."""


def read_checkpoint(source: str | Path, *, map_location: MapLocation = 'cpu') -> Checkpoint:
    """Read a checkpoint: of training, or weights in the official or Hugging Face's format.

    Nothing stored in it is executed. Log histories and NumPy numbers, which checkpoints of
    mmengine's own runner hold beside tensors, are returned as this plugin writes them. Weights with
    official or Hugging Face's keys are returned under the pretrainer's, which a segmentor takes
    too, together with the settings that the file and its folder contain.

    Args:
        source (str | Path): A file, a folder of Hugging Face's, the name of released weights, an
            http(s) address, or ``hf://OWNER/NAME``.
        map_location (MapLocation): Device of the tensors, as in ``torch.load``. Defaults to 'cpu'.

    Returns:
        Checkpoint: The content; a state dict alone is returned as ``{'state_dict': ...}``.

    Raises:
        FileNotFoundError: If there is no such file or name, or it cannot be downloaded.
        pickle.UnpicklingError: If the file is torn, or holds more than plain data and tensors and
            is no official release.
        ValueError: If it does not hold a dict, or has keys or settings of no GroupViT beside
            official ones.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints.loading import read_checkpoint
        >>> torch.save({'weight': torch.ones(2)}, 'weights.pth')
        >>> read_checkpoint('weights.pth')
        {'state_dict': {'weight': tensor([1., 1.])}}
    """
    path = locate(source)
    try:
        content = _load(path, map_location)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # torch raises errors of any type for a foreign or torn file
        weights = _official_release(path)
        if weights is not None:
            return _renamed(path, weights, map_location)
        raise pickle.UnpicklingError(
            f'{source} is not a checkpoint that can be read safely (weights_only=True): '
            f'{_reason(error)}; use a complete file that training here or with MMSegmentation '
            'wrote, or an official release.'
        ) from error
    if isinstance(content, WeightFile):
        return _from_weights(path, content, map_location)
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{source} holds a {type(content).__name__} instead of a dict of weights; '
            'give the checkpoint that training wrote.'
        )
    if _is_of_another_implementation(content):
        return _renamed(path, read_weights(path), map_location)
    if 'state_dict' not in content:
        return cast(Checkpoint, {'state_dict': content})  # a file can hold any values
    return cast(Checkpoint, dict(content))  # a file can have any keys


def _load(path: Path, map_location: MapLocation) -> object:
    """Load safetensors, an index of shards, or a file of ``torch.save`` without running it."""
    if path.suffix in ('.safetensors', '.json'):
        return read_weights(path)
    check_archive(path)
    try:
        content = load_plain_data(path, map_location)
        _check_lengths(content)
        return content
    except pickle.UnpicklingError as error:
        unread = any(text in str(error) for text in UNREAD_TYPES)
        if not unread or callable(map_location):
            raise
        return read_plain(path, map_location=map_location)


def _check_lengths(content: object) -> None:
    """Refuse tensors that repeat their numbers: a file of a few bytes could mean any size.

    Raises:
        UnpicklingError: If there is such a tensor.
    """
    pending, seen = [content], set()
    while pending:
        value = pending.pop()
        if isinstance(value, Tensor):
            if value.layout == torch.strided and value.nbytes > value.untyped_storage().nbytes():
                raise pickle.UnpicklingError('a tensor reaches beyond its numbers')
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # a pickle can put one list into itself
            pending += value.values() if isinstance(value, Mapping) else value


def _official_release(path: Path) -> WeightFile | None:
    """Read a file that ``torch.load`` refuses, with its types left out; None without foreign keys.

    Official releases pickle a config whose classes are not installed.
    """
    try:
        weights = read_weights(path)
    except (OSError, ValueError, pickle.UnpicklingError):
        return None
    return weights if _has_foreign_keys(weights.tensors) else None


def _is_of_another_implementation(content: Mapping[str, object]) -> bool:
    """Return whether a file's content is an official or Hugging Face's state dict."""
    if 'meta' in content:  # OpenMMLab's, with the keys of its own model
        return False
    entries = [content[e] for e in STATE_DICT_ENTRIES if isinstance(content.get(e), Mapping)]
    return _has_foreign_keys(cast(Mapping[str, Tensor], (entries or [content])[0]))


def _has_foreign_keys(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have official or Hugging Face's keys."""
    names = {str(key): value for key, value in tensors.items()}
    return key_format_of(names) not in (None, PLUGIN)


def _from_weights(path: Path, weights: WeightFile, map_location: MapLocation) -> Checkpoint:
    """Return safetensors as a checkpoint."""
    if _has_foreign_keys(weights.tensors):
        return _renamed(path, weights, map_location)
    meta = {'cfg': weights.config_text}
    tensors = _moved(weights.tensors, map_location)
    return cast(Checkpoint, {'state_dict': tensors, 'meta': meta})


def _moved(tensors: Mapping[str, Tensor], map_location: MapLocation) -> dict[str, Tensor]:
    """Return tensors of the CPU where ``torch.load`` would put them."""
    if not callable(map_location):
        return {key: value.to(map_location) for key, value in tensors.items()}
    moved = {}
    for key, value in tensors.items():
        storage = map_location(value.untyped_storage(), 'cpu')  # type: ignore[arg-type]
        empty = torch.empty(0, dtype=value.dtype, device=storage.device)
        moved[key] = empty.set_(storage, value.storage_offset(), value.shape, value.stride())
    return moved


def _renamed(path: Path, weights: WeightFile, map_location: MapLocation) -> Checkpoint:
    """Return weights of another implementation under the pretrainer's keys, with their settings."""
    key_format = key_format_of(weights.tensors)
    assert key_format is not None, path
    try:
        tensors = to_pretrainer_names(weights.tensors, key_format).tensors
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error
    tensors = _moved(tensors, map_location)
    return Checkpoint(state_dict=tensors, settings=settings_of_weights(path, weights))


def _reason(error: Exception) -> str:
    """Return torch's reason without its advice to read the file unsafely."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line.partition('error: ')[2] for line in lines if 'WeightsUnpickler error' in line]
    unread = reasons and (not any(reasons) or reasons[0].startswith(UNREAD_FORMAT))
    if unread or NO_PICKLE.search(str(error)):
        return 'it has another format'
    return (reasons or lines or ['it is empty'])[0].split('. ')[0].rstrip('. ')


def load_weights(model: nn.Module, state_dict: Mapping[str, Tensor], *, source: str) -> None:
    """Load weights of which every key must fit, by ``model.load_state_dict``.

    Args:
        model (nn.Module): The module that receives the weights.
        state_dict (Mapping[str, Tensor]): Its weights; a leading ``module.`` is dropped.
        source (str): Origin of the weights, for the message.

    Raises:
        RuntimeError: If keys are missing or unexpected or shapes differ; lists the keys.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints.loading import load_weights
        >>> layer = torch.nn.Linear(2, 1)
        >>> load_weights(layer, {'weight': torch.ones(1, 2)}, source='weights.pth')
        Traceback (most recent call last):
            ...
        RuntimeError: weights.pth does not fit Linear; give a checkpoint of this configuration
        (1 missing: bias).
    """
    plain = OrderedDict((key.removeprefix('module.'), value) for key, value in state_dict.items())
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is not None:
        plain._metadata = metadata  # type: ignore[attr-defined]  # as torch does
    try:
        model.load_state_dict(plain, strict=True)
    except RuntimeError as error:
        raise RuntimeError(_misfit_message(model, error, source)) from None


class NotFiniteError(ValueError):
    """Weights that are infinite or not numbers."""


def check_finite(model: nn.Module, source: str | Path) -> None:
    """Refuse weights with which every prediction is the first class, and no error is raised.

    Args:
        model (nn.Module): With its weights.
        source (str | Path): Their origin, for the message.

    Raises:
        NotFiniteError: If a weight is infinite or not a number.
    """
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise NotFiniteError(
                f'{source} has weights that are no finite numbers (in {name}): its training '
                'diverged, so take an earlier checkpoint.'
            )


def _misfit_message(model: nn.Module, error: RuntimeError, source: str) -> str:
    """Count the misfits that torch reports, and list the first keys and shapes."""
    entries = [entry.strip() for entry in str(error).split('\n\t')[1:]]
    prefixes = {'missing': 'Missing key', 'unexpected': 'Unexpected key'}
    parts = []
    for label, prefix in prefixes.items():
        keys = [k for e in entries if e.startswith(prefix) for k in e.split('"')[1::2]]
        if keys:
            more = f' and {len(keys) - NUM_KEYS} more' if len(keys) > NUM_KEYS else ''
            parts.append(f'{len(keys)} {label}: {", ".join(keys[:NUM_KEYS])}{more}')
    shapes = [_shapes_of(e) for e in entries if e.startswith('size mismatch for ')]
    if shapes:
        more = f' and {len(shapes) - NUM_SHAPES} more' if len(shapes) > NUM_SHAPES else ''
        parts.append(f'{len(shapes)} of another shape: {", ".join(shapes[:NUM_SHAPES])}{more}')
    rest = '; '.join(parts) or str(error)
    return (
        f'{source} does not fit {type(model).__name__}; '
        f'give a checkpoint of this configuration ({rest}).'
    )


def _shapes_of(entry: str) -> str:
    """Shorten torch's entry to ``name (2, 3) instead of (2, 4)``."""
    name = entry.removeprefix('size mismatch for ').partition(':')[0]
    sizes = re.findall(r'torch\.Size\(\[([\d, ]*)\]\)', entry)
    return f'{name} ({sizes[0]}) instead of ({sizes[1]})' if len(sizes) == 2 else name
