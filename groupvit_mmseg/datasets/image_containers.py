"""Read an image file's header and check its parts against its length, before any decoder runs.

Decoders trust a file's header: OpenCV allocates a PNG chunk of 3.6 GB that a file of 1 kB claims to
have. Nothing here allocates or decodes. Formats: PNG, JPEG and WebP; the others are left to Pillow,
which reads in blocks and fails at the end of the file.
"""

import struct
from typing import NamedTuple

import numpy as np

# The first bytes of every format that is read.
_SIGNATURES = (
    (b'\xff\xd8\xff', 'JPEG'),
    (b'\x89PNG\r\n\x1a\n', 'PNG'),
    (b'GIF87a', 'GIF'),
    (b'GIF89a', 'GIF'),
    (b'BM', 'BMP'),
    (b'II*\0', 'TIFF'),
    (b'MM\0*', 'TIFF'),
    (b'P5', 'PPM'),
    (b'P6', 'PPM'),
)
FORMATS = 'JPEG, PNG, WebP, GIF, BMP, TIFF or PPM'

# The chunks that decide the pixels: no text, colour profiles or frames of an animation.
_PNG_CHUNKS = (b'IHDR', b'PLTE', b'tRNS', b'IDAT', b'eXIf', b'IEND')
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_MARKERS = (0xC2, 0xC6, 0xCA, 0xCE)
_JPEG_SIZE_END = 9  # marker, length, precision, height, width
# Bytes that zlib can make of one. A block of 64 pixels takes at least one bit of a JPEG, unless its
# coding is arithmetic.
_MAX_DEFLATE_RATIO, _MAX_JPEG_RATIO = 1032, 512
# Parts that are read: files of millions of empty ones take long.
_MAX_PARTS = 200_000
# Segments of a JPEG before its pixels, and those with EXIF after them: the time of OpenCV 4 grows
# with the square of their number, to 10 s for 60,000.
_MAX_SEGMENTS = 1000
_TOO_MANY_SEGMENTS = f'the JPEG file has more than {_MAX_SEGMENTS:,} segments beside its pixels'
_EXIF_MARKER = b'\xff\xe1'
# A progressive JPEG of many pixels and thousands of empty scans takes minutes.
_MAX_SCANS = 200
# Frames in sequential order, Huffman-coded.
_BASELINE_MARKERS = (0xC0, 0xC1)
# Restart markers would make the decoder complain about rows that are left out.
_RESTART_SEGMENT = b'\xff\xdd\x00\x04'
# EXIF: tag 0x112 of one 16-bit number, 1, in both byte orders.
_UPRIGHT_TAGS = (
    b'\x12\x01\x03\x00\x01\x00\x00\x00\x01\x00\x00\x00',
    b'\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01\x00\x00',
)


class Container(NamedTuple):
    """Header of an image file.

    Attributes:
        format (str): 'JPEG', 'PNG', 'WEBP', 'GIF', 'BMP', 'TIFF' or 'PPM'.
        data (bytes): The file without the parts that no decoder needs.
        size (tuple[int, int] | None): Width and height; None where Pillow reads the header.
        plain (bool): Whether the file is one image without transparency and, in formats other than
            JPEG, without an EXIF orientation.
        complete (bool): Whether the file has its end marker.
        key_depth (int): Bits of a sample in which a PNG names its one transparent colour; 8 in
            other formats.
        height_offset (int): Where a JPEG file stores its height, if its rows can be decoded from
            the first to any other: 8 bits, one baseline scan of grey or YCbCr without restart
            markers, upright. Else 0.
    """

    format: str
    data: bytes
    size: tuple[int, int] | None = None
    plain: bool = False
    complete: bool = True
    key_depth: int = 8
    height_offset: int = 0


def open_container(data: bytes) -> Container:
    """Read the header and check the lengths of the parts.

    Args:
        data (bytes): The file.

    Returns:
        Container: The header.

    Raises:
        ValueError: If the format is not supported, or a part is longer than the file.
    """
    kind = image_format(data)
    if kind is None:
        raise ValueError(f'{_describe(data)}; images are {FORMATS} files')
    readers = {'JPEG': _open_jpeg, 'PNG': _open_png, 'WEBP': _open_webp}
    return readers[kind](data) if kind in readers else Container(kind, data)


def image_format(data: bytes) -> str | None:
    """Return the format of an image by its first bytes; None if it is no known one."""
    if data[:4] == b'RIFF' and data[8:12] == b'WEBP':
        return 'WEBP'
    return next((name for start, name in _SIGNATURES if data.startswith(start)), None)


