"""Segmentation for the page: what is computed for a picture and words is kept and used again.

Letters: ``H, W`` pixels of the picture, ``h, w`` of the displayed one, ``K`` classes without the
background.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from groupvit_mmseg.results import InferenceResult
from groupvit_web.deadline import Deadline
from groupvit_web.figures import Figure
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.request import Colour, SegmentationRequest
from groupvit_web.uploads import Picture

__all__ = ['PageResult', 'PageSegmenter', 'Share', 'SegmentationRequest']


class Share(NamedTuple):
    """A row of the table of shares.

    Attributes:
        name (str): Class, ``'background'`` included.
        share (float): Share of the pixels, in [0, 1].
        confidence (float): Mean confidence of its pixels, in [0, 1]; 0 where it has none.
        colour (Colour, optional): Its colour; None for the background.
        words (tuple[str, ...]): The words that stand for it.
    """

    name: str
    share: float
    confidence: float
    colour: Colour | None
    words: tuple[str, ...]


class PageResult(NamedTuple):
    """Everything that the page shows about a picture.

    Attributes:
        overlay (Figure): The classes over the picture.
        groups (tuple[Figure, ...]): The segments over the picture, for each grouping stage.
        heat_maps (tuple[Figure, ...]): Score of each class over the picture; the title is the word.
        confidence (Figure): Confidence of each pixel.
        shares (tuple[Share, ...]): The largest first; classes that do not occur are included.
        notes (tuple[str, ...]): Sentences for the visitor.
        seconds (float): Time that this result took.
        was_encoded (bool): Whether the picture had to be encoded for it.
    """

    overlay: Figure
    groups: tuple[Figure, ...]
    heat_maps: tuple[Figure, ...]
    confidence: Figure
    shares: tuple[Share, ...]
    notes: tuple[str, ...]
    seconds: float
    was_encoded: bool


class PageSegmenter:
    """Segments pictures with one model, for any number of visitors.

    A picture is encoded once, and scored once for its words; a threshold, an opacity or colours
    only draw again. What is kept is bounded in bytes and shared by all visitors.

    Args:
        model (PageModel): The model.
        limits (Limits, optional): None takes the defaults. Defaults to None.
    """

    def __init__(self, model: PageModel, limits: Limits | None = None) -> None:
        self.model, self.limits = model, limits or Limits()

    def deadline(self, is_cancelled: Callable[[], bool] | None = None) -> Deadline:
        """Return a time limit that begins now.

        Args:
            is_cancelled (Callable[[], bool], optional): Whether the visitor has left. Defaults to
                None.
        """
        return Deadline(self.limits.seconds, is_cancelled)

    def segment(
        self, picture: Picture, request: SegmentationRequest, *, deadline: Deadline | None = None
    ) -> PageResult:
        """Segment a picture.

        Args:
            picture (Picture): From :func:`.read_picture`.
            request (SegmentationRequest): Words and options.
            deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

        Raises:
            PageError: If the picture or the request cannot be used, or takes too long.
        """
        raise NotImplementedError

    def result(
        self, picture: Picture, request: SegmentationRequest, *, deadline: Deadline | None = None
    ) -> InferenceResult:
        """Segment a picture at its full size, for downloads.

        Raises:
            PageError: As :meth:`segment`, or if the scores at full size need too much memory.
        """
        raise NotImplementedError
