from itertools import pairwise

import numpy as np
import pytest

from groupvit_mmseg.datasets.scenes import (
    CLASSES,
    COLOURS,
    GROUNDS,
    PALETTE,
    THINGS,
    draw_scene,
    scene_seed,
)
from groupvit_mmseg.text import CaptionWords

NUM_SCENES = 60


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene(scene_seed(0, 'test', i)) for i in range(NUM_SCENES)]


def test_a_scene_is_a_function_of_its_seed():
    first, again, other = draw_scene(5), draw_scene(5), draw_scene(6)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.labels, again.labels)
    assert first.caption == again.caption
    assert not np.array_equal(first.image, other.image)


def test_a_scene_is_the_same_on_every_machine():
    """Numbers of one scene, written down once."""
    scene = draw_scene(0, size=40)
    assert scene.caption == 'a yellow star and a pink heart on some sand'
    assert int(scene.image.sum(dtype=np.int64)) == 842854
    assert int(scene.labels.sum(dtype=np.int64)) == 12246


def test_seeds_differ_between_splits_and_scenes():
    seeds = {
        scene_seed(s, split, i) for s in (0, 1) for split in ('train', 'val') for i in range(50)
    }
    assert len(seeds) == 200


def test_captions_name_exactly_what_the_mask_holds(scenes):
    for scene in scenes:
        words = scene.caption.replace(',', '').split()
        named = [word for word in words if word in CLASSES]
        assert sorted(named) == sorted(CLASSES[i] for i in np.unique(scene.labels))
        assert len(set(named) & set(GROUNDS)) == 1
        assert 1 <= len(set(named) & set(THINGS)) <= 3


def test_captions_tell_the_colour_of_the_right_thing(scenes):
    told = 0
    for scene in scenes:
        words = scene.caption.replace(',', '').split()
        for colour, name in pairwise(words):
            if colour in COLOURS:
                assert colour in THINGS[name].colours
                told += 1
    assert told > NUM_SCENES / 2


def test_captions_are_phrased_in_many_ways(scenes):
    def shape(caption):
        words = caption.replace(',', ' ,').split()
        return ' '.join('_' if word in CLASSES or word in COLOURS else word for word in words)

    assert len({shape(scene.caption) for scene in scenes}) > 20


def test_every_name_survives_the_tagger_and_nothing_else_does(scenes):
    find_words = CaptionWords('textblob')
    for scene in scenes:
        named = [w for w in scene.caption.replace(',', '').split() if w in CLASSES]
        assert find_words(scene.caption) == named


@pytest.mark.parametrize('size', [24, 40, 65])
def test_things_are_whole_and_fill_a_fair_share(size):
    for i in range(20):
        scene = draw_scene(i, size=size)
        assert scene.image.shape == (size, size, 3)
        assert scene.image.dtype == scene.labels.dtype == np.uint8
        things = [t for t in np.unique(scene.labels) if t < len(THINGS)]
        for thing in things:
            assert (scene.labels == thing).mean() > 0.02
        assert (scene.labels >= len(THINGS)).mean() > 0.3


def test_a_class_looks_like_its_palette_colour():
    """The mean colour of a class is nearer to its own colour than to most others."""
    pixels = [[] for _ in CLASSES]
    for i in range(80):
        scene = draw_scene(i)
        for label in np.unique(scene.labels):
            pixels[label].append(scene.image[scene.labels == label].mean(0))
    means = np.array([np.mean(p, 0) for p in pixels])
    distance = np.linalg.norm(means[:, None] - np.array(PALETTE)[None], axis=-1)
    assert (distance.argmin(1) == np.arange(len(CLASSES))).all()
