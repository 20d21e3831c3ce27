"""Background and thresholds of classes: against loops, and against the background threshold."""

import pytest
import torch

from groupvit_mmseg.models.class_scores import add_background, threshold_distance

NUM_SEGMENTS, NUM_CLASSES = 7, 4


@pytest.fixture
def affinity():
    """Random affinities ``(B, S, K)``, all different."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, NUM_SEGMENTS, NUM_CLASSES, generator=generator)


def labels(foreground, words=0.0, *, bg_thresh=None, class_thresholds=(0,) * NUM_CLASSES):
    """Label of each segment: 0 the background."""
    background = torch.full_like(foreground[..., :1], words)
    return add_background(
        foreground, background, bg_thresh=bg_thresh, class_thresholds=class_thresholds
    ).argmax(dim=-1)


def plain_labels(foreground, words, bg_thresh, class_thresholds):
    """The rule, a segment at a time."""
    result = torch.zeros(foreground.shape[:2], dtype=torch.long)
    for image in range(len(foreground)):
        candidates = [
            {
                label: float(score)
                for label, (score, least) in enumerate(zip(row, class_thresholds), start=1)
                if score >= least
            }
            for row in foreground[image]
        ]
        best = [max(scores.values(), default=0.0) for scores in candidates]
        limit = min(max(best), bg_thresh or 0.0)
        for segment, scores in enumerate(candidates):
            if scores and best[segment] >= limit and best[segment] > words:
                result[image, segment] = max(scores, key=scores.get)
    return result


@pytest.mark.parametrize('words', [0.0, 0.6])
@pytest.mark.parametrize('bg_thresh', [None, 0.0, 0.8, 1.0])
@pytest.mark.parametrize(
    'class_thresholds', [(0.7, 0, 0.9, 0), (0.7, 0.8, 0.9, 0.95), (1, 1, 1, 1)]
)
def test_the_rule(affinity, words, bg_thresh, class_thresholds):
    expected = plain_labels(affinity, words, bg_thresh, class_thresholds)
    found = labels(affinity, words, bg_thresh=bg_thresh, class_thresholds=class_thresholds)
    assert torch.equal(found, expected)


@pytest.mark.parametrize('words', [0.0, 0.4])
@pytest.mark.parametrize('threshold', [0.3, 0.7, 0.85])
def test_one_threshold_for_all_classes_is_that_of_the_background(affinity, threshold, words):
    assert (affinity.amax(dim=(1, 2)) >= threshold).all()  # the limit of bg_thresh has no effect
    by_background = labels(affinity, words, bg_thresh=threshold)
    by_class = labels(affinity, words, class_thresholds=(threshold,) * NUM_CLASSES)
    assert torch.equal(by_class, by_background)
    assert {0} < set(by_class.unique().tolist())


def test_a_window_may_have_no_class_by_thresholds_of_classes_alone(affinity):
    assert labels(affinity, class_thresholds=(1.0,) * NUM_CLASSES).eq(0).all()
    assert labels(affinity, bg_thresh=1.0).gt(0).any(dim=1).all()


def test_the_background_keeps_the_affinities_and_other_segments_lose_what_is_below():
    foreground = torch.tensor([[[0.5, 0.4], [0.7, 0.1]]])
    scores = add_background(
        foreground, torch.zeros(1, 2, 1), bg_thresh=None, class_thresholds=(0.6, 0.5)
    )
    expected = torch.tensor([[[1.0, 0.5, 0.4], [0.0, 0.7, 0.0]]])
    assert torch.equal(scores, expected)


def test_a_background_threshold_alone_changes_no_affinity(affinity):
    """Bit for bit what it was: the scores of the classes are the affinities."""
    background = torch.rand_like(affinity[..., :1])
    scores = add_background(
        affinity, background, bg_thresh=0.9, class_thresholds=(0.0,) * NUM_CLASSES
    )
    best = affinity.amax(dim=-1, keepdim=True)
    is_background = best < best.amax(dim=1, keepdim=True).clamp(max=0.9)
    assert torch.equal(scores[..., 1:], affinity)
    assert torch.equal(scores[..., :1], torch.where(is_background, 1.0, background))


def test_distances_to_thresholds():
    foreground = torch.tensor([[[0.5, 0.4], [0.7, 0.1]]])
    options = dict(bg_thresh=None, class_thresholds=(0.0, 0.0))
    assert threshold_distance(foreground, **options).isinf().all()
    options = dict(bg_thresh=None, class_thresholds=(0.65, 0.0))
    torch.testing.assert_close(
        threshold_distance(foreground, **options), torch.tensor([[0.15, 0.05]])
    )
    options = dict(bg_thresh=0.6, class_thresholds=(0.0, 0.38))
    torch.testing.assert_close(
        threshold_distance(foreground, **options), torch.tensor([[0.02, 0.1]])
    )
