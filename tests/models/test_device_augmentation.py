"""Augmentation of batches on the device against the loader's transforms of single images."""

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from mmseg.registry import MODELS

from groupvit_mmseg.datasets import TimmRandAugment
from groupvit_mmseg.models import AugmentingPreprocessor, batch_augmentation
from groupvit_mmseg.models.batch_augmentation import BatchAugmentation

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
OPTIONS = dict(
    flip_prob=0.5,
    num_ops=2,
    magnitude=9,
    magnitude_std=0.5,
    erase_prob=0.25,
    noise_mean=MEAN[::-1],
    noise_std=STD[::-1],
)
NOTHING = {**OPTIONS, 'flip_prob': 0, 'num_ops': 0, 'erase_prob': 0}


def pictures(count, height=40, width=56, seed=0):
    """Smooth, noisy, dark pictures and some of one colour, ``(B, H, W, 3)``."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8)
    images = [cv2.resize(c, (width, height), interpolation=cv2.INTER_CUBIC) for c in coarse]
    images[1::5] = [image // 4 for image in images[1::5]]
    images[2::5] = [np.full_like(image, index) for index, image in enumerate(images[2::5])]
    images[3::5] = rng.integers(0, 256, (len(images[3::5]), height, width, 3), dtype=np.uint8)
    return np.stack(images)


def to_batch(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


GEOMETRIC = (3, 10, 11, 12, 13, 14)
OLD_OPENCV = int(cv2.__version__.partition('.')[0]) < 5


@pytest.mark.parametrize('index', range(15))
def test_every_operation_equals_the_loaders_but_for_rounding(index):
    operation = TimmRandAugment().operations[index]
    images = pictures(50)
    low, high = operation.bounds or (0, 1)
    strength = np.linspace(low, high, len(images)).astype(np.float32)
    if operation.signed:
        strength[::2] *= -1
    expected = [
        operation.apply(image, *([float(value)] if operation.bounds else []))
        for image, value in zip(images, strength, strict=True)
    ]
    batch = to_batch(images)
    actual = batch_augmentation._OPERATIONS[index](batch, torch.from_numpy(strength))
    assert torch.equal(batch, to_batch(images))
    difference = np.abs(actual.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(expected))
    if index in GEOMETRIC and OLD_OPENCV:  # it interpolates between 32 steps of a pixel
        assert difference.max() <= 16
        assert difference.mean() < 0.5
    else:
        assert difference.max() <= 1
        assert (difference > 0).mean() < (0.1 if OLD_OPENCV else 0.001)


def test_operations_are_drawn_as_by_the_loader(monkeypatch):
    augment, counts, strengths = BatchAugmentation(**{**NOTHING, 'num_ops': 3}), Counter(), {}

    def operation(index):
        def record(images, strength):
            counts[index] += len(images)
            strengths.setdefault(index, []).extend(strength.tolist())
            return images

        return record

    monkeypatch.setattr(batch_augmentation, '_OPERATIONS', [operation(i) for i in range(15)])
    augment(torch.zeros(6000, 3, 1, 1, dtype=torch.uint8), seed=0)
    assert abs(sum(counts.values()) - 9000) < 4 * 4500**0.5
    assert len(counts) == 15
    assert max(abs(count - 600) for count in counts.values()) < 4 * 600**0.5
    assert np.mean(np.array(strengths[3]) > 0) == pytest.approx(0.5, abs=0.09)  # signed
    assert np.mean(np.abs(strengths[3])) == pytest.approx(27, abs=0.3)  # degrees
    assert np.std(np.abs(strengths[3])) == pytest.approx(1.5, abs=0.2)
    assert np.mean(strengths[5]) == pytest.approx(25.6, abs=2.5)  # solarize
    assert min(strengths[5]) >= 0


def test_flips_half_of_the_images():
    images = to_batch(pictures(400))
    flipped = BatchAugmentation(**{**NOTHING, 'flip_prob': 0.5})(images, seed=1)
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert 150 < mirrored.sum() < 310  # those of one colour are both


def test_erased_rectangles_and_their_noise():
    images = torch.zeros(1200, 3, 40, 60, dtype=torch.uint8)
    erased = BatchAugmentation(**{**NOTHING, 'erase_prob': 0.25})(images, seed=2)
    areas, ratios, values = [], [], []
    for image in erased.numpy():
        inside = (image != 0).any(0)
        if not inside.any():
            continue
        rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
        shape = np.ptp(rows) + 1, np.ptp(columns) + 1
        areas.append(shape[0] * shape[1] / inside.size)
        ratios.append(shape[0] / shape[1])
        values.append(image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].reshape(3, -1))
    assert abs(len(areas) - 300) < 60
    assert 0.01 < min(areas) < 0.04
    assert 0.3 < max(areas) < 0.35
    assert np.mean(areas) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert abs(np.mean(np.log(ratios))) < 0.15
    values = np.concatenate(values, axis=1)
    draws = np.random.default_rng(0).normal(np.array(MEAN[::-1]), STD[::-1], (200_000, 3))
    expected = np.clip(draws.astype(int), 0, 255)
    np.testing.assert_allclose(values.mean(1), expected.mean(0), atol=0.5)
    np.testing.assert_allclose(values.std(1), expected.std(0), atol=0.5)
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < 0.02


def test_the_seed_decides_everything():
    augment, images = BatchAugmentation(**OPTIONS), to_batch(pictures(32))
    before = torch.get_rng_state()
    first, second, third = (augment(images, seed) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(torch.get_rng_state(), before)  # the model's random numbers
    assert torch.equal(images, to_batch(pictures(32)))
    assert first.dtype == torch.uint8


def test_validation_is_normalised_only():
    config = dict(type='AugmentingPreprocessor', mean=MEAN, std=STD)
    batch = dict(inputs=to_batch(pictures(8)), seeds=torch.arange(8))
    preprocessor = MODELS.build(config)
    reference = ImgDataPreprocessor(mean=MEAN, std=STD, bgr_to_rgb=True)
    expected = reference(dict(batch))['inputs']
    assert torch.equal(preprocessor(dict(batch), training=False)['inputs'], expected)
    augmented = preprocessor(dict(batch), training=True)['inputs']
    assert augmented.shape == expected.shape
    assert not torch.equal(augmented, expected)
    quiet = AugmentingPreprocessor(MEAN, STD, flip_prob=0, num_ops=0, erase_prob=0)
    assert torch.equal(quiet(dict(batch), training=True)['inputs'], expected)


@pytest.mark.parametrize('options', [dict(flip_prob=2), dict(erase_prob=-1), dict(magnitude=11)])
def test_bad_options_are_one_sentence(options):
    with pytest.raises(ValueError, match='it must be in'):
        AugmentingPreprocessor(MEAN, STD, **options)


def test_a_batch_without_seeds_is_one_sentence():
    with pytest.raises(ValueError, match='has no `seeds`: use PackImageText'):
        AugmentingPreprocessor(MEAN, STD)(dict(inputs=to_batch(pictures(2))), training=True)


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives():
    augment, images = BatchAugmentation(**{**OPTIONS, 'erase_prob': 0}), to_batch(pictures(64))
    on_gpu = augment(images.cuda(), seed=3).cpu()
    difference = (on_gpu.int() - augment(images, seed=3).int()).abs()
    assert (difference > 1).float().mean() < 0.01


def test_images_are_not_augmented_in_the_loader_as_well(make_runner):
    preprocessor = dict(type='AugmentingPreprocessor', mean=MEAN, std=STD)
    pipeline = [
        dict(type='LoadImageText'),
        dict(type='RandomHorizontalFlip'),
        dict(type='TimmRandAugment'),
        dict(type='CaptionPrompts', num_prompts=2),
        dict(type='PackImageText', context_length=12),
    ]
    runner = make_runner(
        model=dict(data_preprocessor=dict(_delete_=True, **preprocessor)),
        train_dataloader=dict(dataset=dict(pipeline=pipeline)),
        train_cfg=dict(max_epochs=1),
    )
    sentence = (
        'AugmentingPreprocessor augments on the device what RandomHorizontalFlip, TimmRandAug'
    )
    with pytest.raises(ValueError, match=sentence):
        runner.train()
