"""Weights of anybody's, read from ``.pth``, ``.bin`` and ``.safetensors``, single and sharded."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from groupvit_mmseg.checkpoints.hub import HUB_PREFIX, URL_PREFIXES, download, fetch
from groupvit_mmseg.checkpoints.released import (
    fetch_released,
    find_released,
    looks_like_name,
    unknown_name,
)
from groupvit_mmseg.checkpoints.restricted_unpickler import StoredTensor, as_plain
from groupvit_mmseg.checkpoints.settings_readers import RECORD
from groupvit_mmseg.checkpoints.torch_archive import RestrictedFile, open_restricted

STATE_DICT_ENTRIES = ('state_dict', 'model')
# In a folder, the first of these counts.
FILES_IN_FOLDERS = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)
CONFIG_ENTRY = 'cfg'
SETTINGS_ENTRY = 'settings'
# Where the official training, and scripts made from it, keep their settings.
TRAINING_CONFIGS = ('config', 'cfg', 'opt', 'args')


class WeightFile(NamedTuple):
    """What a file of weights holds.

    Attributes:
        tensors (dict[str, Tensor]): On the CPU, under the file's own names.
        config_text (str, optional): Text of the plugin's config that travels with the weights;
            never executed here.
        skipped (tuple[str, ...]): A remark for everything in the file that was left out.
        record (Mapping, optional): What a converter of the plugin noted of the model.
        settings (Mapping, optional): The official or Hugging Face's settings that a converter of
            the plugin put into the file.
        training_config (Any): Plain values of the official training's settings.
    """

    tensors: dict[str, Tensor]
    config_text: str | None
    skipped: tuple[str, ...]
    record: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    training_config: Any = None


def read_weights(source: str | Path) -> WeightFile:
    """Read weights without running anything that the file contains.

    Args:
        source (str | Path): A file or its http(s) address, the ``.index.json`` of a sharded one,
            a folder of Hugging Face's, or ``hf://OWNER/NAME`` for a repository of its hub.

    Raises:
        FileNotFoundError: If there is no such file, or the folder holds no weights.
        UnpicklingError: If the file is torn, or not one of weights.
        ValueError: If it holds something else than named tensors.
    """
    path = locate(source)
    if path.name.endswith('.json'):
        return _read_shards(path)
    weights = _read_file(path)
    if not weights.tensors:
        raise ValueError(f'{path} holds no tensors: give the file with the weights.')
    return weights


def locate(source: str | Path) -> Path:
    """The file that a source means: itself, one in a folder, of an address, or of the hub.

    Raises:
        FileNotFoundError: If there is none.
    """
    if str(source).startswith(HUB_PREFIX):
        return fetch(str(source).removeprefix(HUB_PREFIX))
    if str(source).startswith(URL_PREFIXES):
        return download(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        found = [path / name for name in FILES_IN_FOLDERS if (path / name).is_file()]
        if not found:
            raise FileNotFoundError(
                f'The folder {path} holds none of {", ".join(FILES_IN_FOLDERS)}: name the file.'
            )
        return found[0]
    if path.is_file():
        return path
    released = find_released(str(source))
    if released is not None:
        return fetch_released(released)
    if looks_like_name(str(source)):
        raise FileNotFoundError(unknown_name(str(source)))
    raise FileNotFoundError(f'There is no file of weights at {path}; check the path.')


def shard_names(index: Path) -> list[str]:
    """Names of the files that lie beside the index of sharded weights.

    Raises:
        ValueError: If it is not such an index.
    """
    return sorted(set(_shard_index(index).values()))


def _read_file(path: Path) -> WeightFile:
    """One file, whatever its name ends in: its first bytes tell the format."""
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
    """Whether the file is one of ``torch.save``, rather than safetensors.

    Raises:
        UnpicklingError: If it is empty.
    """
    with path.open('rb') as stream:
        start = stream.read(2)
    if not start:
        raise pickle.UnpicklingError('it is empty')
    return start == b'PK' or start[:1] == b'\x80'


def _from_safetensors(path: Path) -> WeightFile:
    """A safetensors file."""
    with safe_open(path, framework='pt') as file:
        metadata = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    record, settings = (_json(metadata.get(entry)) for entry in (RECORD, SETTINGS_ENTRY))
    return WeightFile(tensors, metadata.get(CONFIG_ENTRY), (), record, settings)


def _json(text: str | None) -> Mapping[str, Any] | None:
    """A mapping written as JSON; None for anything else."""
    try:
        content = json.loads(text or 'null')
    except ValueError:
        return None
    return content if isinstance(content, Mapping) else None


def _from_pickle(file: RestrictedFile, path: Path) -> WeightFile:
    """The state dict of a pickled checkpoint; the rest is named as skipped."""
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
    """All files that an index names, as one."""
    places = _shard_index(index)
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
    missing = [key for key in places if key not in tensors]
    if missing:
        raise ValueError(
            f'{index} names {len(missing)} tensors that its shards lack: {", ".join(missing)}.'
        )
    assert first is not None
    ordered = {key: tensors[key] for key in places}
    return first._replace(tensors=ordered, config_text=None, skipped=tuple(skipped))


def _shard_index(index: Path) -> dict[str, str]:
    """The ``weight_map`` of an index: file name by tensor name.

    Raises:
        ValueError: If it is not an index, or names files elsewhere.
    """
    try:
        places = json.loads(index.read_text(encoding='utf-8'))['weight_map']
        named = all(Path(name).name == name for name in places.values())
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{index} is not the index of sharded weights: it has no usable weight_map.'
        ) from error
    if not places or not named:
        raise ValueError(f'{index} must name at least one shard, and only files beside it.')
    return places
