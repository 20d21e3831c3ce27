"""Pictures: sizes, colours at the right pixels, and messages."""

import cv2
import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg import visualization as vis


def grey(height, width):
    return np.full((height, width, 3), 128, np.uint8)


def halves(height=60, width=80):
    index_map = np.zeros((height, width), int)
    index_map[:, width // 2 :] = 1
    return index_map


def test_palette_is_fixed_and_its_colours_differ():
    colours = vis.palette(226)
    assert np.array_equal(vis.palette(5), colours[:5])
    assert len({tuple(colour) for colour in colours.tolist()}) == 226
    assert np.array_equal(vis.palette(227)[226], colours[0])


def test_colours_of_a_voc_picture_are_told_apart():
    lab = cv2.cvtColor(vis.palette(20)[None].astype(np.float32) / 255, cv2.COLOR_RGB2Lab)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(20)
    assert distance.min() > 20  # about 2 can just be seen


def test_background_is_black_only_where_there_is_one():
    assert vis.class_palette(['background', 'cat'])[0].tolist() == [0, 0, 0]
    assert np.array_equal(vis.class_palette(['cat', 'dog']), vis.palette(2))


def test_enlarge_repeats_whole_pixels():
    small = np.arange(6).reshape(2, 3)
    large = vis.enlarge(small, 5)
    assert large.shape == (6, 9)
    assert np.array_equal(large[::3, ::3], small)
    assert vis.enlarge(small, 2) is small


def test_groups_are_painted_and_outlined():
    figure = vis.draw_groups(grey(60, 80), halves(), opacity=0.5)
    for x, group in ((10, 0), (70, 1)):
        expected = (128 + vis.palette(2)[group].astype(float)) / 2
        assert np.abs(figure[30, x] - expected).max() <= 1
    assert (figure[:, 39] == 255).all()


def test_background_and_ignored_pixels_stay_as_they_are():
    label_map = halves()
    label_map[:10] = vis.IGNORED
    figure = vis.draw_labels(grey(60, 80), label_map, ['background', 'cat'], with_names=False)
    assert (figure[40, 10] == 128).all()
    assert (figure[4, 70] == 128).all()
    expected = 128 * 0.4 + vis.palette(1)[0] * 0.6
    assert np.abs(figure[40, 70] - expected).max() <= 1


def test_names_are_written_inside_their_region():
    plain, named = (
        vis.draw_labels(grey(120, 160), halves(120, 160), ['background', 'cat'], with_names=flag)
        for flag in (False, True)
    )
    changed = np.argwhere((plain != named).any(axis=-1))
    assert len(changed) > 50
    assert changed[:, 1].min() > 80


def test_names_without_room_are_left_out():
    label_map = np.zeros((120, 160), int)
    label_map[60:62, 60:62] = 1
    plain, named = (
        vis.draw_labels(grey(120, 160), label_map, ['background', 'cat'], with_names=flag)
        for flag in (False, True)
    )
    assert np.array_equal(plain, named)


def test_a_class_without_a_name_is_refused():
    with pytest.raises(ValueError, match='class 1, but only 1 classes'):
        vis.draw_labels(grey(60, 80), halves(), ['cat'])


def test_a_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'\(60, 80\) pixels and its map \(30, 40\)'):
        vis.draw_groups(grey(60, 80), halves(30, 40))


def test_legend_wraps_to_its_width():
    names = [f'class number {index}' for index in range(6)]
    label_map = np.arange(60).reshape(6, 10) % 6
    wide, narrow = (vis.legend(label_map, names, width=width) for width in (2000, 200))
    assert wide.shape[1] == 2000
    assert narrow.shape[1] == 200
    assert narrow.shape[0] > 3 * wide.shape[0]


def test_panel_has_room_for_every_image():
    rows = [[grey(40, 100), grey(50, 120)], [grey(60, 90), grey(30, 120)]]
    sheet = vis.panel(rows, ['image', 'groups'], footer='mIoU 12.3')
    head = 12 + 2 * 6
    assert sheet.shape == (head + 50 + 6 + 60 + head, 6 + 100 + 6 + 120 + 6, 3)
    assert (sheet[head : head + 40, 6:106] == 128).all()
    assert (sheet[head : head + 50, 112:232] == 128).all()
    assert (sheet[head + 56 : head + 116, 6:96] == 128).all()
    assert (sheet[:head] < 100).any()
    assert (sheet[-head:] < 100).any()


@pytest.mark.parametrize('rows', [[], [[np.zeros((4, 4, 3), np.uint8)]]])
def test_a_panel_with_missing_images_is_refused(rows):
    with pytest.raises(ValueError, match='rows of 2 images'):
        vis.panel(rows, ['image', 'groups'])


def test_saving_makes_the_folder(tmp_path):
    path = tmp_path / 'deep' / 'figure.png'
    vis.save_figure(grey(5, 7), path)
    assert np.array_equal(np.asarray(Image.open(path)), grey(5, 7))
