"""Class names that are encoded in batches against names that are encoded one by one."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models import class_embeddings
from groupvit_mmseg.models.text_encoder import GroupViTTextEncoder
from groupvit_mmseg.text import tokenize

NAMES = [f'{"very " * (i % 5)}thing {i}' for i in range(23)]
CLASSES = dict(
    class_names=['background', *NAMES],
    with_background=True,
    bg_thresh=0.3,
    background_words=['sky', 'wall of bricks'],
    templates='subset',
    aliases={'thing 5': ['object', 'a rather long name for it']},
    class_templates={'thing 0': ['{}', 'a {}', 'one {}']},
)


def build_head(**classes):
    torch.manual_seed(0)
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    return (
        MODELS.build(
            dict(
                type='GroupViTZeroShotHead',
                text_encoder=dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=2),
                image_projector=dict(projector, in_channels=24),
                text_projector=dict(projector, in_channels=16),
                **classes,
            )
        )
        .double()
        .eval()
    )


@torch.no_grad()
def one_by_one(head):
    """The definition: the normalised mean of a word's projected sentences, a word at a time."""
    rows = []
    for prompt in head.classes.prompts:
        token_ids = tokenize([template.format(prompt.word) for template in prompt.templates])
        rows.append(head.text_projector(head.text_encoder(token_ids)).mean(dim=0))
    return F.normalize(torch.stack(rows), dim=-1)


@pytest.fixture
def calls(monkeypatch):
    """Sentences of each call of the text encoder."""
    counts, forward = [], GroupViTTextEncoder.forward

    def counted(self, token_ids):
        counts.append(len(token_ids))
        return forward(self, token_ids)

    monkeypatch.setattr(GroupViTTextEncoder, 'forward', counted)
    return counts


@pytest.mark.parametrize('words, texts', [(1, 128), (4, 3), (26, 7), (27, 1000), (256, 128)])
def test_batches_change_nothing(monkeypatch, calls, words, texts):
    head = build_head(**CLASSES)
    monkeypatch.setattr(class_embeddings, 'WORDS_AT_A_TIME', words)
    monkeypatch.setattr(class_embeddings, 'TEXTS_PER_BATCH', texts)
    embeds = head.encode_classes()
    assert max(calls) <= texts
    expected = one_by_one(head)
    assert embeds.shape == (27, 8)
    torch.testing.assert_close(embeds, expected, rtol=0, atol=1e-12)
    images = torch.randn(50, 8, dtype=torch.float64)
    assert torch.equal((images @ embeds.T).argmax(1), (images @ expected.T).argmax(1))


def test_a_thousand_names_take_few_calls(calls):
    head = build_head(class_names=[f'name {i}' for i in range(1000)], templates='subset')
    head.encode_classes()
    assert sum(calls) == 7000
    assert len(calls) == 55  # of 128 sentences at most, for 256 words at a time
    assert max(calls) == class_embeddings.TEXTS_PER_BATCH


def test_equal_sentences_are_encoded_once(calls):
    head = build_head(class_names=['cat', 'dog'], templates=['a {}'])
    expected = head.embed_names(['cat', 'dog'])
    calls.clear()
    embeds = head.embed_names(['dog', 'cat', 'dog'])
    assert calls == [2]
    torch.testing.assert_close(embeds, expected[[1, 0, 1]], rtol=0, atol=1e-12)


def test_embeddings_are_kept_until_the_classes_change(calls):
    head = build_head(**CLASSES)
    embeds = head.encode_classes()
    assert head.class_embeds is embeds
    assert not embeds.requires_grad
    head.set_classes(head.classes, bg_thresh=0.5)
    assert head.class_embeds is None
    assert torch.equal(head.encode_classes(), embeds)
    with pytest.raises(RuntimeError, match='evaluation mode'):
        head.train().encode_classes()
