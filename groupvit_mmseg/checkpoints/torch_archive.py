"""Files of ``torch.save``, in the zip and the legacy format, read without running them."""

import contextlib
import errno
import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.checkpoints.restricted_unpickler import (
    BoundedStream,
    RestrictedUnpickler,
    Storage,
    StoredTensor,
    check_pickle,
)

# Legacy files of torch.save begin with these two numbers.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
_LEGACY_PICKLES = 5  # the two numbers, the types, the content, the keys


class RestrictedFile(NamedTuple):
    """A pickled checkpoint.

    Attributes:
        content (Any): The pickled object, tensors as :class:`StoredTensor`.
        skipped (tuple[str, ...]): Names of the types that were not loaded.
        read (Callable[[StoredTensor], Tensor]): Reads a tensor.
    """

    content: Any
    skipped: tuple[str, ...]
    read: Callable[[StoredTensor], Tensor]


def open_restricted(
    path: Path, *, unpickler: type[RestrictedUnpickler] = RestrictedUnpickler
) -> RestrictedFile:
    """Read a file of ``torch.save``, in the zip or the legacy format.

    Args:
        path (Path): The file.
        unpickler (type[RestrictedUnpickler]): Used for the zip format; may know more types.
            Defaults to RestrictedUnpickler.

    Raises:
        UnpicklingError: If it has neither format, is torn, or claims to hold more than it does.
    """
    with refusing():
        return _open_zip(path, unpickler) if is_zip(path) else _open_legacy(path)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Turn the errors that a torn or crafted file causes in pickle and zipfile into one type."""
    try:
        yield
    except pickle.UnpicklingError:
        raise
    except OSError as error:
        if error.errno != errno.EINVAL:  # an impossible offset; other errors are not the file's
            raise
        raise pickle.UnpicklingError(f'it is torn ({error})') from error
    except (
        *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError),
        *(ValueError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise pickle.UnpicklingError(f'it is torn ({error})') from error


def is_zip(path: Path) -> bool:
    """Return whether the file begins as a zip archive, by PyTorch's rule."""
    with path.open('rb') as stream:
        return stream.read(4) == b'PK\x03\x04'


def check_archive(path: Path) -> None:
    """Refuse a file of ``torch.save`` that claims to hold more than it does.

    A zip archive may not unpack to more than the file, and a pickle may not have a text that is
    longer than its rest: ``torch.load`` allocates the claimed length.

    Raises:
        UnpicklingError: For such a bomb, or a torn file.
    """
    if not is_zip(path):
        with refusing(), path.open('rb') as file:
            stream = BoundedStream(file, path.stat().st_size)
            for _ in range(_LEGACY_PICKLES):
                check_pickle(stream, return_to_start=False)
        return
    with refusing(), zipfile.ZipFile(path) as archive:
        entries, size = archive.infolist(), path.stat().st_size
        # Of several archives in a row, torch may read another one's directory than zipfile does.
        if min((entry.header_offset for entry in entries), default=0):
            raise pickle.UnpicklingError('its zip archive does not begin where the file does')
        unpacked = sum(max(entry.file_size, entry.compress_size) for entry in entries)
        if unpacked > size:
            raise pickle.UnpicklingError(
                f'it would unpack from {size} to {unpacked} bytes, which torch.save never writes'
            )
        for entry in entries:
            if entry.filename.endswith('/data.pkl'):
                stream = BoundedStream(io.BytesIO(archive.read(entry)), entry.file_size)
                check_pickle(stream, return_to_start=False)


def _open_zip(path: Path, unpickler: type[RestrictedUnpickler]) -> RestrictedFile:
    """Open a zip file of ``torch.save``: a pickle and one entry per storage, uncompressed."""
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
        data = archive.read(pickled)
        content = unpickler(BoundedStream(io.BytesIO(data), len(data)), skipped).load()

    @cache  # one reading of the directory for all tensors
    def numbers() -> zipfile.ZipFile:
        return zipfile.ZipFile(path)

    def read(tensor: StoredTensor) -> Tensor:
        data = numbers().read(f'{root}data/{tensor.storage.key}')
        return tensor.take(_numbers(data, tensor.storage))

    return RestrictedFile(content, tuple(sorted(skipped)), _checked(read))


def _open_legacy(path: Path) -> RestrictedFile:
    """Open a legacy file of ``torch.save``: pickles one after another, then the storages."""
    skipped: set[str] = set()
    with path.open('rb') as file:
        stream = BoundedStream(file, path.stat().st_size)
        header = [RestrictedUnpickler(stream, skipped).load() for _ in range(3)]
        if header[:2] != [LEGACY_MAGIC, LEGACY_VERSION]:
            raise pickle.UnpicklingError('torch.save did not write it')
        unpickler = _SizingUnpickler(stream, skipped)
        content = unpickler.load()
        keys = RestrictedUnpickler(stream, skipped).load()
        places = _legacy_places(stream, [str(key) for key in keys], unpickler.storages)

    def read(tensor: StoredTensor) -> Tensor:
        with path.open('rb') as stream:
            stream.seek(places[tensor.storage.key])
            data = stream.read(tensor.storage.size * tensor.storage.dtype.itemsize)
        return tensor.take(_numbers(data, tensor.storage))

    return RestrictedFile(content, tuple(sorted(skipped)), _checked(read))


class _SizingUnpickler(RestrictedUnpickler):
    """Records every storage: the sizes in bytes determine the offsets in a legacy file."""

    def __init__(self, stream: BoundedStream, skipped: set[str]) -> None:
        super().__init__(stream, skipped)
        self.storages: dict[str, Storage] = {}

    def persistent_load(self, reference: object) -> Storage:
        """Return the place of a tensor's numbers, and record it."""
        storage = super().persistent_load(reference)
        return self.storages.setdefault(storage.key, storage)


def _legacy_places(
    stream: BoundedStream, keys: list[str], storages: dict[str, Storage]
) -> dict[str, int]:
    """Return the offset of each storage's numbers, which follow their count in 8 bytes."""
    places = {}
    for key in keys:
        (count,) = struct.unpack('<q', stream.read(8))
        storage = storages[key]
        if count != storage.size:
            raise pickle.UnpicklingError(f'storage {key} has {count} numbers, not {storage.size}')
        places[key] = stream.tell()
        stream.seek(count * storage.dtype.itemsize, 1)
    if stream.tell() > stream.size:
        raise pickle.UnpicklingError('it is torn (it ends too early)')
    return places


def _numbers(data: bytes, storage: Storage) -> Tensor:
    """Return a storage's bytes as a flat tensor."""
    if len(data) < storage.size * storage.dtype.itemsize:
        raise pickle.UnpicklingError('it is torn (numbers are missing)')
    if not storage.size:
        return torch.empty(0, dtype=storage.dtype)
    return torch.frombuffer(bytearray(data), dtype=storage.dtype, count=storage.size)


def _checked(read: Callable[[StoredTensor], Tensor]) -> Callable[[StoredTensor], Tensor]:
    """Return ``read`` with one type of error."""

    def checked(tensor: StoredTensor) -> Tensor:
        with refusing():
            return read(tensor)

    return checked
