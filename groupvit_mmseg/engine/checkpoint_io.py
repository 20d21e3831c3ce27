"""Checkpoint files: read without running what they contain, written whole or not at all."""

import os
import pickle
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

URL_PREFIXES = ('http://', 'https://')
Checkpoint = dict[str, Any]


def read_checkpoint(source: str | Path, *, map_location: Any = 'cpu') -> Checkpoint:
    """Read a checkpoint with ``weights_only=True``: nothing stored in it is executed.

    Args:
        source (str | Path): A file or an http(s) address.
        map_location (Any): Where tensors go, as in ``torch.load``. Defaults to 'cpu'.

    Returns:
        dict: The checkpoint; a bare state dict comes back as ``{'state_dict': ...}``.

    Raises:
        FileNotFoundError: If there is no such file.
        pickle.UnpicklingError: If the file is torn, or holds more than plain data and tensors.
        ValueError: If it holds something else than a dict.
    """
    try:
        content = _load(str(source), map_location)
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f'There is no checkpoint {source}; check the path.') from None
    except PermissionError:
        raise
    except Exception as error:  # what torch raises for a foreign or torn file is of any type
        raise pickle.UnpicklingError(
            f'{source} is not a checkpoint that can be read safely (weights_only=True): '
            f'{_reason(error)}; use a complete file of tensors and plain values.'
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{source} holds a {type(content).__name__} instead of a dict of weights; '
            'give the checkpoint that training wrote.'
        )
    if 'state_dict' not in content:
        return {'state_dict': content}
    return dict(content)


def _load(source: str, map_location: Any) -> Any:
    """``torch.load`` of a file or an address, never with ``weights_only=False``."""
    if source.startswith(URL_PREFIXES):
        return torch.hub.load_state_dict_from_url(
            source, map_location=map_location, weights_only=True
        )
    return torch.load(Path(source).expanduser(), map_location=map_location, weights_only=True)


def _reason(error: Exception) -> str:
    """What torch says is wrong, without its advice to read the file unsafely."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line.partition('error: ')[2] for line in lines if 'WeightsUnpickler error' in line]
    return (named or lines or ['it is empty'])[0].split('. ')[0].rstrip('. ')


def load_weights(model: nn.Module, state_dict: Mapping[str, Any], *, source: str) -> None:
    """Load weights of which every key must fit, as ``model.load_state_dict`` understands keys.

    Args:
        model (nn.Module): The module that receives the weights.
        state_dict (Mapping): Its weights; a leading ``module.`` of wrapped models is dropped.
        source (str): Where the weights come from, for the message.

    Raises:
        RuntimeError: If keys are missing or unexpected or shapes differ; lists every one of them.
    """
    plain = OrderedDict((key.removeprefix('module.'), value) for key, value in state_dict.items())
    metadata = getattr(state_dict, '_metadata', None)
    if metadata is not None:
        plain._metadata = metadata  # type: ignore[attr-defined]
    try:
        model.load_state_dict(plain, strict=True)
    except RuntimeError as error:
        raise RuntimeError(_misfit_message(model, error, source)) from None


def _misfit_message(model: nn.Module, error: RuntimeError, source: str) -> str:
    """Count and list what torch reports: missing, unexpected, of another shape."""
    entries = [entry.strip() for entry in str(error).split('\n\t')[1:]]
    listed = {'missing': 'Missing key', 'unexpected': 'Unexpected key'}
    parts = []
    for label, prefix in listed.items():
        keys = [k for e in entries if e.startswith(prefix) for k in e.split('"')[1::2]]
        if keys:
            parts.append(f'{len(keys)} {label}: {", ".join(keys)}')
    shapes = [e.removeprefix('size mismatch for ') for e in entries if e.startswith('size')]
    if shapes:
        parts.append(f'{len(shapes)} of another shape: {" | ".join(shapes)}')
    rest = '; '.join(parts) or str(error)
    return (
        f'{source} does not fit {type(model).__name__}; '
        f'give a checkpoint of this configuration ({rest}).'
    )


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint so that a reader sees the old file or the whole new one."""
    write_atomically(path, lambda stream: torch.save(checkpoint, stream))


def write_atomically(path: str | Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary neighbour that replaces it once it is on disk.

    Args:
        path (str | Path): The file; its folder is made.
        write (Callable): Gets the open binary stream.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The mask that an ordinary ``open`` would have applied."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def to_plain(value: Any) -> Any:
    """The same content in the types that ``torch.load(weights_only=True)`` accepts.

    NumPy arrays become tensors, NumPy scalars Python numbers, log histories dicts (see
    :func:`history_to_plain`), paths and any other object their text.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    for kind in (bool, int, float, str):  # also of their subclasses, such as TorchVersion
        if isinstance(value, kind):
            return kind(value)
    if value is None:
        return None
    if isinstance(value, HistoryBuffer):
        return history_to_plain(value)
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        plain = [to_plain(item) for item in value]
        return tuple(plain) if isinstance(value, tuple) else plain
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biufc':
        return torch.from_numpy(value.copy())
    return str(value)


def history_to_plain(history: HistoryBuffer) -> dict[str, Any]:
    """A log history as ``values`` and ``counts`` (n,) float64 tensors and its ``max_length``."""
    values, counts = history.data
    return {
        'values': torch.as_tensor(values, dtype=torch.float64),
        'counts': torch.as_tensor(counts, dtype=torch.float64),
        'max_length': history.max_length,
    }


def history_from_plain(plain: Mapping[str, Any]) -> HistoryBuffer:
    """The inverse of :func:`history_to_plain`."""
    return HistoryBuffer(
        plain['values'].cpu().numpy().copy(),
        plain['counts'].cpu().numpy().copy(),
        max_length=plain['max_length'],
    )
