"""Random flip and erasing against mmpretrain's: equal rectangles, noise of equal distribution."""

import numpy as np
import pytest
from mmcv.transforms import RandomFlip
from mmpretrain.datasets.transforms import RandomErasing

from groupvit_mmseg.datasets import RandomHorizontalFlip, RandomPixelErasing

NOISE = dict(fill_color=[103.53, 116.28, 123.675], fill_std=[57.375, 57.12, 58.395])


def reference_erasing(prob=0.25):
    areas = dict(min_area_ratio=0.02, max_area_ratio=1 / 3)
    return RandomErasing(erase_prob=prob, mode='rand', **areas, **NOISE)


def is_erased(image):
    """Rows and columns of the rectangle, in an image of one value that noise rarely has."""
    rows, columns = (image != 0).any(axis=(1, 2)), (image != 0).any(axis=(0, 2))
    return rows, columns


def test_flip_equals_mmcvs_with_the_same_random_numbers():
    reference, flip = RandomFlip(prob=0.3, direction='horizontal'), RandomHorizontalFlip(0.3)
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    flipped = 0
    for seed in range(300):
        np.random.seed(seed)
        expected, following = reference(dict(img=image))['img'], np.random.rand()
        np.random.seed(seed)
        actual = flip(dict(img=image))['img']
        np.testing.assert_array_equal(actual, expected)
        assert np.random.rand() == following
        flipped += (actual != image).any()
    assert 60 < flipped < 120


@pytest.mark.parametrize('shape', [(48, 64), (64, 16), (3, 3)])
def test_rectangles_equal_mmpretrains_with_the_same_random_numbers(shape):
    reference, erase, changed = reference_erasing(), RandomPixelErasing(), 0
    for seed in range(400):
        np.random.seed(seed)
        expected = reference(dict(img=np.zeros((*shape, 3), np.uint8)))['img']
        np.random.seed(seed)
        actual = erase(dict(img=np.zeros((*shape, 3), np.uint8)))['img']
        if min(shape) > 3:  # a noise of 0 hides the edge of a tiny one
            np.testing.assert_equal(is_erased(actual), is_erased(expected))
        changed += (actual > 0).any()
    assert 60 < changed < 140


def test_noise_has_the_distribution_of_mmpretrains():
    shape = (300, 400, 3)
    np.random.seed(0)
    expected = reference_erasing()._fill_pixels(np.zeros(shape, np.uint8), 0, 0, *shape[:2])
    actual = np.zeros(shape, np.uint8)
    RandomPixelErasing()._fill(actual)
    for channel in range(3):
        histograms = [
            np.bincount(image[..., channel].ravel(), minlength=256) for image in (actual, expected)
        ]
        steps = np.cumsum(histograms, axis=1) / actual[..., 0].size
        # Kolmogorov and Smirnov: 1.95 sqrt(2 / n) is passed once in a thousand times.
        assert np.abs(steps[0] - steps[1]).max() < 1.95 * (2 / actual[..., 0].size) ** 0.5
    # No value depends on its neighbour, nor on the other channels.
    values = actual.reshape(-1, 3).astype(float)
    assert np.abs(np.corrcoef(values.T) - np.eye(3)).max() < 0.015
    assert abs(np.corrcoef(values[1:, 0], values[:-1, 0])[0, 1]) < 0.015


def test_the_table_has_every_probability_to_its_resolution():
    for channel, (mean, std) in enumerate(zip(*NOISE.values(), strict=True)):
        samples = np.random.default_rng(channel).normal(mean, std, 2_000_000)
        expected = np.clip(samples.astype(int), 0, 255)
        table = RandomPixelErasing().quantiles[channel]
        assert len(table) == 2**16
        shares = [np.bincount(values, minlength=256) / len(values) for values in (table, expected)]
        assert np.abs(shares[0] - shares[1]).max() < 5e-4


def test_noise_is_drawn_anew_and_depends_on_numpys_seed_alone():
    erase = RandomPixelErasing(1.0)
    images = []
    for seed in (0, 1, 0):
        np.random.seed(seed)
        images.append(erase(dict(img=np.zeros((32, 32, 3), np.uint8)))['img'])
    np.testing.assert_array_equal(images[0], images[2])
    assert (images[0] != images[1]).any()
    both = (images[0] > 0) & (images[1] > 0)
    assert (images[0] == images[1])[both].mean() < 0.05


@pytest.mark.parametrize('build', [RandomHorizontalFlip, RandomPixelErasing])
def test_bad_probability_is_one_sentence(build):
    with pytest.raises(ValueError, match=r'`prob` is 1.5: it must be in \[0, 1\]'):
        build(1.5)


def test_bad_standard_deviation_is_one_sentence():
    with pytest.raises(ValueError, match='every one must be more than 0'):
        RandomPixelErasing(std=(1, 0, 1))
