"""Models of other origin in the common segmentor, against plain code."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.models.segmentors import EncoderDecoder
from mmseg.structures import SegDataSample
from torch import nn

from groupvit_mmseg.models import OpenVocabularyModel, OpenVocabularySegmentor
from groupvit_mmseg.models.open_vocabulary_model import mean_over_templates
from groupvit_mmseg.text.class_list import Prompt


class Colours(OpenVocabularyModel):
    """Logits at half the resolution: a linear function of the colours, one per prompt."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 8, 2, stride=2)
        self.encoded = []

    def embed_prompts(self, prompts):
        self.encoded.append([prompt.word for prompt in prompts])
        return torch.randn(len(prompts), 8, generator=torch.Generator().manual_seed(len(prompts)))

    def forward(self, images, prompt_embeds):
        return torch.einsum('bdhw,kd->bkhw', self.layer(images), prompt_embeds)


@pytest.fixture
def segmentor():
    return OpenVocabularySegmentor(Colours()).eval()


def sample(*size):
    return SegDataSample(metainfo=dict(ori_shape=size))


def test_windows_are_averaged_as_mmsegmentation_does(segmentor):
    segmentor.set_classes(['cat', 'dog', 'bus'])
    options = dict(mode='slide', crop_size=(16, 16), stride=(10, 10))
    segmentor.test_cfg = dict(options, window_batch_size=3)
    image = torch.randn(1, 3, 36, 30)
    (ours,) = segmentor.pixel_logits(image)
    segmentor.out_channels, segmentor.align_corners = 3, False
    theirs = EncoderDecoder.slide_inference(segmentor, image, [dict(ori_shape=(36, 30))])
    torch.testing.assert_close(ours, theirs[0])


def test_labels_are_those_of_the_plain_procedure(segmentor):
    segmentor.set_classes(
        ['background', 'cat', 'dog'],
        with_background=True,
        bg_thresh=0.45,
        background_words='sky, wall',
        aliases={'cat': ['kitten']},
    )
    segmentor.logit_scale = 2.0
    image = torch.randn(1, 3, 20, 24)
    (result,) = segmentor.predict(image, [sample(40, 44)])
    assert segmentor.model.encoded == [['cat', 'kitten', 'dog', 'sky', 'wall']]
    embeds = segmentor.model.embed_prompts([Prompt('', 0, ())] * 5)
    logits = F.interpolate(segmentor.model(image, embeds), (20, 24), mode='bilinear')
    words = (2 * logits).softmax(1)[0]
    classes = torch.stack([words[3:].amax(0), words[:2].amax(0), words[2]])
    classes = F.interpolate(classes[None], (40, 44), mode='bilinear')[0]
    expected = classes.argmax(0).masked_fill(classes.amax(0) < 0.45, 0)
    assert torch.equal(result.pred_sem_seg.data[0], expected)
    assert set(expected.unique().tolist()) == {0, 1, 2}
    torch.testing.assert_close(result.seg_logits.data, classes)


def test_thresholds_of_classes_leave_the_background(segmentor):
    segmentor.set_classes(
        ['background', 'cat', 'dog'], with_background=True, class_thresholds={'cat': 0.9}
    )
    (result,) = segmentor.predict(torch.randn(1, 3, 20, 24))
    scores = segmentor.word_scores(next(segmentor.pixel_logits(torch.randn(1, 3, 4, 4))))
    assert scores.sum(0).allclose(torch.ones(4, 4))
    labels, scores = result.pred_sem_seg.data[0], result.seg_logits.data
    assert (scores[1][labels == 1] >= 0.9).all()
    assert ((scores[1] == 0) | (scores[1] >= 0.9)).all()
    assert (labels == 2).any()


@pytest.mark.parametrize('activation', ['sigmoid', 'identity'])
def test_other_activations_ignore_the_scale(segmentor, activation):
    segmentor.model.activation = activation
    segmentor.logit_scale = 40.0
    logits = torch.randn(3, 2, 2)
    expected = logits.sigmoid() if activation == 'sigmoid' else logits
    assert torch.equal(segmentor.word_scores(logits), expected)


def test_images_of_several_sizes_equal_single_ones(segmentor):
    segmentor.set_classes(['cat', 'dog'])
    images = [torch.randn(3, 20, 24), torch.randn(3, 32, 16)]
    together = segmentor.predict(images)
    alone = [segmentor.predict(image[None])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.pred_sem_seg.data, other.pred_sem_seg.data)


def test_prompts_are_encoded_once_per_list_of_classes(segmentor):
    segmentor.set_classes(['cat', 'dog'])
    for _ in range(2):
        segmentor.predict(torch.randn(1, 3, 20, 24))
    assert len(segmentor.model.encoded) == 1
    segmentor.set_classes(segmentor.classes, templates='identity')
    segmentor.predict(torch.randn(1, 3, 20, 24))
    assert len(segmentor.model.encoded) == 2


def test_wrong_adapters_are_told(segmentor, monkeypatch):
    monkeypatch.setattr(segmentor.model, 'forward', lambda images, embeds: images)
    with pytest.raises(ValueError, match=r'Colours returned logits of shape \(1, 3, 4, 4\)'):
        segmentor.predict(torch.zeros(1, 3, 4, 4))
    monkeypatch.setattr(
        segmentor.model, 'forward', lambda images, embeds: torch.full((1, 1, 2, 2), torch.nan)
    )
    with pytest.raises(ValueError, match='Colours returned logits that are not numbers'):
        segmentor.predict(torch.zeros(1, 3, 4, 4))
    monkeypatch.setattr(segmentor.model, 'embed_prompts', lambda prompts: torch.zeros(7, 8))
    with pytest.raises(ValueError, match='returned 7 rows for 1 prompts'):
        segmentor.encode_classes()
    with pytest.raises(TypeError, match='is no OpenVocabularyModel'):
        OpenVocabularySegmentor(nn.Identity())
    with pytest.raises(ValueError, match='other models have no groups'):
        OpenVocabularySegmentor(Colours(), test_cfg=dict(with_group_map=True))
    with pytest.raises(NotImplementedError):
        segmentor.loss(torch.zeros(1, 3, 4, 4), [])


def test_mean_over_templates_normalises_each_sentence_first():
    table = {'cat': [3.0, 0.0], 'a cat': [0.0, 0.1], 'dog': [0.0, 2.0], 'a dog': [0.0, 5.0]}
    prompts = [Prompt('cat', 0, ('{}', 'a {}')), Prompt('dog', 1, ('{}', 'a {}'))]
    embeds = mean_over_templates(prompts, lambda texts: torch.tensor([table[t] for t in texts]))
    torch.testing.assert_close(embeds, torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


@torch.no_grad()
@pytest.mark.parametrize('with_background', [True, False])
def test_the_confidence_is_that_of_the_scores(segmentor, with_background):
    first = ['background'] if with_background else []
    options = dict(with_background=True, bg_thresh=0.4) if with_background else {}
    segmentor.set_classes([*first, 'cat', 'dog', 'bus'], **options)
    segmentor.test_cfg = dict(with_scores=True, with_confidence=True)
    (result,) = segmentor.predict(torch.randn(1, 3, 20, 24), [sample(30, 36)])
    labels = result.pred_sem_seg.data[0]
    best = result.seg_logits.data[int(with_background) :].amax(0)
    expected = torch.where(labels == 0, 1 - best, best) if with_background else best
    assert torch.equal(result.seg_confidence.data[0], expected)
    assert len(labels.unique()) > 1
