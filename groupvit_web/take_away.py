"""Downloads: files of the result, what reproduces it, and the model with these words."""

from __future__ import annotations

from typing import NamedTuple

from groupvit_web.deadline import Deadline
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture

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


def take_away(
    kind: str,
    segmenter: PageSegmenter,
    picture: Picture,
    request: SegmentationRequest,
    *,
    deadline: Deadline | None = None,
) -> Download:
    """Make a download.

    Args:
        kind (str): A key of :data:`KINDS`.
        segmenter (PageSegmenter): The model.
        picture (Picture): The picture.
        request (SegmentationRequest): Words and options.
        deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

    Raises:
        PageError: If there is no such kind, a package is missing, or as
            :meth:`.PageSegmenter.segment`.
    """
    raise NotImplementedError
