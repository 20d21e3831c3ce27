"""Checkpoints of mmengine's own runner, read as plain data without running their content.

Beside tensors they hold log histories, NumPy arrays and NumPy numbers. These few types are rebuilt
here from their bytes by code of this module; the classes that a file names are never looked up.
"""

import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.checkpoints.restricted_unpickler import (
    BoundedStream,
    RestrictedUnpickler,
    StoredTensor,
)
from groupvit_mmseg.checkpoints.torch_archive import RestrictedFile, open_restricted

HISTORY = ('mmengine.logging.history_buffer', 'HistoryBuffer')
HISTORY_ENTRIES = ('_log_history', '_count_history', 'max_length')
NUMBERS = 'biufc'
"""str: Kinds of NumPy's types that are read: truth values and numbers."""
ORDERS: tuple[Literal['<', '>', '=', '|'], ...] = ('<', '>', '=', '|')
PLAIN = (bool, int, float, complex, str, bytes)


class PlainHistory(TypedDict):
    """A log history as the plugin's own checkpoints have it."""

    values: Tensor
    counts: Tensor
    max_length: int


def read_plain(path: Path, *, map_location: str | torch.device = 'cpu') -> object:
    """Read a file of ``torch.save`` that holds tensors, plain values, histories and NumPy numbers.

    Args:
        path (Path): The file.
        map_location (str | torch.device): Device of the tensors. Defaults to 'cpu'.

    Returns:
        object: The content as the plugin's own checkpoints have it: log histories as dicts of
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

    def read(tensor: StoredTensor) -> Tensor:
        return file.read(tensor).to(map_location)

    return _plain(file.content, read)


def read_pickle(path: Path) -> object:
    """Read a plain pickle of dicts, lists, texts, numbers and NumPy arrays of numbers.

    Args:
        path (Path): The file; protocol 4 or lower, as ``pickle.dump`` wrote until Python 3.13.

    Returns:
        object: The content; arrays as tensors.

    Raises:
        UnpicklingError: If it is no pickle, or holds objects of any other type.

    Example:
        >>> with open('index.pkl', 'wb') as stream:
        ...     pickle.dump({'names': ['cat'], 'counts': np.array([[3]])}, stream, protocol=4)
        >>> read_pickle(Path('index.pkl'))
        {'names': ['cat'], 'counts': tensor([[3]])}
    """

    def refuse(tensor: StoredTensor) -> Tensor:
        raise pickle.UnpicklingError('it holds a tensor')

    skipped: set[str] = set()
    with path.open('rb') as stream:
        bounded = BoundedStream(stream, path.stat().st_size)
        try:
            content = PlainUnpickler(bounded, skipped).load()
        # Damaged pickles raise many types.
        except Exception as error:
            raise pickle.UnpicklingError(f'{path} is no pickle of data ({error})') from error
    if skipped:
        raise pickle.UnpicklingError(
            f'{path} holds objects of {", ".join(sorted(skipped))}, which are no plain data'
        )
    return _plain(content, refuse)


def open_plain(path: Path) -> RestrictedFile:
    """Open such a file: its content, tensors still in the file, and the types left out."""
    return open_restricted(path, unpickler=PlainUnpickler)


class _History:
    """The content of mmengine's ``HistoryBuffer``."""

    state: Mapping[str, object]

    def __setstate__(self, state: object) -> None:
        """Store the three entries that are data."""
        if not isinstance(state, Mapping) or not all(name in state for name in HISTORY_ENTRIES):
            raise pickle.UnpicklingError('a log history is incomplete')
        self.state = {name: state[name] for name in HISTORY_ENTRIES}


