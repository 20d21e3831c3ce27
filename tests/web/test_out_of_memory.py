"""Memory that runs out where an image is encoded apart from its words: one sentence."""

import numpy as np
import pytest
import torch

from groupvit_mmseg import out_of_memory
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_web.errors import PageError
from groupvit_web.pixels import explain_pixel
from groupvit_web.segmentation import SegmentationRequest
from groupvit_web.take_away import take_away
from groupvit_web.uploads import read_picture

from .conftest import WORDS, png

ERRORS = [
    torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 1 TiB'),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    MemoryError(),
]
REQUEST = SegmentationRequest(WORDS, mode='slide')
SENTENCE = r'^Out of memory on cpu: an image of \d+ x \d+ pixels and \d+ classes is too much'
OF_PAGE = (
    'The memory is too small for a.png, 70 x 50 pixels: try a smaller picture, fewer words, or the '
    'whole picture instead of windows.'
)
each_error = pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)


@pytest.fixture
def inferencer(weights):
    """With windows."""
    out_of_memory._note.cache_clear()
    inferencer = GroupViTInferencer.from_pretrained(weights, class_names=list(WORDS))
    inferencer.set_options(mode='slide')
    return inferencer


def limit(inferencer, error, largest, monkeypatch):
    """Let the backbone refuse more than some windows; return the sizes that it saw."""
    seen, backbone = [], inferencer.segmentor.backbone
    encode = backbone.encode

    def limited(crops):
        seen.append(len(crops))
        if len(crops) > largest:
            raise error
        return encode(crops)

    monkeypatch.setattr(backbone, 'encode', limited)
    return seen


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@each_error
def test_encoding_takes_fewer_windows_and_remembers_them(inferencer, error, monkeypatch):
    expected = inferencer.classify(inferencer.encode(image(50, 70)))
    seen = limit(inferencer, error, 1, monkeypatch)
    result = inferencer.classify(inferencer.encode(image(50, 70)))
    assert max(seen) > 1
    assert (result.label_map == expected.label_map).all()
    np.testing.assert_allclose(result.scores, expected.scores, atol=1e-6)
    seen.clear()
    inferencer.encode(image(50, 70, seed=1))
    inferencer(image(50, 70, seed=2))
    assert set(seen) == {1}


@each_error
def test_a_window_that_is_too_much_is_one_sentence(inferencer, error, monkeypatch):
    limit(inferencer, error, 0, monkeypatch)
    with pytest.raises(RuntimeError, match=SENTENCE):
        inferencer.encode(image(50, 70))


@each_error
def test_scores_that_are_too_much_are_one_sentence(inferencer, error, monkeypatch):
    encoded = inferencer.encode(image(50, 70))

    def refuse(*_):
        raise error

    for owner, name in (
        (type(encoded), 'at_image_size'),
        (type(encoded.windows), 'scored'),
        (type(encoded), 'group_map'),
        (type(inferencer.segmentor.decode_head), 'embed_classes'),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, refuse)
            inferencer.segmentor.decode_head.class_embeds = None
            with pytest.raises(RuntimeError, match=SENTENCE):
                inferencer.classify(encoded)
    inferencer.set_classes(list(WORDS))
    assert inferencer.classify(encoded).label_map.shape == (50, 70)


def test_other_errors_keep_their_type(inferencer, monkeypatch):
    limit(inferencer, RuntimeError('shapes differ'), 0, monkeypatch)
    with pytest.raises(RuntimeError, match=r'^shapes differ$'):
        inferencer.encode(image(50, 70))


@each_error
def test_the_page_says_that_the_memory_is_too_small(segmenter, error, monkeypatch):
    picture = read_picture(png(50, 70), name='a.png')
    with monkeypatch.context() as patch:
        limit(segmenter.model._inferencer, error, 0, patch)
        for ask in (
            lambda: segmenter.segment(picture, REQUEST),
            lambda: segmenter.result(picture, REQUEST),
            lambda: explain_pixel(segmenter, picture, REQUEST, 3, 3),
            lambda: take_away('labels', segmenter, picture, REQUEST),
        ):
            with pytest.raises(PageError) as raised:
                ask()
            assert str(raised.value) == OF_PAGE
    assert segmenter.segment(picture, REQUEST).shares


def test_the_page_remembers_how_many_windows_fitted(segmenter, monkeypatch):
    segmenter.model._inferencer.segmentor.fitting.clear()
    seen = limit(segmenter.model._inferencer, ERRORS[0], 1, monkeypatch)
    segmenter.segment(read_picture(png(50, 70, seed=1)), REQUEST)
    assert max(seen) > 1
    seen.clear()
    segmenter.segment(read_picture(png(50, 70, seed=2)), REQUEST)
    assert set(seen) == {1}
    segmenter.model._inferencer.segmentor.fitting.clear()
