"""Explanations of a pixel: its segment at each stage, and its score for each word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.visualization import percent
from groupvit_web.deadline import Deadline
from groupvit_web.drawing import draw_mask
from groupvit_web.encodings import EncodedPicture
from groupvit_web.errors import PageError
from groupvit_web.figures import Figure
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture
from groupvit_web.word_scores import Decision, WordScores


class SegmentOfPixel(NamedTuple):
    """The segment that a pixel belongs to at a grouping stage.

    Attributes:
        stage (int): Stage, counted from 1.
        segment (int): Number of the segment, counted from 0.
        share (float): Share of the picture that the segment covers, in (0, 1].
        figure (Figure): The segment over the picture: where else it is.
    """

    stage: int
    segment: int
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
    height, width = picture.shown.shape[:2]
    if not (0 <= row < height and 0 <= column < width):
        raise PageError(
            f'There is no pixel in row {row}, column {column}: the picture has {height} rows and '
            f'{width} columns, counted from 0.'
        )
    classes = segmenter.classes(request)
    scores = segmenter.scores(picture, request, deadline=deadline)
    decision = scores.decide(segmenter.model.head, classes)
    y, x = row // picture.factor, column // picture.factor
    return PixelReport(
        row=row,
        column=column,
        name=classes.class_names[int(decision.label_map[y, x])],
        confidence=float(decision.confidence[y, x]),
        margin=float(decision.margin[y, x]),
        scores=_sorted_scores(scores, decision, classes, y, x),
        segments=tuple(_segments(picture, scores.picture, y, x)),
    )


def _sorted_scores(
    scores: WordScores, decision: Decision, classes: ClassList, y: int, x: int
) -> tuple[tuple[str, float], ...]:
    """Return the score of each class at a pixel of the view, the highest first."""
    values = scores.at_view_size()[:, y, x].tolist()
    pairs = list(zip(classes.foreground, values, strict=True))
    if decision.background is not None:
        pairs.insert(0, (classes.class_names[0], float(decision.background[y, x])))
    return tuple(sorted(pairs, key=lambda pair: -pair[1]))


def _segments(
    picture: Picture, encoded: EncodedPicture, y: int, x: int
) -> Iterator[SegmentOfPixel]:
    """Yield the segment of a pixel at each stage."""
    for stage, group_map in enumerate(encoded.group_maps, start=1):
        segment = int(group_map[y, x])
        mask = group_map == segment
        share = float(mask.mean())
        alt = f'Segment {segment} of stage {stage}, which covers {percent(share)} of the picture.'
        title = f'Stage {stage}: segment {segment}, {percent(share)}'
        figure = draw_mask(picture, mask, alt, title=title)
        yield SegmentOfPixel(stage, segment, share, figure)
