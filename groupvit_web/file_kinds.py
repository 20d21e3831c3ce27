"""The kinds of files that people take for pictures, and what to do with them."""

from __future__ import annotations

from groupvit_mmseg.datasets.image_containers import FORMATS

_HEIC = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1')
_AVIF = (b'avif', b'avis')
_CONVERT = 'save it as PNG or JPEG'
# First bytes, and what such a file is.
_SIGNATURES = (
    (b'%PDF', 'is a PDF document: save the page as PNG or JPEG'),
    (b'%!PS', f'is a PostScript document: {_CONVERT}'),
    (b'8BPS', f'is a Photoshop document: {_CONVERT}'),
    (b'PK\x03\x04', 'is an archive or an office document: take the picture out of it'),
    (b'\x1f\x8b', 'is a compressed archive: take the picture out of it'),
    (b'Rar!', 'is an archive: take the picture out of it'),
    (b'7z\xbc\xaf', 'is an archive: take the picture out of it'),
    (b'\x1aE\xdf\xa3', 'is a video: choose a frame of it, or use groupvit segment'),
    (b'\x00\x00\x00\x0cjP  ', f'is a JPEG 2000 picture: {_CONVERT}'),
    (b'\xff\n', f'is a JPEG XL picture: {_CONVERT}'),
    (b'\x00\x00\x00\x0cJXL ', f'is a JPEG XL picture: {_CONVERT}'),
    (b'\x00\x00\x01\x00', f'is an icon: {_CONVERT}'),
)


def kind_of_file(content: bytes) -> str | None:
    """Describe a file that is no picture of a format that is read, as the end of a sentence.

    Args:
        content (bytes): The file.

    Returns:
        str, optional: What it is and what to do, without a full stop; None if nothing is known.

    Example:
        >>> kind_of_file(b'')
        'is empty (0 bytes): choose the picture again'
        >>> kind_of_file(b'Dear Sir')
        'is a text: choose a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM picture'
    """
    if not content:
        return 'is empty (0 bytes): choose the picture again'
    for start, kind in _SIGNATURES:
        if content.startswith(start):
            return kind
    if content[4:8] == b'ftyp':
        return _of_brand(content[8:12])
    if content[:4] == b'RIFF' and content[8:12] == b'AVI ':
        return 'is a video: choose a frame of it, or use groupvit segment'
    return _of_text(content[:4096])


def _of_brand(brand: bytes) -> str:
    """Describe a file of the ISO container: photographs of phones, and videos."""
    if brand in _HEIC:
        return f'is a HEIC photograph: {_CONVERT} (on an iPhone: Settings, Camera, Formats)'
    if brand in _AVIF:
        return f'is an AVIF picture: {_CONVERT}'
    return 'is a video: choose a frame of it, or use groupvit segment'


def _of_text(start: bytes) -> str | None:
    """Describe a text by its first bytes; None for other data."""
    try:
        text = start.decode('utf-8', 'ignore' if len(start) == 4096 else 'strict')
    except UnicodeDecodeError:
        return None
    if '\0' in text:
        return None
    if '<svg' in text.lower():
        return f'is an SVG drawing, which has no pixels: {_CONVERT}'
    if text.lstrip('\ufeff \r\n\t').startswith('<'):
        return 'is a web page or other markup: save the picture itself'
    return f'is a text: choose a {FORMATS} picture'
