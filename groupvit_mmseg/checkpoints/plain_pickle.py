"""Checkpoints of mmengine's own runner, read as plain data without running what they contain.

Beside tensors they hold log histories, NumPy arrays and NumPy numbers. These few types are rebuilt
here from their bytes by code of this module; the classes that a file names are never looked up.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from groupvit_mmseg.checkpoints.restricted_unpickler import RestrictedUnpickler, StoredTensor
from groupvit_mmseg.checkpoints.torch_archive import RestrictedFile, open_restricted

HISTORY = ('mmengine.logging.history_buffer', 'HistoryBuffer')
NUMBERS = 'biufc'
"""str: Kinds of NumPy's types that are read: truth values and numbers."""
ORDERS = ('<', '>', '=', '|')
PLAIN = (bool, int, float, complex, str, bytes)


def read_plain(path: Path, *, map_location: Any = 'cpu') -> Any:
    """Read a file of ``torch.save`` that holds tensors, plain values, histories and NumPy numbers.

    Args:
        path (Path): The file.
        map_location (Any): Device of the tensors. Defaults to 'cpu'.

    Returns:
        Any: The content as the plugin's own checkpoints have it: log histories as dicts of
        ``values``, ``counts`` and ``max_length``, arrays as tensors, NumPy numbers as Python's.

    Raises:
        UnpicklingError: If the file is torn, or holds objects of any other type.
    """
    file = open_plain(path)
    if file.skipped:
        raise pickle.UnpicklingError(
            f'it holds objects of {", ".join(file.skipped)}, which are neither tensors nor plain '
            'data'
        )

    def read(tensor: StoredTensor) -> torch.Tensor:
        return file.read(tensor).to(map_location)

    return _plain(file.content, read)


def open_plain(path: Path) -> RestrictedFile:
    """The content of such a file with its tensors still in the file, and the types left out."""
    return open_restricted(path, unpickler=PlainUnpickler)


class _History:
    """What a ``HistoryBuffer`` of mmengine keeps."""

    state: Mapping[str, Any]

    def __setstate__(self, state: Any) -> None:
        """Keep the three entries that are data."""
        names = ('_log_history', '_count_history', 'max_length')
        if not isinstance(state, Mapping) or not all(name in state for name in names):
            raise pickle.UnpicklingError('a log history is incomplete')
        self.state = {name: state[name] for name in names}


class _Dtype:
    """The name of a NumPy type, of numbers in the order of bytes of this machine."""

    def __init__(self, code: Any, *_: Any) -> None:
        dtype = np.dtype(str(code))
        if dtype.kind not in NUMBERS:
            raise pickle.UnpicklingError(f'an array of the NumPy type {code} is not of numbers')
        self.dtype = dtype

    def __setstate__(self, state: Any) -> None:
        """Take the order of bytes: ``(version, order, ...)``."""
        if state[1] not in ORDERS:
            raise pickle.UnpicklingError('an array has an unknown order of bytes')
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array, which gets its numbers as a state."""

    numbers: NDArray

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Take ``(version, shape, type, column by column, bytes)``."""
        _, shape, dtype, fortran, data = state
        flat = _numbers(dtype, data)
        self.numbers = flat.reshape(tuple(shape), order='F' if fortran else 'C')


class _Scalar:
    """Makes a Python number of a NumPy one; without attributes, as all that a pickle can reach."""

    __slots__ = ()

    def __call__(self, dtype: Any, data: Any) -> Any:
        """As ``numpy.core.multiarray.scalar``."""
        return _numbers(dtype, data).reshape(()).item()


class _Encode:
    """Bytes that pickle wrote as a text."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        """As ``_codecs.encode`` for the one encoding that pickle uses."""
        if encoding != 'latin1':
            raise pickle.UnpicklingError('bytes are stored in an unknown way')
        return str(text).encode('latin1')


class _Statistic:
    """Stands for the methods that a history lists; nothing is looked up."""

    __slots__ = ()

    def __call__(self, owner: Any, name: Any) -> None:
        """As ``getattr`` of the class of histories, without its result."""
        if not (isinstance(owner, type) and issubclass(owner, _History)):
            raise pickle.UnpicklingError(f'it asks for the attribute {name} of another object')


def _numbers(dtype: Any, data: Any) -> NDArray:
    """Bytes as a flat array of this machine's order of bytes."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError('an array is stored in an unknown way')
    numbers = np.frombuffer(data, dtype.dtype)
    return numbers.astype(dtype.dtype.newbyteorder('='))


def _known() -> dict[tuple[str, str], Callable[[], Any]]:
    """What makes a fresh stand-in of each type, so that no pickle can change one for the next."""
    known: dict[tuple[str, str], Callable[[], Any]] = {
        HISTORY: lambda: type('History', (_History,), {}),
        ('numpy', 'dtype'): lambda: type('Dtype', (_Dtype,), {}),
        ('numpy', 'ndarray'): lambda: type('Array', (_Array,), {}),
        ('_codecs', 'encode'): _Encode,
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        known[module, 'scalar'] = _Scalar
        known[module, '_reconstruct'] = lambda: type('Array', (_Array,), {})
    return known | {(module, 'getattr'): _Statistic for module in ('builtins', '__builtin__')}


class PlainUnpickler(RestrictedUnpickler):
    """Unpickler that knows log histories, arrays and NumPy numbers beside tensors."""

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in made here; types that are not known are reported."""
        make = _known().get((module, name))
        return super().find_class(module, name) if make is None else make()


def _plain(value: Any, read: Callable[[StoredTensor], torch.Tensor]) -> Any:
    """The content with tensors read and stand-ins replaced by plain data."""
    if isinstance(value, StoredTensor):
        return read(value)
    if isinstance(value, _Array):
        return torch.from_numpy(value.numbers.copy())
    if isinstance(value, _History):
        return _plain_history(value)
    if isinstance(value, Mapping):
        plain = OrderedDict((key, _plain(item, read)) for key, item in value.items())
        if hasattr(value, '_metadata'):
            plain._metadata = value._metadata  # type: ignore[attr-defined]
        return plain if isinstance(value, OrderedDict) else dict(plain)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, read) for item in value)
    if value is None or isinstance(value, PLAIN):
        return value
    raise pickle.UnpicklingError(f'it holds a {type(value).__name__} where data belongs')


def _plain_history(history: _History) -> dict[str, Any]:
    """As ``history_to_plain`` of the engine writes it."""
    series = [history.state[name] for name in ('_log_history', '_count_history')]
    if not all(isinstance(one, _Array) for one in series):
        raise pickle.UnpicklingError('a log history is stored in an unknown way')
    values, counts = (torch.from_numpy(one.numbers.astype(np.float64)) for one in series)
    return dict(values=values, counts=counts, max_length=int(history.state['max_length']))
