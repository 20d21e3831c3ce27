"""Differences of windows and whole images against loops over pixels."""

import torch

from groupvit_mmseg.evaluation.window_effects import (
    near_borders,
    window_effects,
    windows_agree,
)
from groupvit_mmseg.models.windows import WindowedImage, crop_windows


def windowed_image(size=(40, 48), crop=24, stride=12, num_classes=4):
    options = dict(mode='slide', crop_size=(crop, crop), stride=(stride, stride))
    windows = crop_windows(size, options)
    group_maps = [torch.randint(0, 5, (crop, crop)).to(torch.uint8) for _ in windows]
    scores = [torch.rand(5, num_classes) for _ in windows]
    return WindowedImage(size, windows, group_maps, scores)


def test_counts_are_those_of_loops_over_pixels():
    image = windowed_image()
    slide = image.pixel_scores().argmax(0)
    whole = torch.randint(0, 4, image.size)
    effects = window_effects(whole, slide, image, num_classes=4)
    differing = split = 0
    changes = torch.zeros(4, 4, dtype=torch.long)
    for y in range(image.size[0]):
        for x in range(image.size[1]):
            votes = set()
            for (rows, columns), groups, table in zip(*image[1:], strict=True):
                if rows.start <= y < rows.stop and columns.start <= x < columns.stop:
                    group = groups[y - rows.start, x - columns.start]
                    votes.add(int(table[int(group)].argmax()))
            differs = bool(whole[y, x] != slide[y, x])
            differing += differs
            split += differs and len(votes) > 1
            changes[whole[y, x], slide[y, x]] += 1
    assert (effects.pixels, effects.differing, effects.split) == (40 * 48, differing, split)
    assert effects.united == differing - split
    assert torch.equal(effects.changes, changes)
    twice = effects.plus(effects)
    assert twice.differing == 2 * differing
    assert torch.equal(twice.changes, 2 * changes)


def test_one_window_agrees_and_has_no_border_inside():
    image = windowed_image(size=(24, 24))
    assert windows_agree(image).all()
    assert not near_borders((24, 24), image.windows).any()


def test_pixels_near_borders():
    windows = [(slice(0, 50), slice(0, 60)), (slice(0, 50), slice(40, 100))]
    near = near_borders((50, 100), windows)
    expected = torch.zeros(50, 100, dtype=torch.bool)
    for edge in (40, 60):
        expected[:, edge - 60 // 16 : edge + 60 // 16] = True
    assert torch.equal(near, expected)
