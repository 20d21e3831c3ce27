"""Options of ``test_cfg``: the same in windows and in whole images; wrong ones are refused."""

import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.models import checked_segmentor as segmentor_module
from groupvit_mmseg.models.inference_options import InferenceOptions, read_options, refuse_options
from groupvit_mmseg.models.refinement import pamr

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'
NAMES = [f'thing {index}' for index in range(9)]
SIZE = (45, 61)
ONE_WINDOW = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))


def sharpened(scores, image, *, num_steps):
    """In the place of the CRF, which is a package that may be missing."""
    assert image.shape == (*scores.shape[1:], 3)
    return scores**num_steps


@pytest.fixture
def make_segmentor(monkeypatch):
    """Makes tiny segmentors whose segments differ."""
    monkeypatch.setattr(segmentor_module, 'load_library', lambda: None)
    monkeypatch.setattr(segmentor_module, 'dense_crf', sharpened)

    def make(test_cfg, names=NAMES):
        torch.manual_seed(0)
        cfg = Config.fromfile(CONFIG).model
        cfg.decode_head.update(class_names=names, with_background=False, bg_thresh=None)
        cfg.test_cfg = test_cfg
        segmentor = MODELS.build(cfg).eval()
        for name, parameter in segmentor.named_parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
        return segmentor

    return make


@pytest.fixture
def image():
    coarse = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, SIZE)[0]


CHANGES = dict(
    nothing={},
    window_batch_size=dict(window_batch_size=1),
    with_scores=dict(with_scores=False),
    pamr_steps=dict(pamr_steps=3),
    crf_steps=dict(crf_steps=2),
    both=dict(pamr_steps=3, crf_steps=2, with_scores=False),
    precision=dict(precision='bf16'),
)


@torch.no_grad()
@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_a_whole_image_is_one_window_bit_for_bit(make_segmentor, image, change):
    ways = [
        dict(mode='whole', **change),
        dict(mode='whole', with_group_map=True, **change),
        dict(ONE_WINDOW, **change),
    ]
    whole, grouped, slide = (make_segmentor(way).predict(image[None])[0] for way in ways)
    assert torch.equal(whole.pred_sem_seg.data, slide.pred_sem_seg.data)
    assert torch.equal(grouped.pred_sem_seg.data, slide.pred_sem_seg.data)
    assert 'precision' in change or len(whole.pred_sem_seg.data.unique()) > 1
    assert ('seg_logits' in grouped) == change.get('with_scores', True)
    if 'seg_logits' in grouped:
        assert torch.equal(whole.seg_logits.data, slide.seg_logits.data)
        assert torch.equal(grouped.seg_logits.data, slide.seg_logits.data)
    assert grouped.pred_group_map.data.shape == (1, *SIZE)
    assert 'pred_group_map' not in whole


@torch.no_grad()
@pytest.mark.parametrize('with_group_map', [True, False])
def test_whole_images_are_refined(make_segmentor, image, with_group_map):
    plain, refined, sharp = (
        make_segmentor(dict(with_group_map=with_group_map, **change)).predict(image[None])[0]
        for change in ({}, dict(pamr_steps=3), dict(crf_steps=2))
    )
    expected = pamr(plain.seg_logits.data, image, num_steps=3)
    assert torch.equal(refined.seg_logits.data, expected)
    assert not torch.equal(expected, plain.seg_logits.data)
    assert torch.equal(sharp.seg_logits.data, plain.seg_logits.data**2)


@torch.no_grad()
def test_scores_of_mmsegs_hook_are_those_of_predict(make_segmentor, image):
    segmentor = make_segmentor(dict(mode='whole', pamr_steps=3))
    (result,) = segmentor.predict(image[None])
    assert torch.equal(segmentor.inference(image[None], [{}])[0], result.seg_logits.data)


@torch.no_grad()
@pytest.mark.parametrize('test_cfg', [dict(mode='whole', with_group_map=True), ONE_WINDOW])
def test_one_class_is_everywhere(make_segmentor, image, test_cfg):
    (result,) = make_segmentor(test_cfg, names=['cat']).predict(image[None])
    assert not result.pred_sem_seg.data.any()
    assert torch.equal(result.seg_logits.data, torch.ones(1, *SIZE))


@torch.no_grad()
def test_images_of_several_sizes_have_group_maps(make_segmentor, image):
    segmentor = make_segmentor(dict(mode='whole', with_group_map=True))
    both = segmentor.predict([image, image[:, :32]])
    (alone,) = segmentor.predict(image[None, :, :32])
    assert torch.equal(both[1].pred_group_map.data, alone.pred_group_map.data)