class _Dtype:
    """A NumPy type of numbers, with their byte order."""

    def __init__(self, code: object, *_: object) -> None:
        dtype = np.dtype(str(code))
        if dtype.kind not in NUMBERS:
            raise pickle.UnpicklingError(f'an array of the NumPy type {code} is not of numbers')
        self.dtype = dtype

    def __setstate__(self, state: tuple[int, str]) -> None:
        """Set the byte order: ``(version, order, ...)``."""
        order = next((order for order in ORDERS if order == state[1]), None)
        if order is None:
            raise pickle.UnpicklingError('an array has an unknown order of bytes')
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """An array, whose numbers follow as its state."""

    numbers: NDArray

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], object, bool, object]) -> None:
        """Read ``(version, shape, type, column by column, bytes)``."""
        _, shape, dtype, fortran, data = state
        flat = _numbers(dtype, data)
        self.numbers = flat.reshape(tuple(shape), order='F' if fortran else 'C')


class _Scalar:
    """Makes a Python number from NumPy's; without attributes, so that a pickle cannot change it."""

    __slots__ = ()

    def __call__(self, dtype: object, data: object) -> object:
        """Do as ``numpy.core.multiarray.scalar``."""
        return _numbers(dtype, data).reshape(()).item()


class _Encode:
    """Makes bytes that pickle wrote as a text."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        """Do as ``_codecs.encode`` for the one encoding that pickle uses."""
        if encoding != 'latin1':
            raise pickle.UnpicklingError('bytes are stored in an unknown way')
        return str(text).encode('latin1')


class _Statistic:
    """Stands for the methods that a history lists; nothing is looked up."""

    __slots__ = ()

    def __call__(self, owner: object, name: object) -> None:
        """Accept ``getattr`` of the class of histories, without its result."""
        if not (isinstance(owner, type) and issubclass(owner, _History)):
            raise pickle.UnpicklingError(f'it asks for the attribute {name} of another object')


def _numbers(dtype: object, data: object) -> NDArray:
    """Return bytes as a flat array in this machine's byte order."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
        raise pickle.UnpicklingError('an array is stored in an unknown way')
    numbers = np.frombuffer(data, dtype.dtype)
    return numbers.astype(dtype.dtype.newbyteorder('='))


def _known() -> dict[tuple[str, str], Callable[[], object]]:
    """Return makers of a fresh substitute for each type: no pickle can change the next one's."""
    known: dict[tuple[str, str], Callable[[], object]] = {
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
        """Return a substitute made here; types that are not known are recorded as skipped."""
        make = _known().get((module, name))
        return super().find_class(module, name) if make is None else make()


def _plain(value: object, read: Callable[[StoredTensor], Tensor]) -> object:
    """Return the content with tensors read and substitutes replaced by plain data."""
    if isinstance(value, StoredTensor):
        return read(value)
    if isinstance(value, _Array):
        return torch.from_numpy(value.numbers.copy())
    if isinstance(value, _History):
        return _plain_history(value)
    if isinstance(value, Mapping):
        plain = OrderedDict((key, _plain(item, read)) for key, item in value.items())
        if hasattr(value, '_metadata'):
            plain._metadata = value._metadata  # type: ignore[attr-defined]  # as torch does
        return plain if isinstance(value, OrderedDict) else dict(plain)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, read) for item in value)
    if value is None or isinstance(value, PLAIN):
        return value
    raise pickle.UnpicklingError(f'it holds a {type(value).__name__} where data belongs')


def _plain_history(history: _History) -> PlainHistory:
    """Convert a history as ``history_to_plain`` of the engine does."""
    values, counts, max_length = (history.state[name] for name in HISTORY_ENTRIES)
    if not isinstance(values, _Array) or not isinstance(counts, _Array):
        raise pickle.UnpicklingError('a log history is stored in an unknown way')
    if not isinstance(max_length, int | float):
        raise pickle.UnpicklingError('a log history is stored in an unknown way')
    return PlainHistory(
        values=torch.from_numpy(values.numbers.astype(np.float64)),
        counts=torch.from_numpy(counts.numbers.astype(np.float64)),
        max_length=int(max_length),
    )
