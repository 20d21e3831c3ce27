"""The figures of a segmentation: overlay, heat maps, confidence, and one segment.

Letters: ``h, w`` pixels of the view, ``K`` classes, the background included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.palettes import palette
from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.visualization import draw_labels, percent
from groupvit_web.figures import Figure, make_figure
from groupvit_web.request import Colour
from groupvit_web.shares import Share
from groupvit_web.uploads import Picture, RGBImage
from groupvit_web.word_scores import Decision, WordScores

HEAT_MAP_SIDE = 512
"""int: Pixels of the longer side of a heat map."""
_HEAT_WEIGHT = 0.7
_DARKER = 0.35


def colours_of(classes: ClassList, stated: Mapping[str, Colour]) -> NDArray[np.uint8]:
    """Return the colours of classes, RGB ``(K, 3)``; a background is black, and is not painted.

    Args:
        classes (ClassList): The classes.
        stated (Mapping[str, Colour]): Colours that a visitor chose, by name.
    """
    first = int(classes.with_background)
    colours = np.concatenate(
        [np.zeros((first, 3), np.uint8), palette(len(classes.foreground))]
    ).copy()
    for label, name in enumerate(classes.foreground, start=first):
        if name in stated:
            # Pure black means "not painted".
            colours[label] = np.maximum(stated[name], 1)
    return colours


def draw_overlay(
    picture: Picture,
    decision: Decision,
    colours: NDArray[np.uint8],
    *,
    opacity: float,
    shares: Sequence[Share],
) -> Figure:
    """Draw the classes over the picture, with their names.

    Args:
        picture (Picture): The picture.
        decision (Decision): The class of each pixel.
        colours (NDArray): RGB ``(K, 3)``.
        opacity (float): Weight of the colours, in [0, 1].
        shares (Sequence[Share]): Table of shares, for the text.
    """
    figure = draw_labels(
        picture.shown,
        picture.enlarged(decision.label_map),
        decision.class_names,
        opacity=opacity,
        colours=colours,
    )
    covered = ', '.join(f'{row.name} {percent(row.share)}' for row in shares if row.share)
    return make_figure(figure, f'The classes over the picture: {covered}.', title='Classes')


def draw_confidence(picture: Picture, confidence: NDArray[np.float32]) -> Figure:
    """Draw the confidence of each pixel ``(h, w)``, from dark (0) to light (1)."""
    figure = _coloured(picture.enlarged(confidence))
    alt = f'Confidence of each pixel, {confidence.mean():.2f} on average; lighter is surer.'
    return make_figure(figure, alt, title='Confidence')


def draw_heat_maps(
    picture: Picture, scores: WordScores, names: Sequence[str]
) -> tuple[Figure, ...]:
    """Draw the score of each class over the picture, from dark (0) to light (1).

    Args:
        picture (Picture): The picture.
        scores (WordScores): Scores of the classes.
        names (Sequence[str]): Their names.
    """
    factor = min(1.0, HEAT_MAP_SIDE / max(picture.shown.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in picture.shown.shape[:2])
    gray = cv2.cvtColor(picture.shown, cv2.COLOR_RGB2GRAY)
    gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    below = cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)
    figures = []
    for index, name in enumerate(names):
        channel = scores.at_view_size(index, index + 1)[0].float().cpu().numpy()
        heat = cv2.resize(channel, (width, height), interpolation=cv2.INTER_NEAREST)
        figure = cv2.addWeighted(below, 1 - _HEAT_WEIGHT, _coloured(heat), _HEAT_WEIGHT, 0)
        alt = (
            f'Score of {name} at each pixel, {channel.max():.2f} at most and '
            f'{channel.mean():.2f} on average; lighter is higher.'
        )
        figures.append(make_figure(np.asarray(figure, np.uint8), alt, title=name))
    return tuple(figures)


def draw_mask(picture: Picture, mask: NDArray[np.bool_], alt: str, *, title: str) -> Figure:
    """Draw a mask over the picture: everything else is darker, and it is outlined.

    Args:
        picture (Picture): The picture.
        mask (NDArray): bool ``(h, w)``.
        alt (str): Text for screen readers.
        title (str): Short title.
    """
    inside = picture.enlarged(mask).astype(np.uint8)
    figure = np.asarray(cv2.convertScaleAbs(picture.shown, alpha=_DARKER), np.uint8)
    cv2.copyTo(picture.shown, inside, figure)
    outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(figure, outlines, -1, (255, 200, 25), 2)
    return make_figure(figure, alt, title=title)


def _coloured(values: NDArray) -> RGBImage:
    """Return colours of values in [0, 1], RGB."""
    levels = (values * 255).clip(0, 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)
    return np.asarray(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), np.uint8)
