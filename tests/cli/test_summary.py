"""The last lines of a segmentation."""

from collections import Counter

from groupvit_cli.summary import Summary


def test_a_class_that_occurs_is_never_nothing():
    summary = Summary()
    summary.images = 2
    summary.pixels = Counter(cat=3, dog=99_997)
    counted, pixels = summary.lines()
    assert counted.startswith('2 images in ')
    assert pixels == 'pixels: dog 100.0%, cat <0.1%'
