"""Expected calibration error against a plain loop."""

import numpy as np
import pytest
import torch

from groupvit_mmseg.evaluation.reliability import NUM_BINS, count_confidence, reliability


def random_image(seed, calibrated):
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(60, 70, generator=generator)
    label_map = torch.zeros(60, 70, dtype=torch.long)
    chance = confidence if calibrated else torch.full_like(confidence, 0.5)
    wrong = torch.rand(60, 70, generator=generator) >= chance
    label_map[:4] = 255
    return confidence, wrong.long(), label_map


def plain_error(images):
    """Mean difference of confidence and accuracy, bin by bin."""
    valid = [label_map != 255 for _, _, label_map in images]
    scores = np.concatenate([c[v].double().numpy() for (c, _, _), v in zip(images, valid)])
    right = np.concatenate([(p == t)[v].numpy() for (_, p, t), v in zip(images, valid)])
    error = 0.0
    for index in range(NUM_BINS):
        low, high = index / NUM_BINS, (index + 1) / NUM_BINS
        chosen = (scores >= low) & ((scores < high) | (index == NUM_BINS - 1))
        if chosen.any():
            error += chosen.sum() * abs(scores[chosen].mean() - right[chosen].mean())
    return error / len(scores)


@pytest.mark.parametrize('calibrated', [True, False])
def test_error_is_that_of_a_plain_loop(calibrated):
    images = [random_image(seed, calibrated) for seed in range(3)]
    bins = reliability([count_confidence(*image) for image in images])
    assert bins.error == pytest.approx(plain_error(images), abs=1e-6)
    assert (bins.error < 0.05) == calibrated
    assert sum(bins.pixels) == 3 * 56 * 70


def test_limits_and_empty_bins():
    ones = torch.ones(1, 2)
    bins = reliability([count_confidence(torch.tensor([[1.0, 0.0]]), ones, ones)])
    assert bins.pixels == [1, *[0] * (NUM_BINS - 2), 1]
    assert bins.accuracy[1] is None
    assert (bins.accuracy[0], bins.confidence[0]) == (1.0, 0.0)
    with pytest.raises(ValueError, match='No pixel counts'):
        reliability([])


@pytest.mark.parametrize('score', [1.2, -0.2, float('nan')])
def test_scores_that_are_no_confidences_are_refused(score):
    """As of an adapter whose activation is 'identity'; an ignored pixel may have any."""
    ones = torch.ones(1, 2)
    scores = torch.tensor([[0.5, score]])
    with pytest.raises(ValueError, match='needs scores from 0 to 1, and those of an image are'):
        count_confidence(scores, ones, ones)
    assert sum(count[0] for count in count_confidence(scores, ones, torch.tensor([[1, 255]]))) == 1
