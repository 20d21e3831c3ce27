"""An unpickler for checkpoints that does not run their content."""

import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

# Never in a file of torch.save: buffers that are reserved unread, and types by number.
REFUSED = {'BYTEARRAY8', 'NEXT_BUFFER', 'READONLY_BUFFER', 'EXT1', 'EXT2', 'EXT4'}
PUTS = {'PUT', 'BINPUT', 'LONG_BINPUT'}
NAMES, MAX_NAME = {'GLOBAL', 'INST'}, 500
"""Characters of a type's module and name: torch searches in its own message about longer ones, in
time that grows with their square."""

Plain: TypeAlias = 'str | int | float | list[Plain] | dict[str, Plain] | None'
"""TypeAlias: Data without objects, as JSON has it."""


class BoundedStream:
    """A stream that refuses to read more bytes than it has.

    Args:
        stream (IO[bytes]): Seekable.
        size (int): Its length in bytes.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.size = size

    def read(self, count: int = -1) -> bytes:
        """Read as from a file.

        Raises:
            UnpicklingError: If there are fewer bytes.
        """
        if count > self.size - self.stream.tell():
            raise pickle.UnpicklingError('it is torn (it ends too early)')
        return self.stream.read(count)

    def readline(self) -> bytes:
        """Read a line as from a file."""
        return self.stream.readline()

    def tell(self) -> int:
        """Return the position as of a file."""
        return self.stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position as in a file."""
        return self.stream.seek(offset, whence)


def check_pickle(stream: BoundedStream, *, return_to_start: bool = True) -> None:
    """Inspect the pickle that begins at the stream's position.

    Args:
        stream (BoundedStream): Its position is in front of the pickle.
        return_to_start (bool): Whether to return to that position rather than stay behind the
            pickle. Defaults to True.

    Raises:
        UnpicklingError: If it holds an operation that no file of ``torch.save`` has.
        ValueError: If it is no pickle.
    """
    start = stream.tell()
    readable = cast(IO[bytes], stream)  # pickletools calls read, readline and tell only
    for count, (opcode, argument, _) in enumerate(pickletools.genops(readable)):
        # Objects are remembered under running numbers; another one would reserve a table for it.
        runs_ahead = opcode.name in PUTS and int(argument or 0) > count
        if opcode.name in REFUSED or runs_ahead:
            raise pickle.UnpicklingError('its pickle is not one of torch.save')
        if opcode.name in NAMES and len(str(argument)) > MAX_NAME:
            raise pickle.UnpicklingError(f'it names a type by {len(str(argument)):,} characters')
    if return_to_start:
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
    """Stand for an object of a type that is not loaded: accept any content, store none."""

    def __new__(cls, *args: object, **kwargs: object) -> 'Placeholder':
        """Make an empty object and ignore the arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Drop the state."""

    def __setitem__(self, key: object, value: object) -> None:
        """Drop an item of a dict."""

    def append(self, item: object) -> None:
        """Drop an item of a list."""

    extend = append
    add = append


class SettingsObject(Placeholder):
    """Stand for a settings object: store its items and its state as data, and do nothing."""

    def __new__(cls, *args: object, **kwargs: object) -> 'SettingsObject':
        """Make an object that is empty, and complete even if the pickle calls no constructor."""
        instance = cast(SettingsObject, super().__new__(cls))  # of `cls`, which derives from it
        instance.__dict__.update(items={}, elements=[], state=None)
        return instance

    def __setstate__(self, state: object) -> None:
        """Store the state."""
        self.__dict__['state'] = state

    def __setitem__(self, key: object, value: object) -> None:
        """Store an item."""
        self.__dict__['items'][key] = value

    def append(self, item: object) -> None:
        """Store an element."""
        self.__dict__['elements'].append(item)

    def extend(self, items: Iterable[object]) -> None:  # type: ignore[override]  # a list's
        """Store several elements."""
        self.__dict__['elements'].extend(items)


# Libraries of settings: argparse's Namespace, omegaconf's nodes, yacs's and mmcv's dicts.
SETTINGS_LIBRARIES = ('addict', 'argparse', 'mmcv', 'mmengine', 'omegaconf', 'yacs')
MAX_SETTINGS = 50_000  # a pickle of a few bytes can mean more values than there are atoms


def as_plain(value: object) -> Plain:
    """Convert settings of any library to dicts, lists, numbers and texts; None for the rest.

    Args:
        value (object): As the unpickler made it.

    Returns:
        Plain: None for settings that contain themselves or are nested too deep; the beginning of
        settings that are too many.
    """
    try:
        return _as_plain(value, iter(range(MAX_SETTINGS)))
    except RecursionError:
        return None


def _as_plain(value: object, places: Iterator[int]) -> Plain:
    """Convert settings while there are places for values."""
    is_full = next(places, None) is None
    if is_full or value is None or isinstance(value, str | int | float):
        return value if isinstance(value, str | int | float) else None
    if isinstance(value, Mapping):
        return {str(key): _as_plain(part, places) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(part, places) for part in value]
    if not isinstance(value, SettingsObject):
        return None
    content = vars(value)
    state = content['state'] if isinstance(content['state'], Mapping) else {}
    for entry in ('_val', '_content', '_cfg_dict'):  # of omegaconf's nodes, of mmcv's Config
        if entry in state:
            return _as_plain(state[entry], places)
    return _as_plain(content['elements'] or {**state, **content['items']}, places)


class Storage(NamedTuple):
    """The place of numbers in the file: their type, their key and their count."""

    dtype: torch.dtype
    key: str
    size: int


class StoredTensor(NamedTuple):
    """A tensor whose numbers are still in the file."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def take(self, numbers: Tensor) -> Tensor:
        """Make the tensor from the numbers of its storage.

        Raises:
            UnpicklingError: If it reaches beyond the numbers, or repeats them.
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

    def __call__(
        self,
        storage: object,
        offset: int,
        shape: Iterable[int],
        stride: Iterable[int],
        *_: object,
    ) -> StoredTensor:
        """Do as ``torch._utils._rebuild_tensor_v2``."""
        if not isinstance(storage, Storage):
            raise pickle.UnpicklingError('a tensor has no storage')
        return StoredTensor(storage, offset, tuple(shape), tuple(stride))


class _Parameter:
    """The tensor of a parameter, as ``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, data: object, *_: object) -> object:
        """Return ``data`` as it is."""
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
        """Return a harmless substitute for every type that is not known to be harmless."""
        known: dict[tuple[str, str], Callable[[], object]] = {
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
        return type(name, (SettingsObject if is_settings else Placeholder,), {})

    def persistent_load(self, reference: object) -> Storage:
        """Return the place of a tensor's numbers."""
        if not isinstance(reference, tuple):
            raise pickle.UnpicklingError('a tensor is stored in an unknown way')
        if len(reference) < 5:
            raise pickle.UnpicklingError('a whole module was pickled instead of its state dict')
        kind, dtype, key, _, size, *view = reference
        known = kind == 'storage' and isinstance(dtype, torch.dtype) and isinstance(size, int)
        if not known or any(part is not None for part in view):
            raise pickle.UnpicklingError('a tensor is stored in an unknown way')
        return Storage(dtype, str(key), size)
