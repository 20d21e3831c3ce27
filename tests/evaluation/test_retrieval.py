"""What a segment stands for, by hand."""

import pytest
import torch

from groupvit_mmseg.evaluation.retrieval import SegmentSight, segment_concepts

EAST, NORTH = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
BETWEEN = torch.tensor([0.6, 0.8])


def sight(first, second, share):
    return SegmentSight(torch.stack([first, second]), torch.tensor([share, 1 - share]))


def test_images_and_words_by_hand():
    sights = [sight(EAST, NORTH, 0.5), sight(BETWEEN, NORTH, 0.1), sight(EAST, EAST, 0.99)]
    words = torch.stack([NORTH, EAST, BETWEEN])
    first, second = segment_concepts(sights, words, ['up', 'right', 'aslant'], top_words=2)
    assert first.images == (0, 2, 1)
    assert second.images == (0, 1)  # it owns too little of the third
    assert [word for word, _ in first.words] == ['right', 'aslant']
    assert second.words[0][0] == 'up'
    mean = torch.tensor([0.5 + 0.06 + 0.99, 0.08])
    assert first.words[0][1] == pytest.approx(float(mean[0] / mean.norm()), abs=1e-6)
    assert first.share == pytest.approx((0.5 + 0.1 + 0.99) / 3)


def test_no_image_is_one_sentence():
    with pytest.raises(ValueError, match='No image'):
        segment_concepts([], torch.eye(2), ['up', 'right'])