WRONG = [
    (dict(refine_step=10), 'no option refine_step'),
    (dict(crop_sizes=(32, 32)), 'no option crop_sizes'),
    (dict(mode='slid'), "mode = 'slid' is none of 'whole', 'slide'"),
    (dict(precision='fp16'), "precision = 'fp16' is none of"),
    (dict(with_scores='no'), "with_scores = 'no' is none of"),
    (dict(pamr_steps=-1), 'pamr_steps = -1 must be a whole number of at least 0'),
    (dict(crf_steps=2.5), 'crf_steps = 2.5 must be'),
    (dict(window_batch_size=0), 'window_batch_size = 0 must be a whole number of at least 1'),
    (dict(mode='slide'), 'needs crop_size='),
    (dict(mode='slide', crop_size=(32, 32)), 'needs stride='),
    (dict(mode='slide', crop_size=32, stride=16), 'needs crop_size=.* not 32'),
    (dict(mode='slide', crop_size=(32, 0), stride=(16, 16)), 'needs crop_size='),
    (dict(mode='slide', crop_size=(32, 32), stride=(16, 33)), 'larger than crop_size'),
    (dict(ONE_WINDOW, with_group_map=True), "needs test_cfg mode='whole'"),
]


@pytest.mark.parametrize('test_cfg, message', WRONG)
def test_wrong_options_are_refused_when_they_are_set_and_when_used(
    make_segmentor, image, test_cfg, message
):
    with pytest.raises(ValueError, match=message) as error:
        make_segmentor(test_cfg)
    assert '\n' not in str(error.value)
    segmentor = make_segmentor(dict(mode='whole'))
    with pytest.raises(ValueError, match=message):
        segmentor.test_cfg = test_cfg
    segmentor = make_segmentor(dict(mode='whole'))
    segmentor.test_cfg.update(test_cfg)
    with pytest.raises(ValueError, match=message):
        segmentor.predict(image[None])


def test_a_missing_crf_is_told_when_the_segmentor_is_built(make_segmentor, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    with pytest.raises(ImportError, match=r'pip install "groupvit-mmseg\[crf\]"'):
        make_segmentor(dict(crf_steps=2))


def test_the_config_is_not_edited():
    cfg = Config.fromfile(CONFIG).model
    given = cfg.test_cfg
    segmentor = MODELS.build(cfg)
    segmentor.test_cfg.precision = 'bf16'
    assert 'precision' not in given


def test_left_over_windows_are_no_change_of_whole_images():
    assert read_options(dict(ONE_WINDOW, mode='whole')).changed() == {}
    assert read_options(None) == InferenceOptions()
    assert set(read_options(ONE_WINDOW).changed()) == {'mode', 'crop_size', 'stride'}
    with pytest.raises(ValueError, match=r'without crf_steps, but model\.test_cfg has crf_steps=1'):
        refuse_options(InferenceOptions(crf_steps=1), ('pamr_steps',), 'Something works')
    refuse_options(InferenceOptions(pamr_steps=1), ('pamr_steps',), 'Something works')


@torch.no_grad()
@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize('with_background', [True, False])
def test_the_confidence_is_that_of_the_scores_bit_for_bit(
    make_segmentor, image, change, with_background
):
    change = {name: value for name, value in change.items() if name != 'with_scores'}
    segmentor = make_segmentor(dict(ONE_WINDOW, crop_size=(40, 40), stride=(20, 20), **change))
    names = ['background', *NAMES] if with_background else NAMES
    options = dict(with_background=True, bg_thresh=0.4) if with_background else {}
    segmentor.set_classes(names, **options)
    (full,) = segmentor.predict(image[None])
    segmentor.test_cfg = {**segmentor.test_cfg, 'with_scores': False, 'with_confidence': True}
    (small,) = segmentor.predict(image[None])
    assert 'seg_logits' not in small
    scores, labels = full.seg_logits.data, full.pred_sem_seg.data[0]
    assert torch.equal(small.pred_sem_seg.data[0], labels)
    best = scores[1:].amax(0) if with_background else scores.amax(0)
    expected = torch.where(labels == 0, 1 - best, best) if with_background else best
    assert torch.equal(small.seg_confidence.data[0], expected)
    segmentor.test_cfg = {**segmentor.test_cfg, 'with_scores': True}
    assert torch.equal(segmentor.predict(image[None])[0].seg_confidence.data[0], expected)