def _describe(data: bytes) -> str:
    """Describe a file that is no image of a known format."""
    if not data:
        return 'the file is empty'
    if data[4:8] == b'ftyp' and data[8:12] in (b'avif', b'avis', b'heic', b'heix', b'mif1'):
        return 'the file is AVIF or HEIC: convert it'
    if data.lstrip()[:1] == b'<':
        return 'the file is a web page or other markup'
    return 'the file has another format'


def _open_png(data: bytes) -> Container:
    """Read chunks of length, type, content and checksum; the header is the first."""
    chunks = _png_chunks(data)
    if chunks[0][0] != b'IHDR' or chunks[0][2] != 33:
        raise ValueError('the PNG file does not begin with its header')
    width, height, depth, colour = struct.unpack_from('>IIBB', data, 16)
    if colour not in _PNG_CHANNELS:
        raise ValueError(f'the PNG file has no colour type {colour}')
    kinds = {kind for kind, _, _ in chunks}
    if b'IDAT' not in kinds:
        raise ValueError('the PNG file has no pixels')
    packed = sum(stop - start - 12 for kind, start, stop in chunks if kind == b'IDAT')
    rows = height * (1 + width * depth * _PNG_CHANNELS[colour] // 8)
    if rows > _MAX_DEFLATE_RATIO * packed + 64:
        raise ValueError(f'the PNG file is too short for {width} x {height} pixels')
    if kinds.difference(_PNG_CHUNKS):
        parts = (data[start:stop] for kind, start, stop in chunks if kind in _PNG_CHUNKS)
        data = data[:8] + b''.join(parts)
    plain = colour < 4 and not kinds.intersection((b'tRNS', b'eXIf'))
    return Container('PNG', data, (width, height), plain, key_depth=depth)


def _png_chunks(data: bytes) -> list[tuple[bytes, int, int]]:
    """List type, begin and end of every chunk up to IEND."""
    offset = 8
    chunks: list[tuple[bytes, int, int]] = []
    while not chunks or chunks[-1][0] != b'IEND':
        if len(chunks) == _MAX_PARTS:
            raise ValueError(f'the PNG file has more than {_MAX_PARTS} chunks')
        if offset + 12 > len(data):
            raise ValueError('the PNG file is truncated')
        length, kind = struct.unpack_from('>I4s', data, offset)
        stop = offset + 12 + length
        if stop > len(data):
            name = kind.decode('latin-1')
            raise ValueError(
                f'the PNG file is truncated: chunk {name!r} of {length} bytes is longer than it'
            )
        chunks.append((kind, offset, stop))
        offset = stop
    return chunks


def _open_jpeg(data: bytes) -> Container:
    """Read segments of marker, length and content up to the first scan, then the end marker."""
    offset, frame, size, progressive, segments = 2, 0, None, False, 0
    for _ in range(_MAX_PARTS):
        offset = data.find(b'\xff', offset)
        if offset < 0 or offset + 4 > len(data):
            raise ValueError('the JPEG file is truncated: it breaks off in its header')
        marker = data[offset + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:  # no content
            offset += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            raise ValueError('the JPEG file has no pixels')
        stop = offset + 2 + int.from_bytes(data[offset + 2 : offset + 4], 'big')
        if stop > len(data):
            raise ValueError('the JPEG file is truncated: it breaks off in its header')
        segments += 1
        if segments > _MAX_SEGMENTS:
            raise ValueError(_TOO_MANY_SEGMENTS)
        if marker in _JPEG_SIZE_MARKERS:
            frame = offset
            if stop < frame + _JPEG_SIZE_END:
                raise ValueError('the JPEG file is truncated: it breaks off in its size')
            height, width = struct.unpack_from('>HH', data, frame + 5)
            size = (width, height)
            if marker < 0xC9 and width * height > _MAX_JPEG_RATIO * len(data):
                raise ValueError(f'the JPEG file is too short for {width} x {height} pixels')
            progressive = marker in _PROGRESSIVE_MARKERS
        if marker == 0xDA:
            break
        offset = stop
    else:
        raise ValueError('the JPEG file has no end of its header')
    if size is None:
        raise ValueError('the JPEG file has no size')
    if progressive and data.count(b'\xff\xda', offset) > _MAX_SCANS:
        raise ValueError(f'the JPEG file has more than {_MAX_SCANS} scans')
    if _has_many_exif_segments(data, offset):
        raise ValueError(_TOO_MANY_SEGMENTS)
    complete = data.rfind(b'\xff\xd9') > offset
    height = frame + 5 if complete and _has_separable_rows(data, frame, offset) else 0
    return Container('JPEG', data, size, plain=True, complete=complete, height_offset=height)


def _has_many_exif_segments(data: bytes, start: int) -> bool:
    """Return whether more than the limit may follow an offset; coded pixels have no such bytes."""
    seconds = np.frombuffer(data, np.uint8, offset=start + 1) == _EXIF_MARKER[1]
    if np.count_nonzero(seconds) <= _MAX_SEGMENTS:  # a small file, in a few microseconds
        return False
    firsts = np.frombuffer(data, np.uint8, len(seconds), start) == _EXIF_MARKER[0]
    return int(np.count_nonzero(np.logical_and(firsts, seconds, out=seconds))) > _MAX_SEGMENTS


def _has_separable_rows(data: bytes, frame: int, scan: int) -> bool:
    """Return whether the rows of a JPEG can be decoded alone, given the offsets of segments."""
    baseline = data[frame + 1] in _BASELINE_MARKERS and data[frame + 4] == 8
    components = data[frame + 9 : frame + 10]
    single = components in (b'\1', b'\3') and data[scan + 4 : scan + 5] == components
    header = data[:scan]
    return baseline and single and _RESTART_SEGMENT not in header and not _may_be_turned(header)


def _may_be_turned(header: bytes) -> bool:
    """Return whether EXIF tags of a JPEG may hold an orientation other than 'upright'."""
    if b'Exif\0' not in header:
        return False
    for upright in _UPRIGHT_TAGS:
        header = header.replace(upright, b'')
    return any(upright[:2] in header for upright in _UPRIGHT_TAGS)


def _open_webp(data: bytes) -> Container:
    """Read RIFF chunks of type, length and content; odd lengths are padded."""
    end = 8 + int.from_bytes(data[4:8], 'little')
    if end > len(data) + 1:  # the last padding byte may be missing
        raise ValueError(f'the WebP file is truncated: it has {len(data)} of {end} bytes')
    offset, sizes, plain = 12, [], True
    for _ in range(_MAX_PARTS):
        if offset + 8 > min(end, len(data)):
            break
        kind, length = struct.unpack_from('<4sI', data, offset)
        if offset + 8 + length > len(data):
            raise ValueError(f'the WebP file is truncated: chunk {kind!r} is longer than it')
        content = data[offset + 8 : offset + 8 + min(length, 32)]
        if kind in _WEBP_HEADERS:
            width, height, opaque = _WEBP_HEADERS[kind](content)
            sizes.append((width, height))
            plain = plain and opaque
        offset += 8 + length + length % 2
    if not sizes:
        raise ValueError('the WebP file has no pixels')
    return Container('WEBP', data, max(sizes, key=lambda size: size[0] * size[1]), plain)


def _vp8(content: bytes) -> tuple[int, int, bool]:
    """Read width, height and opacity of a lossy image."""
    if len(content) < 10 or content[3:6] != b'\x9d\x01\x2a':
        raise ValueError('the WebP file has no header of its pixels')
    width, height = struct.unpack_from('<HH', content, 6)
    return width & 0x3FFF, height & 0x3FFF, True


def _vp8l(content: bytes) -> tuple[int, int, bool]:
    """Read width, height and opacity of a lossless image."""
    if len(content) < 5 or content[0] != 0x2F:
        raise ValueError('the WebP file has no header of its pixels')
    bits = int.from_bytes(content[1:5], 'little')
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, not bits >> 28 & 1


def _vp8x(content: bytes) -> tuple[int, int, bool]:
    """Read width and height of the canvas, and whether it has no alpha, EXIF or animation."""
    if len(content) < 10:
        raise ValueError('the WebP file has no header of its canvas')
    width, height = (int.from_bytes(content[i : i + 3], 'little') + 1 for i in (4, 7))
    return width, height, not content[0] & 0b0001_1010


def _anmf(content: bytes) -> tuple[int, int, bool]:
    """Read width and height of a frame of an animation."""
    if len(content) < 16:
        raise ValueError('the WebP file has no header of a frame')
    width, height = (int.from_bytes(content[i : i + 3], 'little') + 1 for i in (6, 9))
    return width, height, False


_WEBP_HEADERS = {b'VP8 ': _vp8, b'VP8L': _vp8l, b'VP8X': _vp8x, b'ANMF': _anmf}
