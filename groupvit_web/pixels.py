"""Explanations of a pixel: its segment at each stage, and its score for each word."""

from __future__ import annotations

from typing import NamedTuple

from groupvit_web.deadline import Deadline
from groupvit_web.figures import Figure
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture


class SegmentOfPixel(NamedTuple):
    """The segment that a pixel belongs to at a grouping stage.

    Attributes:
        stage (int): Stage, counted from 1.
        index (int): Number of the segment, counted from 0.
        share (float): Share of the picture that the segment covers, in (0, 1].
        figure (Figure): The segment over the picture: where else it is.
    """

    stage: int
    index: int
    share: float
    figure: Figure


class PixelReport(NamedTuple):
    """What the page says about a pixel.

    Attributes:
        row (int): Row in the displayed picture, counted from 0.
        column (int): Column, counted from 0.
        name (str): Its class.
        confidence (float): In [0, 1].
        margin (float): The change of a score that would change its class, in [0, 1].
        scores (tuple[tuple[str, float], ...]): Score of each class, the highest first.
        segments (tuple[SegmentOfPixel, ...]): One for each grouping stage.
    """

    row: int
    column: int
    name: str
    confidence: float
    margin: float
    scores: tuple[tuple[str, float], ...]
    segments: tuple[SegmentOfPixel, ...]


def explain_pixel(
    segmenter: PageSegmenter,
    picture: Picture,
    request: SegmentationRequest,
    row: int,
    column: int,
    *,
    deadline: Deadline | None = None,
) -> PixelReport:
    """Explain a pixel.

    Args:
        segmenter (PageSegmenter): The model.
        picture (Picture): The picture.
        request (SegmentationRequest): Words and options.
        row (int): Row in the displayed picture ``picture.shown``, counted from 0.
        column (int): Column there.
        deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

    Raises:
        PageError: If the pixel is outside the picture, or as :meth:`.PageSegmenter.segment`.
    """
    raise NotImplementedError
