"""Animated PNGs: every figure is a frame, in order, in its colours, for its time."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from groupvit_mmseg.animation import animated_png

COLOURS = [(230, 25, 75), (0, 158, 240), (255, 255, 255), (0, 0, 0)]


def frames(content):
    """Frames of a file as RGB, and the milliseconds of each."""
    image = Image.open(io.BytesIO(content))
    return zip(
        *[
            (np.asarray(frame.convert('RGB')), frame.info['duration'])
            for frame in ImageSequence.Iterator(image)
        ],
        strict=True,
    )


def test_frames_are_the_figures():
    figures = [np.full((20, 30, 3), colour, np.uint8) for colour in COLOURS]
    figures[2][5:9, 5:9] = COLOURS[0]
    images, times = frames(animated_png(figures, milliseconds=80, last_milliseconds=900))
    assert np.array_equal(np.stack(images), np.stack(figures))
    assert times == (80, 80, 80, 900)


def test_many_colours_stay_near():
    ramp = np.arange(96 * 96 * 3).reshape(96, 96, 3) * 251 % 256
    figures = [ramp.astype(np.uint8), ramp[::-1].astype(np.uint8)]
    images, _ = frames(animated_png(figures))
    for image, figure in zip(images, figures, strict=True):
        assert abs(image.astype(int) - figure).mean() < 12


def test_equal_frames_are_shown_longer():
    figure = np.zeros((8, 8, 3), np.uint8)
    images, times = frames(animated_png([figure, figure, figure + 9], milliseconds=100))
    assert len(images) == 2
    assert times[0] == 200


def test_a_single_figure_is_an_image():
    assert Image.open(io.BytesIO(animated_png([np.zeros((8, 8, 3), np.uint8)]))).size == (8, 8)


@pytest.mark.parametrize('figures', [[], [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 3))]])
def test_figures_of_several_sizes_are_refused(figures):
    with pytest.raises(ValueError, match='needs figures of one size'):
        animated_png(figures)
