"""Run states in the plain types that ``torch.load(weights_only=True)`` accepts, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer


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
