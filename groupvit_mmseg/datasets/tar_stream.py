"""Opens tars, compressed or not, so that a crafted one takes neither much memory nor forever.

``tarfile`` trusts what a tar says about itself: it decompresses a block of 10 kB at once, which can
be gigabytes of bzip2, reads names and records of any length, goes backwards for negative sizes, and
fills holes of sparse files with zeros.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self
    from webdataset.gopen import Pipe

MAX_HEADER_BYTES = 2**20
"""int: Length of a member's name or of its extended header; those of real tars are below 1 kB."""
MAX_DICTIONARY_BYTES = 2**28
"""int: Memory that an xz file may ask for; ``xz -9`` needs 65 MiB."""
_LENGTHS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_IMPOSSIBLE_SIZE = 2**60
_CHUNK = 2**14
_READS_AT_END = 8  # a whole tar without an end mark takes two


class StrictTarInfo(tarfile.TarInfo):
    """Headers that raise an error if broken; ``tarfile`` takes a broken one for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read a header; refuse one whose name or extension is longer than any real one."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0:
            raise tarfile.ReadError('broken header: a negative size')
        if header.type in (*_LENGTHS, *_NAMES) and header.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f'broken header: a name or record of {header.size} bytes')
        return header

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """Read the next header."""
        try:
            header = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            tar.ended = True  # type: ignore[attr-defined]
            raise
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore
            raise tarfile.ReadError(f'broken header: {error}') from error
        # Records that are no numbers or texts, and headers that extend each other without end.
        except (LookupError, OverflowError, RecursionError, ValueError) as error:
            raise tarfile.ReadError(f'broken header: {error}') from error
        if not 0 <= header.size < _IMPOSSIBLE_SIZE:  # of a record
            raise tarfile.ReadError(f'broken header: a size of {header.size}')
        return header


def open_tar(stream: BinaryIO | Pipe, *, unpack: bool = True) -> tarfile.TarFile:
    """Open a tar to be read from the beginning to the end.

    Args:
        stream (BinaryIO | Pipe): The tar; gzip, bzip2 or xz compress it, or nothing does. Only
            ``read`` is called.
        unpack (bool): Whether it may be compressed; not if the stream stands behind the first
            members. Defaults to True.

    Returns:
        tarfile.TarFile: Reading it raises ``TarError``, ``OSError`` or ``EOFError`` where the tar
        is damaged.

    Raises:
        tarfile.TarError: If it is no tar.
    """
    start = stream.read(tarfile.BLOCKSIZE)
    whole = cast(BinaryIO, _Rejoined(start, stream))
    content = cast(BinaryIO, _Ending(_unpacked(start, whole) if unpack else whole))
    return tarfile.open(fileobj=content, mode='r|', tarinfo=StrictTarInfo)


def is_compressed(start: bytes) -> bool:
    """Return whether a file that begins so is compressed in one of the three ways."""
    return _compression(start) is not None


def _compression(start: bytes) -> str | None:
    """Name the compression of a file by its first bytes, as ``tarfile`` does."""
    if start.startswith(b'\x1f\x8b\x08'):
        return 'gzip'
    if start[:3] == b'BZh' and start[4:10] == b'1AY&SY':
        return 'bzip2'
    return 'xz' if start.startswith((b'\x5d\x00\x00\x80', b'\xfd7zXZ')) else None


def _unpacked(start: bytes, stream: BinaryIO) -> BinaryIO:
    """Return a stream of the content, decompressed a little at a time."""
    compression = _compression(start)
    if compression is None:
        return stream
    if compression == 'gzip':
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream))
    return cast(BinaryIO, io.BufferedReader(_Unpacked(stream, _DECOMPRESSORS[compression])))


_Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor
_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    'bzip2': bz2.BZ2Decompressor,
    'xz': lambda: lzma.LZMADecompressor(memlimit=MAX_DICTIONARY_BYTES),
}


class _Rejoined:
    """A stream whose beginning has been read."""

    def __init__(self, start: bytes, stream: BinaryIO | Pipe) -> None:
        self._start, self._stream = start, stream

    def read(self, count: int = -1) -> bytes:
        """Read as from the whole stream."""
        if not self._start:
            return self._stream.read(count)
        if count < 0:
            count = len(self._start)
        data, self._start = self._start[:count], self._start[count:]
        return data


class _Ending:
    """A stream that may be read a few times at its end, and then raises an error.

    ``tarfile`` skips a member by reading all of its claimed size, also where nothing is left.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._reads_at_end = stream, 0

    def read(self, count: int) -> bytes:
        """Read as from the stream."""
        data = self._stream.read(count)
        self._reads_at_end += not data
        if self._reads_at_end > _READS_AT_END:
            raise tarfile.ReadError('unexpected end of data')
        return data


class _Unpacked(io.RawIOBase):
    """Content of a bzip2 or xz stream; a read never decompresses more than it returns.

    ``bz2.BZ2File`` does the same, but ``lzma.LZMAFile`` has no limit of memory.
    """

    def __init__(self, stream: BinaryIO, make: Callable[[], _Decompressor]) -> None:
        self._stream, self._make = stream, make
        self._decompressor, self._has_begun = make(), False

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Decompress into a buffer; 0 at the end."""
        view = memoryview(buffer)
        while True:
            packed = self._packed()
            if packed is None:
                return 0
            try:
                data = self._decompressor.decompress(packed, len(view))
            except lzma.LZMAError as error:  # no OSError, as those of the other two are
                raise OSError(f'the xz data is damaged: {error}') from error
            if data:
                view[: len(data)] = data
                return len(data)

    def _packed(self) -> bytes | None:
        """Return the next compressed bytes, none while there are some; None at the end."""
        rest = b''
        if self._decompressor.eof:  # a file may be several streams, one after another
            rest = self._decompressor.unused_data
            self._decompressor, self._has_begun = self._make(), False
        elif not self._decompressor.needs_input:
            return b''
        packed = rest or self._stream.read(_CHUNK)
        if not packed and self._has_begun:
            raise EOFError('the compressed data ends too early')
        self._has_begun = True
        return packed or None
