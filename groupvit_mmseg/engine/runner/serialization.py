"""Conversion of run states to the types that ``torch.load(weights_only=True)`` accepts."""

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor


class PlainHistory(TypedDict):
    """A log history in plain types.

    Attributes:
        values (Tensor): ``(n,)`` float64.
        counts (Tensor): ``(n,)`` float64, the number of samples of each value.
        max_length (int): Length beyond which the history drops its first values.
    """

    values: Tensor
    counts: Tensor
    max_length: int


def to_plain(value: object) -> Any:
    """Convert a value to the types that ``torch.load(weights_only=True)`` accepts.

    NumPy arrays become tensors, NumPy scalars Python numbers, log histories dicts (see
    :class:`PlainHistory`), paths and all other objects their text.

    Example:
        >>> to_plain({'score': np.float64(0.5), 'sizes': (1, np.int64(2))})
        {'score': 0.5, 'sizes': (1, 2)}
    """
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.generic):
        return value.item()
    for kind in (bool, int, float, str):  # also their subclasses, such as TorchVersion
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


def history_to_plain(history: HistoryBuffer) -> PlainHistory:
    """Convert a log history to plain types."""
    values, counts = history.data
    return {
        'values': torch.as_tensor(values, dtype=torch.float64),
        'counts': torch.as_tensor(counts, dtype=torch.float64),
        'max_length': history.max_length,
    }


def history_from_plain(plain: PlainHistory) -> HistoryBuffer:
    """Convert the result of :func:`history_to_plain` back."""
    return HistoryBuffer(
        plain['values'].cpu().numpy().copy(),
        plain['counts'].cpu().numpy().copy(),
        max_length=plain['max_length'],
    )
