"""Pickled checkpoints read without running anything that they contain.

Only dicts, lists, numbers, texts and tensors come to life; whatever else a file refers to becomes
an :class:`Inert` object that keeps nothing and does nothing, and its name is reported. Tensors are
read from the file when they are asked for, so an optimiser's state costs no memory.
"""

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

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
# What torch.save wrote before it wrote zip files: these two numbers, then the content.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001


class Inert:
    """Stands for an object of a type that is not brought to life: takes anything, keeps nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Inert':
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


class InertUnpickler(pickle.Unpickler):
    """Unpickler that finds nothing but tensors and ordered dicts.

    Args:
        stream (IO[bytes]): The pickle.
        skipped (set[str]): Collects the names of the types that became :class:`Inert`.
    """

    def __init__(self, stream: IO[bytes], skipped: set[str]) -> None:
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
        return type('Inert', (Inert,), {})

    def persistent_load(self, reference: Any) -> Storage:
        """The place of a tensor's numbers."""
        kind, dtype, key, _, size, *view = reference
        known = kind == 'storage' and isinstance(dtype, torch.dtype) and isinstance(size, int)
        if not known or any(part is not None for part in view):
            raise pickle.UnpicklingError('a tensor is stored in an unknown way')
        return Storage(dtype, str(key), size)


class InertFile(NamedTuple):
    """A pickled checkpoint.

    Attributes:
        content (Any): What was pickled, tensors as :class:`StoredTensor`.
        skipped (tuple[str, ...]): Names of the types that were not brought to life.
        read (Callable[[StoredTensor], Tensor]): Reads a tensor.
    """

    content: Any
    skipped: tuple[str, ...]
    read: Callable[[StoredTensor], Tensor]


def open_inert(path: Path) -> InertFile:
    """Read a file of ``torch.save``, in the zip format or the one before.

    Args:
        path (Path): The file.

    Raises:
        UnpicklingError: If it is neither, torn, or asks for more than it holds.
    """
    try:
        return _open_zip(path) if is_zip(path) else _open_legacy(path)
    except pickle.UnpicklingError:
        raise
    except (
        *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError),
        *(ValueError, RuntimeError, struct.error, zipfile.BadZipFile),
    ) as error:  # what Python's unpickler and zipfile raise for a torn or crafted file
        raise pickle.UnpicklingError(f'it is torn ({error})') from error


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip archive, as PyTorch tells."""
    with path.open('rb') as stream:
        return stream.read(4) == b'PK\x03\x04'


def check_archive(path: Path) -> None:
    """Refuse a zip archive that unpacks to more than the file itself holds.

    Raises:
        UnpicklingError: For such a zip bomb, or a torn archive.
    """
    if not is_zip(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError) as error:
        raise pickle.UnpicklingError(f'it is torn ({error})') from error
    size = path.stat().st_size
    if unpacked > size:
        raise pickle.UnpicklingError(
            f'it would unpack from {size} to {unpacked} bytes, which torch.save never writes'
        )


def _open_zip(path: Path) -> InertFile:
    """A file of today's ``torch.save``: a pickle and one entry per storage, uncompressed."""
    check_archive(path)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (pickled,) = [name for name in names if name.endswith('/data.pkl')] or ['']
        root = pickled.removesuffix('data.pkl')
        if not pickled or f'{root}constants.pkl' in names:
            raise pickle.UnpicklingError('it is a zip archive, but not one of torch.save')
        if f'{root}byteorder' in names and archive.read(f'{root}byteorder') != b'little':
            raise pickle.UnpicklingError('its numbers are big-endian')
        skipped: set[str] = set()
        with archive.open(pickled) as stream:
            content = InertUnpickler(stream, skipped).load()

    def read(tensor: StoredTensor) -> Tensor:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(f'{root}data/{tensor.storage.key}')
        return tensor.take(_numbers(data, tensor.storage))

    return InertFile(content, tuple(sorted(skipped)), _checked(read))


def _open_legacy(path: Path) -> InertFile:
    """A file of ``torch.save`` before zip: pickles one after another, then the storages."""
    skipped: set[str] = set()
    with path.open('rb') as stream:
        header = [InertUnpickler(stream, skipped).load() for _ in range(3)]
        if header[:2] != [LEGACY_MAGIC, LEGACY_VERSION]:
            raise pickle.UnpicklingError('torch.save did not write it')
        unpickler = _SizingUnpickler(stream, skipped)
        content = unpickler.load()
        keys = InertUnpickler(stream, skipped).load()
        places = _legacy_places(stream, [str(key) for key in keys], unpickler.storages)

    def read(tensor: StoredTensor) -> Tensor:
        with path.open('rb') as stream:
            stream.seek(places[tensor.storage.key])
            data = stream.read(tensor.storage.size * tensor.storage.dtype.itemsize)
        return tensor.take(_numbers(data, tensor.storage))

    return InertFile(content, tuple(sorted(skipped)), _checked(read))


class _SizingUnpickler(InertUnpickler):
    """Remembers every storage: their sizes in bytes tell where they lie in a legacy file."""

    def __init__(self, stream: IO[bytes], skipped: set[str]) -> None:
        super().__init__(stream, skipped)
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, reference: Any) -> Storage:
        """The place of a tensor's numbers, remembered."""
        storage = super().persistent_load(reference)
        return self.storages.setdefault(storage.key, storage)


def _legacy_places(
    stream: IO[bytes], keys: list[str], storages: dict[str, Storage]
) -> dict[str, int]:
    """Offset of each storage's numbers; each is preceded by their count in 8 bytes."""
    places = {}
    for key in keys:
        (count,) = struct.unpack('<q', stream.read(8))
        storage = storages[key]
        if count != storage.size:
            raise pickle.UnpicklingError(f'storage {key} has {count} numbers, not {storage.size}')
        places[key] = stream.tell()
        stream.seek(count * storage.dtype.itemsize, 1)
    return places


def _numbers(data: bytes, storage: Storage) -> Tensor:
    """A storage's bytes as a flat tensor."""
    if len(data) < storage.size * storage.dtype.itemsize:
        raise pickle.UnpicklingError('it is torn (numbers are missing)')
    if not storage.size:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(data), dtype=storage.dtype, count=storage.size)


def _checked(read: Callable[[StoredTensor], Tensor]) -> Callable[[StoredTensor], Tensor]:
    """``read`` with one kind of error."""

    def checked(tensor: StoredTensor) -> Tensor:
        try:
            return read(tensor)
        except (LookupError, OverflowError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            raise pickle.UnpicklingError(f'it is torn ({error})') from error

    return checked
