"""Recall of retrieval, by hand and against scores that are known."""

import math

import pytest
import torch

from groupvit_mmseg.evaluation.recall import retrieval_recall


def test_one_place_of_each_by_hand():
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    angles = [80, 10, 60]  # degrees from the first image
    texts = torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
    recall = retrieval_recall(images, 5 * texts, owners=[0, 1, 1], ranks=[1, 2, 3])
    # The first image finds 10, 60, 80 degrees, its caption last; the second one 80, 60, 10.
    assert recall == {
        'image_to_text/R@1': 0.0,
        'image_to_text/R@2': 50.0,
        'image_to_text/R@3': 100.0,
        'text_to_image/R@1': pytest.approx(100 / 3),
        'text_to_image/R@2': 100.0,
        'text_to_image/R@3': 100.0,
    }


def test_any_caption_of_an_image_counts_once():
    images = torch.eye(4)
    texts = torch.cat([torch.eye(4), torch.eye(4).flip(0)])  # the other half is wrong
    owners = [*range(4), *range(4)]
    recall = retrieval_recall(images, texts, owners, ranks=[1, 4])
    assert recall['image_to_text/R@1'] == recall['image_to_text/R@4'] == 100
    assert recall['text_to_image/R@1'] == 50


def test_random_embeddings_are_found_by_chance():
    torch.manual_seed(0)
    recall = retrieval_recall(torch.randn(400, 64), torch.randn(400, 64), list(range(400)))
    for way in ('image_to_text', 'text_to_image'):
        assert recall[f'{way}/R@1'] < 2
        assert 0.5 < recall[f'{way}/R@10'] < 6  # 2.5 expected


def test_equal_similarities_are_in_the_order_of_the_captions():
    count = 64
    recall = retrieval_recall(torch.ones(count, 4), torch.ones(count, 4), list(range(count)))
    for way in ('image_to_text', 'text_to_image'):
        assert recall[f'{way}/R@1'] == pytest.approx(100 / count)
        assert recall[f'{way}/R@10'] == pytest.approx(1000 / count)


@pytest.mark.parametrize('owners', [[0, 1], [0, 0, 0], [0, 1, 2]])
def test_an_image_without_a_caption_is_one_sentence(owners):
    with pytest.raises(ValueError, match=r'3 captions with .* owners do not give each of 2 images'):
        retrieval_recall(torch.eye(2), torch.randn(3, 2), owners)
