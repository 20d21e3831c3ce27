"""A file that a visitor takes away."""

from __future__ import annotations

from typing import NamedTuple

KINDS = {
    'overlay': 'Overlay (PNG)',
    'labels': 'Label map (PNG with a palette)',
    'json': 'Shares and settings (JSON)',
    'coco': 'Masks (COCO)',
    'python': 'Python program',
    'command': 'Command',
    'onnx': 'Model with these words (ONNX)',
    'openvino': 'Model with these words (OpenVINO)',
    'zip': 'Everything (ZIP)',
}
"""dict[str, str]: The kinds of downloads and their names on the page."""


class Download(NamedTuple):
    """A file to take away.

    Attributes:
        name (str): Name of the file.
        content (bytes): Its content.
        media_type (str): Such as ``'image/png'``.
        notes (tuple[str, ...]): Sentences for the visitor. Defaults to ().
    """

    name: str
    content: bytes
    media_type: str
    notes: tuple[str, ...] = ()
