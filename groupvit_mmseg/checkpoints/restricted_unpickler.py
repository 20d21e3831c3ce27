"""Pickled checkpoints read without running anything that they contain."""

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

# Never in a file of torch.save: buffers that are reserved unread, and types by number.
REFUSED = {'BYTEARRAY8', 'NEXT_BUFFER', 'READONLY_BUFFER', 'EXT1', 'EXT2', 'EXT4'}
PUTS = {'PUT', 'BINPUT', 'LONG_BINPUT'}


class BoundedStream:
    """A stream of which nobody can ask for more than there is.

    Args:
        stream (IO[bytes]): Seekable.
        size (int): Its length in bytes.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.size = size

    def read(self, count: int = -1) -> bytes:
        """As of a file.

        Raises:
            UnpicklingError: If there are not so many bytes.
        """
        if count > self.size - self.stream.tell():
            raise pickle.UnpicklingError('it is torn (it ends too early)')
        return self.stream.read(count)

    def readline(self) -> bytes:
        """As of a file."""
        return self.stream.readline()

    def tell(self) -> int:
        """As of a file."""
        return self.stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        return self.stream.seek(offset, whence)


def check_pickle(stream: BoundedStream) -> None:
    """Look through the pickle that begins here, and return to its start.

    Raises:
        UnpicklingError: If it holds what no file of ``torch.save`` does.
        ValueError: If it is no pickle.
    """
    start = stream.tell()
    readable: Any = stream
    for count, (opcode, argument, _) in enumerate(pickletools.genops(readable)):
        # Objects are remembered under running numbers; another one would reserve a table for it.
        runs_ahead = opcode.name in PUTS and int(argument or 0) > count
        if opcode.name in REFUSED or runs_ahead:
            raise pickle.UnpicklingError('its pickle is not one of torch.save')
    stream.seek(start)


STORAGE_TYPES = {
    'DoubleStorage': torch.float64,
    'FloatStorage': torch.float32,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class Placeholder:
    """Stand for an object of a type that is not loaded: take anything, keep nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Placeholder':
        """An empty object, whatever it would have been made of."""
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Drop the state."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Drop an item of what would have been a dict."""

    def append(self, item: Any) -> None:
        """Drop an item of what would have been a list."""

    extend = append
    add = append


class Kept(Placeholder):
    """Stands for a settings object: keeps its items and its state as data, and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Empty, and complete even where the pickle calls no constructor."""
        made = super().__new__(cls)
        made.__dict__.update(items={}, elements=[], state=None)
        return made

    def __setstate__(self, state: Any) -> None:
        """Keep the state."""
        self.__dict__['state'] = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep an item."""
        self.__dict__['items'][key] = value

    def append(self, item: Any) -> None:
        """Keep an element."""
        self.__dict__['elements'].append(item)

    def extend(self, items: Any) -> None:
        """Keep several elements."""
        self.__dict__['elements'].extend(items)


# Of which libraries: argparse's Namespace, omegaconf's nodes, yacs's and mmcv's dicts.
SETTINGS_LIBRARIES = ('addict', 'argparse', 'mmcv', 'mmengine', 'omegaconf', 'yacs')
MAX_SETTINGS = 50_000  # a pickle of a few bytes can mean more values than there are atoms


def as_plain(value: Any) -> Any:
    """The dicts, lists, numbers and texts in settings of any library; None for the rest.

    Args:
        value (Any): As the unpickler made it. Of settings that contain themselves, that are nested
            too deep, or too many, nothing or only the beginning comes back.
    """
    try:
        return _as_plain(value, iter(range(MAX_SETTINGS)))
    except RecursionError:
        return None


def _as_plain(value: Any, places: Iterator[int]) -> Any:
    """The same, as long as there are places for values."""
    if next(places, None) is None or value is None or isinstance(value, str | int | float):
        return value if isinstance(value, str | int | float) else None
    if isinstance(value, Mapping):
        return {str(key): _as_plain(part, places) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(part, places) for part in value]
    if not isinstance(value, Kept):
        return None
    kept = vars(value)
    state = kept['state'] if isinstance(kept['state'], Mapping) else {}
    for content in ('_val', '_content', '_cfg_dict'):  # of omegaconf's nodes, of mmcv's Config
        if content in state:
            return _as_plain(state[content], places)
    return _as_plain(kept['elements'] or {**state, **kept['items']}, places)


class Storage(NamedTuple):
    """Where numbers lie in the file: their type, their key and how many there are."""

    dtype: torch.dtype
    key: str
    size: int


class StoredTensor(NamedTuple):
    """A tensor that is still in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def take(self, numbers: Tensor) -> Tensor:
        """The tensor, once its storage's numbers are read.

        Raises:
            UnpicklingError: If it would reach beyond the numbers, or repeat them.
        """
        sizes = (*self.shape, *self.stride, self.offset)
        if not all(isinstance(n, int) and n >= 0 for n in sizes) or len(self.shape) != len(
            self.stride
        ):
            raise pickle.UnpicklingError('a tensor has an impossible shape')
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in steps)
        count = torch.Size(self.shape).numel()
        if count and (last >= len(numbers) or count > len(numbers)):
            raise pickle.UnpicklingError('a tensor reaches beyond its numbers')
        return numbers.as_strided(self.shape, self.stride, self.offset).clone()


class _Rebuild:
    """Makes a :class:`StoredTensor`; without attributes, so that a pickle cannot change it."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: int, shape: Any, stride: Any, *_: Any) -> StoredTensor:
        """As ``torch._utils._rebuild_tensor_v2``."""
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError('a tensor has no storage')
        return StoredTensor(storage, offset, tuple(shape), tuple(stride))


class _Parameter:
    """The tensor of a parameter, as ``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, data: Any, *_: Any) -> Any:
        """``data`` as it is."""
        return data


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that finds nothing but tensors and ordered dicts.

    Args:
        stream (BoundedStream): The pickle; it is checked first.
        skipped (set[str]): Collects the names of the types that became :class:`Placeholder`.
    """

    def __init__(self, stream: BoundedStream, skipped: set[str]) -> None:
        check_pickle(stream)
        super().__init__(stream, encoding='utf-8')
        self.skipped = skipped

    def find_class(self, module: str, name: str) -> Any:
        """A harmless stand-in of everything that is not known to be harmless."""
        known: dict[tuple[str, str], Callable[[], Any]] = {
            ('collections', 'OrderedDict'): lambda: OrderedDict,
            ('torch._utils', '_rebuild_tensor_v2'): _Rebuild,
            ('torch._utils', '_rebuild_parameter'): _Parameter,
        }
        if (module, name) in known:
            return known[module, name]()
        if module in ('torch', 'torch.storage') and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        self.skipped.add(f'{module}.{name}')
        is_settings = module.partition('.')[0] in SETTINGS_LIBRARIES
        return type(name, (Kept if is_settings else Placeholder,), {})

    def persistent_load(self, reference: Any) -> Storage:
        """The place of a tensor's numbers."""
        if len(reference) < 5:
            raise pickle.UnpicklingError('a whole module was pickled instead of its state dict')
        kind, dtype, key, _, size, *view = reference
        known = kind == 'storage' and isinstance(dtype, torch.dtype) and isinstance(size, int)
        if not known or any(part is not None for part in view):
            raise pickle.UnpicklingError('a tensor is stored in an unknown way')
        return Storage(dtype, str(key), size)
