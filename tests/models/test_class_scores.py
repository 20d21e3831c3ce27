"""Background and thresholds of classes: against loops, and against the background threshold."""

import pytest
import torch

from groupvit_mmseg.models.class_scores import (
    add_background,
    against_background,
    candidate_affinity,
    pool_words,
    threshold_distance,
)
from groupvit_mmseg.text.class_list import make_class_list

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


@pytest.mark.parametrize('pooling', ['max', 'mean'])
@pytest.mark.parametrize('words', [None, (), ('sky',), ('sky', 'sand')])  # None: no background
@pytest.mark.parametrize(
    'aliases', [{}, {'cat': ['kitten']}, {'cat': ['kitten', 'puss']}, {'dog': ['pup', 'hound']}]
)
def test_words_are_pooled_by_class(aliases, words, pooling):
    names, options = ['cat', 'dog'], {}
    if words is not None:
        names = ['background', *names]
        options = dict(with_background=True, bg_thresh=0.5, background_words=words)
    classes = make_class_list(names, aliases=aliases, alias_pooling=pooling, **options)
    affinity = torch.rand(2, 3, len(classes.words), generator=torch.Generator().manual_seed(0))
    columns = {word: affinity[..., i] for i, word in enumerate(classes.words)}
    own = [[name, *aliases.get(name, ())] for name in ('cat', 'dog')]
    stacks = [torch.stack([columns[word] for word in each]) for each in own]
    pooled = [stack.amax(0) if pooling == 'max' else stack.mean(0) for stack in stacks]
    torch.testing.assert_close(pool_words(affinity, classes), torch.stack(pooled, dim=-1))


def test_a_comparison_with_the_background_stays_in_its_range():
    foreground, background = torch.tensor([[0.9, 0.4, 0.1]] * 2), torch.tensor([[0.2, 0.1], [0, 1]])
    expected = torch.tensor([[1.0, 0.7, 0.4], [0.4, 0.0, 0.0]])
    torch.testing.assert_close(against_background(foreground, background), expected)


def test_an_affinity_of_the_threshold_is_a_candidate():
    foreground = torch.tensor([[[0.5, 0.4]]])
    assert torch.equal(candidate_affinity(foreground, (0.5, 0.5)), torch.tensor([[[0.5, 0.0]]]))


def plain_distance(foreground, bg_thresh, class_thresholds):
    """The distance, a segment at a time."""
    result = torch.full(foreground.shape[:2], torch.inf)
    for image, rows in enumerate(foreground.tolist()):
        pairs = [list(zip(row, class_thresholds)) for row in rows]
        best = [max(score if score >= limit else 0.0 for score, limit in each) for each in pairs]
        least = None if bg_thresh is None else min(bg_thresh, max(best))
        for segment, each in enumerate(pairs):
            distances = [abs(score - limit) for score, limit in each if limit]
            if least is not None and best[segment] != least:
                distances.append(abs(best[segment] - least))
            result[image, segment] = min(distances, default=torch.inf)
    return result


@pytest.mark.parametrize('num_classes', [1, NUM_CLASSES])
@pytest.mark.parametrize('bg_thresh', [None, 0.3, 0.99])
@pytest.mark.parametrize('class_thresholds', [(0, 0, 0, 0), (0.7, 0, 0.9, 0), (0.7, 0.4, 0.9, 0.5)])
def test_distances_against_loops(affinity, num_classes, bg_thresh, class_thresholds):
    foreground, limits = affinity[..., :num_classes], class_thresholds[:num_classes]
    distance = threshold_distance(foreground, bg_thresh=bg_thresh, class_thresholds=limits)
    expected = plain_distance(foreground, bg_thresh, limits)
    torch.testing.assert_close(distance, expected)
    assert bg_thresh != 0.99 or expected.isinf().any() or any(limits)
