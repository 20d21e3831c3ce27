"""RandAugment and random erasing against mmpretrain's, which they must equal."""

from collections import Counter

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmpretrain.datasets.transforms import RandAugment

from groupvit_mmseg.datasets import TimmRandAugment
from groupvit_mmseg.datasets import color_operations as colors

FILL = (104, 116, 124)


def picture(seed, height=48, width=64):
    """A picture of one of several kinds: noise, smooth, grey, of one colour, dark."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    gray = np.repeat(smooth[..., :1], 3, axis=2)
    return [noise, smooth, smooth, gray, np.full_like(noise, seed % 256), smooth // 4][seed % 6]


@pytest.fixture(scope='module')
def reference():
    """mmpretrain's transform with the options of the paper's recipe."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return RandAugment(
            policies='timm_increasing',
            num_policies=2,
            total_level=10,
            magnitude_level=9,
            magnitude_std=0.5,
            hparams=dict(pad_val=list(FILL), interpolation='bilinear'),
        )


def test_equals_mmpretrain_with_the_same_random_numbers(reference):
    augment, changed = TimmRandAugment(), 0
    for seed in range(900):
        image = picture(seed)
        np.random.seed(seed)
        expected = reference(dict(img=image.copy()))['img']
        state = np.random.get_state()
        np.random.seed(seed)
        actual = augment(dict(img=image.copy()))['img']
        np.testing.assert_array_equal(actual, expected)
        np.testing.assert_equal(np.random.get_state(), state)
        changed += (actual != image).any()
    assert 500 < changed < 750


def test_every_operation_equals_mmpretrains_at_every_magnitude(reference, monkeypatch):
    operations = TimmRandAugment().operations
    for operation, policy in zip(operations, reference.transforms, strict=True):
        monkeypatch.setattr(policy, 'prob', 1)
        monkeypatch.setattr(policy, 'magnitude_std', 0)
        for magnitude in np.linspace(0, 10, 21):
            augment = TimmRandAugment(magnitude=magnitude, magnitude_std=0)
            monkeypatch.setattr(policy, 'magnitude_level', magnitude)
            seed = int(10 * magnitude)
            image = picture(seed)
            np.random.seed(seed)
            expected = policy(dict(img=image.copy()))['img']
            np.random.seed(seed)
            np.random.random_sample()  # whether the operation is applied
            np.testing.assert_array_equal(augment._apply(image.copy(), operation), expected)


def test_operations_are_drawn_equally_often(monkeypatch):
    augment, counts = TimmRandAugment(num_ops=3), Counter()
    monkeypatch.setattr(
        augment, '_apply', lambda image, operation: counts.update([id(operation)]) or image
    )
    np.random.seed(0)
    for _ in range(3000):
        augment(dict(img=None))
    assert len(counts) == 15
    assert abs(sum(counts.values()) - 4500) < 150
    assert max(abs(count - 300) for count in counts.values()) < 70  # 4 standard deviations


def test_colours_worked_out_by_hand():
    image = np.array([[[0, 100, 255], [50, 150, 200]]], np.uint8)
    assert colors.posterize(image, 1.2).tolist() == [[[0, 64, 192], [0, 128, 192]]]
    assert colors.solarize(image, 150).tolist() == [[[0, 100, 0], [50, 105, 55]]]
    assert colors.brighten(image, 0.5).tolist() == [[[0, 50, 127], [25, 75, 100]]]
    assert colors.auto_contrast(image).tolist() == [[[0, 0, 254], [254, 255, 0]]]  # rounded down


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(magnitude=11), '`magnitude` is 11'),
        (dict(num_ops=-1), '`num_ops` is -1'),
        (dict(magnitude_std=-0.5), '`magnitude_std` -0.5'),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        TimmRandAugment(**options)
