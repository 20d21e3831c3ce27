"""Threshold presets."""

import pytest

from groupvit_mmseg.text.background_thresholds import (
    THRESHOLD_PRESETS,
    background_threshold,
    preset_of,
)


@pytest.mark.parametrize(
    'preset, class_set, value',
    [
        ('official', 'pascal_voc', 0.95),
        ('official', 'pascal_context', 0.35),
        ('official', 'coco_object', 0.95),
        ('paper', 'pascal_voc', 0.9),
        ('paper', 'pascal_context', 0.5),
    ],
)
def test_values_and_back(preset, class_set, value):
    assert background_threshold(preset, class_set) == value
    assert preset_of(value, class_set) == preset


def test_every_preset_names_its_source():
    assert all(preset.source for preset in THRESHOLD_PRESETS.values())


@pytest.mark.parametrize('value, class_set', [(0.35, 'pascal_voc'), (None, None), (0.95, None)])
def test_other_thresholds_belong_to_no_preset(value, class_set):
    assert preset_of(value, class_set) is None


def test_unknown_preset_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'mine': use one of official, paper, or a number\.$"):
        background_threshold('mine', 'pascal_voc')


def test_preset_without_a_value_says_so():
    with pytest.raises(ValueError, match="'paper' has no background threshold for 'coco_object'"):
        background_threshold('paper', 'coco_object')
