"""Predictions of real segmentors: the sweep agrees with running a segmentor at a threshold."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from groupvit_mmseg.evaluation import calibrate_segmentor, calibrate_threshold, collect_predictions
from groupvit_mmseg.models.windows import crop_windows

CONFIG = Path(__file__).parents[1] / 'data' / 'configs' / 'tiny_zeroshot.py'
NAMES = ['background', 'cat', 'dog', 'bus']


def make_segmentor(**test_cfg):
    cfg = Config.fromfile(CONFIG).model
    cfg.decode_head.update(class_names=NAMES, bg_thresh=0.5, top_k=2)
    cfg.test_cfg = test_cfg
    segmentor = MODELS.build(cfg).eval()
    for name, parameter in segmentor.backbone.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    return segmentor


def make_batches(count, height=32, width=32):
    rng = np.random.default_rng(0)
    for _ in range(count):
        image = rng.integers(0, 256, (3, 4, 4), dtype=np.uint8)
        image = image.repeat(height // 4, 1).repeat(width // 4, 2)
        sample = SegDataSample(
            metainfo=dict(ori_shape=(height, width), img_shape=(height, width)),
            gt_sem_seg=PixelData(data=torch.from_numpy(rng.integers(0, 4, (1, height, width)))),
        )
        yield dict(inputs=[torch.from_numpy(image)], data_samples=[sample])


CONTRAST = dict(background_words=('sky', 'wall'))


@pytest.mark.parametrize('words', [{}, CONTRAST], ids=['alone', 'contrast'])
@pytest.mark.parametrize('threshold', [0.0, 0.3, 0.45, 0.5, 0.8, 1.0])
def test_the_sweep_is_what_the_segmentor_does_at_that_threshold(threshold, words):
    segmentor = make_segmentor(mode='whole')
    segmentor.decode_head.affinity = 'contrast' if words else 'softmax'
    segmentor.set_classes(NAMES, with_background=True, bg_thresh=threshold, **words)
    metric = IoUMetric(prefix='whole')
    metric.dataset_meta = dict(classes=NAMES)
    for batch in make_batches(4):
        (result,) = segmentor.val_step(batch)
        metric.process({}, [result.to_dict()])
    predictions = collect_predictions(segmentor, make_batches(4))
    swept = calibrate_threshold(predictions, thresholds=[threshold])
    assert swept.miou == pytest.approx(metric.evaluate(4)['whole/mIoU'], abs=0.006)
    assert swept.num_crops == 4


def test_every_window_gives_evidence_with_its_own_part_of_the_mask():
    segmentor = make_segmentor(mode='slide', crop_size=(32, 32), stride=(16, 16))
    (batch,) = make_batches(1, 32, 64)
    predictions = list(collect_predictions(segmentor, [batch]))
    assert len(predictions) == 3
    mask = batch['data_samples'][0].gt_sem_seg.data[0]
    assert torch.equal(predictions[1].label_map, mask[:, 16:48])
    assert predictions[0].affinity.shape == (4, 3)


@pytest.mark.parametrize('height, width', [(32, 32), (33, 70), (20, 50), (96, 47)])
def test_windows_are_those_of_mmseg(height, width):
    """MMSeg's own loop, as ``EncoderDecoder.slide_inference`` writes it."""
    (h_crop, w_crop), (h_stride, w_stride) = (32, 32), (16, 24)
    expected = []
    for h_idx in range(max(height - h_crop + h_stride - 1, 0) // h_stride + 1):
        for w_idx in range(max(width - w_crop + w_stride - 1, 0) // w_stride + 1):
            y2, x2 = min(h_idx * h_stride + h_crop, height), min(w_idx * w_stride + w_crop, width)
            expected.append((slice(max(y2 - h_crop, 0), y2), slice(max(x2 - w_crop, 0), x2)))
    test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(16, 24))
    assert crop_windows((height, width), test_cfg) == expected


def test_words_that_decide_by_themselves_are_refused():
    segmentor = make_segmentor(mode='whole')
    segmentor.set_classes(NAMES, with_background=True, bg_thresh=0.5, **CONTRAST)
    with pytest.raises(ValueError, match="or set affinity='contrast', with any bg_thresh"):
        next(collect_predictions(segmentor, make_batches(1)))


def test_a_head_without_a_threshold_is_refused():
    segmentor = make_segmentor(mode='whole')
    segmentor.set_classes(['cat', 'dog'])
    with pytest.raises(ValueError, match='with_background=True'):
        next(collect_predictions(segmentor, make_batches(1)))


def test_masks_are_padded_as_images_are():
    (batch,) = make_batches(1, 40, 24)
    (plain,) = collect_predictions(make_segmentor(mode='whole'), [copy.deepcopy(batch)])
    segmentor = make_segmentor(mode='whole')
    segmentor.data_preprocessor.test_cfg = dict(size_divisor=64)
    for ignored in (255, 65535):
        once = copy.deepcopy(batch)
        (padded,) = collect_predictions(segmentor, [once], ignore_index=ignored)
        assert padded.label_map.shape == (64, 64)
        assert torch.equal(padded.label_map[:40, :24], plain.label_map)
        assert (padded.label_map == ignored).sum() == 64 * 64 - 40 * 24


@pytest.mark.parametrize('options', [{}, dict(pamr_steps=1)], ids=['segments', 'scores'])
def test_the_ignored_label_of_16_bits_is_ignored(options):
    segmentor = make_segmentor(mode='whole', **options)
    segmentor.decode_head.affinity = 'softmax'
    segmentor.set_classes(NAMES, with_background=True, bg_thresh=0.5)
    results = []
    for ignored in (255, 65535):
        batches = list(make_batches(2))
        for batch in batches:
            batch['data_samples'][0].gt_sem_seg.data[0, :5] = ignored
        results.append(calibrate_segmentor(segmentor, batches, ignore_index=ignored))
    assert results[0] == results[1]
    with pytest.raises(ValueError, match='65535'):
        calibrate_segmentor(segmentor, batches)
