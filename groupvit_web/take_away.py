"""Downloads: files of the result, what reproduces it, and the model with these words."""

from __future__ import annotations

from groupvit_web.deadline import Deadline
from groupvit_web.download import KINDS, Download
from groupvit_web.errors import PageError
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture

__all__ = ['KINDS', 'Download', 'take_away']


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
    if kind not in KINDS:
        raise PageError(f'There is no download {kind!r}: choose {", ".join(KINDS)}.')
    raise PageError(f'{KINDS[kind]} is not available yet.')
