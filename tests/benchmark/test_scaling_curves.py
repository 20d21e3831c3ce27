"""Fitted exponents, and the table and the figure of how time and memory grow."""

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.benchmark.scaling_curves import (
    Curve,
    Point,
    curve_table,
    draw_curves,
    exponent,
)


@pytest.mark.parametrize('power', [-0.5, 0.0, 1.0, 1.7, 4.0])
def test_the_exponent_of_a_power_is_found(power):
    values = [3, 10, 20, 70, 100]
    assert exponent(values, [5 * value**power for value in values]) == pytest.approx(power)


def test_small_sizes_do_not_count_where_there_are_enough():
    values = [1, 2, 4, 8, 16, 32]
    with_overhead = [1000.0, 1000.0, 1000.0, 64.0, 256.0, 1024.0]
    assert exponent(values, with_overhead) == pytest.approx(2)
    assert exponent(values[:3], [1.0, 2.0, 4.0]) == pytest.approx(1)


def test_one_point_and_sizes_without_memory_have_no_exponent():
    assert exponent([4], [1.0]) is None
    assert exponent([4, 8], [0.0, 0.0]) is None
    table = curve_table(Curve('nothing', 'pixels', (Point(4, 1.0, 0.0, 1.0),)))
    assert table.endswith('\n\nNothing.')


def test_the_figure_has_every_curve(tmp_path):
    points = tuple(Point(value, value**2.0, 3.0 * value, value**1.5) for value in (1, 2, 4, 8))
    sizes = {}
    for count in (1, 3, 4):
        draw_curves([Curve('a step', 'pairs', points)] * count, tmp_path / 'curves.png')
        with Image.open(tmp_path / 'curves.png') as image:
            sizes[count] = image.size
            pixels = np.asarray(image.convert('RGB')).reshape(-1, 3)
        blue = (abs(pixels - np.array([31, 111, 178])) < 20).all(1).sum()
        assert blue > 400 * count  # the lines of time and memory
    assert sizes[3][0] > 2.5 * sizes[1][0]
    assert sizes[4][1] == 2 * sizes[3][1]


def test_no_memory_at_all_is_drawn_as_an_empty_plot(tmp_path):
    draw_curves([Curve('a', 'b', (Point(1, 1.0, 0.0, 0.5),))], tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').is_file()
