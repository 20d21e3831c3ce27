"""The fully connected CRF: what it does to hand-made pictures, and what is said without it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.models.original_size import pixels_of
from groupvit_mmseg.models.refinement import dense_crf

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'


@pytest.fixture
def library():
    return pytest.importorskip('pydensecrf.densecrf', reason='pydensecrf2 is not installed')


def two_halves():
    """A picture, dark left and light right, and scores whose border lies 3 pixels off."""
    image = np.full((24, 32, 3), 30, np.uint8)
    image[:, 16:] = 220
    scores = torch.zeros(4, 24, 32)
    scores[1, :, :19], scores[3, :, 19:] = 0.8, 0.8
    scores[3, :, :19], scores[1, :, 19:] = 0.2, 0.2
    return image, scores


def test_labels_move_to_the_edge_of_the_picture(library):
    image, scores = two_halves()
    assert scores.argmax(0)[:, 16:19].eq(1).all()
    labels = dense_crf(scores, image, num_steps=10).argmax(0)
    assert labels[:, :16].eq(1).all()
    assert labels[:, 16:].eq(3).all()


def test_posterior_is_one_of_the_classes_that_score_at_all(library):
    image, scores = two_halves()
    posterior = dense_crf(scores, image, num_steps=3)
    torch.testing.assert_close(posterior.sum(0), torch.ones(24, 32))
    assert not posterior[[0, 2]].any()
    alone = dense_crf(scores[:2], image, num_steps=3)
    assert torch.equal(alone, scores[:2])  # one class: nothing to choose between


def segmentor(**test_cfg):
    cfg = Config.fromfile(CONFIG).model
    names = [f'thing {index}' for index in range(7)]
    cfg.decode_head.update(class_names=names, with_background=False, bg_thresh=None)
    cfg.test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(16, 16)) | test_cfg
    model = MODELS.build(cfg).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    return model


@torch.no_grad()
def test_a_segmentor_refines_by_the_picture_as_it_was(library):
    model = segmentor(crf_steps=4)
    picture = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    picture = picture.repeat_interleave(5, 1).repeat_interleave(6, 2)  # (3, 40, 48), RGB
    image = model.data_preprocessor(dict(inputs=[picture.flip(0)]), False)['inputs'][0]
    rgb = picture.permute(1, 2, 0).numpy()
    assert np.array_equal(pixels_of(image, model.data_preprocessor), rgb)
    plain = model.segment_windows([image])[0].pixel_scores()
    expected = dense_crf(plain, rgb, num_steps=4)
    (result,) = model.predict([image])
    assert torch.equal(result.seg_logits.data, expected)
    assert not torch.equal(expected.argmax(0), plain.argmax(0))
    model.test_cfg.with_scores = False
    (result,) = model.predict([image])
    assert torch.equal(result.pred_sem_seg.data[0], expected.argmax(0))


def test_without_the_package_one_sentence_says_what_to_run(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    image, scores = two_halves()
    with pytest.raises(ImportError, match=r'pip install "groupvit-mmseg\[crf\]"'):
        dense_crf(scores, image)
