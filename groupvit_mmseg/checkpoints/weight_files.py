"""Weights of any implementation from ``.pth``, ``.bin`` and ``.safetensors``, also sharded."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from groupvit_mmseg.checkpoints.restricted_unpickler import Plain, StoredTensor, as_plain
from groupvit_mmseg.checkpoints.settings_readers import RECORD
from groupvit_mmseg.checkpoints.sources import locate
from groupvit_mmseg.checkpoints.torch_archive import RestrictedFile, open_restricted

STATE_DICT_ENTRIES = ('state_dict', 'model')
CONFIG_ENTRY = 'cfg'
SETTINGS_ENTRY = 'settings'
# Entries in which the official training, and scripts derived from it, store their settings.
TRAINING_CONFIGS = ('config', 'cfg', 'opt', 'args')


class WeightFile(NamedTuple):
    """The content of a file of weights.

    Attributes:
        tensors (dict[str, Tensor]): On the CPU, with the file's own keys.
        config_text (str, optional): Text of the plugin's config in the file; never executed here.
        skipped (tuple[str, ...]): A remark for everything in the file that was left out.
        record (Mapping[str, object], optional): The record of the model that a converter of the
            plugin wrote; see :mod:`groupvit_mmseg.conversion.fingerprint`.
        settings (Mapping[str, object], optional): The official or Hugging Face's settings that a
            converter of the plugin put into the file.
        training_config (Plain): Values of the official training's settings.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import WeightFile
        >>> weights = WeightFile({'logit_scale': torch.tensor(1.0)}, None, ('epoch: not weights',))
        >>> list(weights.tensors), weights.skipped
        (['logit_scale'], ('epoch: not weights',))
    """

    tensors: dict[str, Tensor]
    config_text: str | None
    skipped: tuple[str, ...]
    record: Mapping[str, object] | None = None
    settings: Mapping[str, object] | None = None
    training_config: Plain = None


def read_weights(source: str | Path) -> WeightFile:
    """Read weights without running anything that the file contains.

    Args:
        source (str | Path): As :func:`.locate` takes it; also the ``.index.json`` of a sharded
            file.

    Returns:
        WeightFile: The tensors, and the settings that the file holds.

    Raises:
        FileNotFoundError: If there is no such file, or the folder holds no weights.
        UnpicklingError: If the file is torn, or not one of weights.
        ValueError: If it does not hold named tensors.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.checkpoints import read_weights
        >>> torch.save({'model': {'logit_scale': torch.tensor(2.5)}, 'epoch': 29}, 'official.pth')
        >>> weights = read_weights('official.pth')
        >>> weights.tensors
        {'logit_scale': tensor(2.5000)}
        >>> weights.skipped
        ('epoch: not weights',)
    """
    path = locate(source)
    if path.name.endswith('.json'):
        return _read_shards(path)
    weights = _read_file(path)
    if not weights.tensors:
        raise ValueError(f'{path} holds no tensors: give the file with the weights.')
    return weights


def shard_names(index: Path) -> list[str]:
    """Return the names of the files that an index of sharded weights lists.

    Raises:
        ValueError: If it is not such an index.
    """
    return sorted(set(_shard_index(index).values()))


def _read_file(path: Path) -> WeightFile:
    """Read one file; its first bytes determine the format, not its suffix."""
    try:
        if _is_pickled(path):
            return _from_pickle(open_restricted(path), path)
        return _from_safetensors(path)
    except (pickle.UnpicklingError, SafetensorError) as error:
        raise pickle.UnpicklingError(
            f'{path} cannot be read as weights: {str(error).rstrip(".")}; use a complete .pth, '
            '.bin or .safetensors file.'
        ) from error


def _is_pickled(path: Path) -> bool:
    """Return whether the file is one of ``torch.save``, rather than safetensors.

    Raises:
        UnpicklingError: If it is empty.
    """
    with path.open('rb') as stream:
        start = stream.read(9)
    if not start:
        raise pickle.UnpicklingError('it is empty')
    # Safetensors: the length of the header in eight bytes, of which the first may be a pickle's
    # too, then the header.
    length = int.from_bytes(start[:8], 'little')
    if start[8:] == b'{' and length <= path.stat().st_size - 8:
        return False
    return start[:2] == b'PK' or start[:1] == b'\x80'


def _from_safetensors(path: Path) -> WeightFile:
    """Read a safetensors file."""
    with safe_open(path, framework='pt') as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    record, settings = (_json(metadata.get(entry)) for entry in (RECORD, SETTINGS_ENTRY))
    return WeightFile(tensors, metadata.get(CONFIG_ENTRY), (), record, settings)


def _json(text: str | None) -> Mapping[str, object] | None:
    """Parse a mapping written as JSON; return None for anything else."""
    try:
        content = json.loads(text or 'null')
    except ValueError:
        return None
    return content if isinstance(content, Mapping) else None


def _from_pickle(file: RestrictedFile, path: Path) -> WeightFile:
    """Read the state dict of a pickled checkpoint; the rest is listed as skipped."""
    content = file.content
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{path} holds a {type(content).__name__} instead of a dict of weights: give the '
            'checkpoint that training wrote.'
        )
    entry = next((e for e in STATE_DICT_ENTRIES if isinstance(content.get(e), Mapping)), None)
    state_dict = content if entry is None else content[entry]
    tensors = {str(k): file.read(v) for k, v in state_dict.items() if isinstance(v, StoredTensor)}
    skipped = [f'{key}: not a tensor' for key in state_dict if key not in tensors]
    if entry is not None:
        others = [key for key in content if key not in (entry, SETTINGS_ENTRY)]
        skipped = [f'{key}: not weights' for key in others] + skipped
    skipped += [f'type {name}: not loaded' for name in file.skipped]
    meta = content.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    text, record, settings = meta.get(CONFIG_ENTRY), meta.get(RECORD), content.get(SETTINGS_ENTRY)
    return WeightFile(
        tensors,
        text if isinstance(text, str) else None,
        tuple(skipped),
        record if isinstance(record, Mapping) else None,
        settings if isinstance(settings, Mapping) else None,
        [as_plain(content[entry]) for entry in TRAINING_CONFIGS if entry in content],
    )


def _read_shards(index: Path) -> WeightFile:
    """Read all files that an index lists, as one."""
    files = _shard_index(index)
    tensors: dict[str, Tensor] = {}
    skipped: list[str] = []
    first: WeightFile | None = None
    for name in shard_names(index):
        path = index.parent / name
        if not path.is_file():
            raise FileNotFoundError(f'{index} names the shard {name}, which is not beside it.')
        shard = _read_file(path)
        first = first or shard
        tensors.update(shard.tensors)
        skipped += [remark for remark in shard.skipped if remark not in skipped]
    missing = [key for key in files if key not in tensors]
    if missing:
        raise ValueError(
            f'{index} names {len(missing)} tensors that its shards lack: {", ".join(missing)}.'
        )
    assert first is not None
    ordered = {key: tensors[key] for key in files}
    return first._replace(tensors=ordered, config_text=None, skipped=tuple(skipped))


def _shard_index(index: Path) -> dict[str, str]:
    """Return the ``weight_map`` of an index: file name by tensor name.

    Raises:
        ValueError: If it is not an index, or lists files of other folders.
    """
    try:
        files: dict[str, str] = json.loads(index.read_text(encoding='utf-8'))['weight_map']
        is_beside = all(Path(name).name == name for name in files.values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{index} is not the index of sharded weights: it has no usable weight_map.'
        ) from error
    if not files or not is_beside:
        raise ValueError(f'{index} must name at least one shard, and only files beside it.')
    return files
