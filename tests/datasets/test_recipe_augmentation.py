"""The recipe's augmentation shows the model what mmpretrain's transforms show it."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from groupvit_mmseg.datasets.image_text import build_transform

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / '_base_' / 'datasets'
PHOTOGRAPHS = ROOT.parent / 'shared' / 'data' / 'VOCdevkit' / 'VOC2012' / 'JPEGImages'


def augmentation(name, *, without=()):
    """The transforms of a config that make the image."""
    pipeline = Config.fromfile(CONFIGS / f'{name}.py').train_dataloader.dataset.pipeline
    texts = ('CaptionPrompts', 'PackImageText', *without)
    return [build_transform(t) for t in pipeline if t.type.split('.')[-1] not in texts]


def images(transforms, files):
    """Augment each file with the random numbers of its place in the list."""
    for seed, data in enumerate(files):
        np.random.seed(seed)
        results = dict(key='', members={'jpg': data, 'txt': b'a dog'}, error=None)
        for transform in copy.copy(transforms):
            results = transform(results)
        yield results['img']


@pytest.fixture(scope='module')
def files():
    """Encoded pictures, smooth as photographs are."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(60)]
    pictures = [cv2.resize(c, (250, 188), interpolation=cv2.INTER_CUBIC) for c in coarse]
    return [cv2.imencode('.jpg', picture)[1].tobytes() for picture in pictures]


def test_equal_random_numbers_give_equal_images_but_for_rounding(files):
    erasing = ('RandomErasing', 'RandomPixelErasing')
    fast = images(augmentation('image_text_224', without=erasing), files)
    slow = images(augmentation('image_text_224_mmpretrain', without=erasing), files)
    differences = [np.abs(a.astype(int) - b) for a, b in zip(fast, slow, strict=True)]
    # Resizing differs by 1 in .3 % of the values, which equalising, solarising and so on magnify.
    assert np.mean(differences) < 0.1
    assert sum(difference.mean() < 0.05 for difference in differences) > 0.9 * len(files)


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f'no photographs in {PHOTOGRAPHS}')
def test_statistics_of_photographs_are_equal():
    files = [path.read_bytes() for path in sorted(PHOTOGRAPHS.iterdir())[:150]]
    fast, slow = (
        np.array([statistics(image) for image in images(augmentation(name), files)])
        for name in ('image_text_224', 'image_text_224_mmpretrain')
    )
    # The noise of erasing differs; every other number is drawn alike, so pairs can be compared.
    np.testing.assert_allclose(fast.mean(0), slow.mean(0), rtol=0.003)
    assert np.median(np.abs(fast - slow) / (slow + 1)) < 1e-3


def statistics(image):
    """Mean and standard deviation of the channels, and mean gradients at three scales."""
    values = image.astype(float)
    gradients = [np.abs(values[step:] - values[:-step]).mean() for step in (1, 4, 16)]
    return [*values.mean((0, 1)), *values.std((0, 1)), *gradients]
