"""Batched windows and labels in bounded memory, against MMSegmentation's own loop over windows."""

import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch.utils._python_dispatch import TorchDispatchMode

from groupvit_mmseg.models.refinement import pamr
from groupvit_mmseg.models.windows import (
    CHUNK_BYTES,
    WindowedImage,
    best_channels,
    confidence_of,
    crop_windows,
    in_fitting_chunks,
    smallest_integers,
)

CONFIG = Path(__file__).parents[1] / 'data' / 'configs' / 'tiny_zeroshot.py'
NAMES = [f'thing {index}' for index in range(9)]


def make_segmentor(class_names=NAMES, head=(), **test_cfg):
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIG).model
    cfg.decode_head.update(
        dict(class_names=class_names, with_background=False, bg_thresh=None) | dict(head)
    )
    cfg.test_cfg = dict(mode='slide', crop_size=(32, 32), stride=(16, 16)) | test_cfg
    segmentor = MODELS.build(cfg).eval()
    for name, parameter in segmentor.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    return segmentor


def with_background(**test_cfg):
    head = dict(with_background=True, bg_thresh=0.6, top_k=3)
    return make_segmentor(['background', *NAMES], head, **test_cfg)


def stock(segmentor, image, meta):
    """One image the way MMSegmentation does it: window by window, every class at every pixel."""
    scores = EncoderDecoder.slide_inference(segmentor, image[None], [dict(meta)])
    return segmentor.postprocess_result(scores, [SegDataSample(metainfo=dict(meta))])[0]


def images(*sizes):
    generator = torch.Generator().manual_seed(1)
    for height, width in sizes:
        coarse = torch.randn(1, 3, height // 4 + 1, width // 4 + 1, generator=generator)
        yield torch.nn.functional.interpolate(coarse, (height, width))[0]


METAS = {
    'same size': dict(ori_shape=(45, 61)),
    'larger': dict(ori_shape=(97, 140)),
    'smaller': dict(ori_shape=(20, 31)),
    'flipped': dict(ori_shape=(90, 122), flip=True, flip_direction='horizontal'),
    'padded': dict(ori_shape=(50, 70), img_padding_size=[1, 2, 3, 4]),
}


@torch.no_grad()
@pytest.mark.parametrize('meta', METAS.values(), ids=METAS)
@pytest.mark.parametrize('make', [make_segmentor, with_background])
def test_labels_are_those_of_the_stock_loop_bit_for_bit(make, meta):
    segmentor = make(with_scores=False, window_batch_size=1)
    (image,) = images((45, 61))
    expected = stock(segmentor, image, meta)
    (found,) = segmentor.predict([image], [SegDataSample(metainfo=dict(meta))])
    assert 'seg_logits' not in found
    assert torch.equal(found.pred_sem_seg.data, expected.pred_sem_seg.data)
    assert len(found.pred_sem_seg.data.unique()) > 1

    segmentor.test_cfg.with_scores = True
    (found,) = segmentor.predict(image[None], [SegDataSample(metainfo=dict(meta))])
    assert torch.equal(found.seg_logits.data, expected.seg_logits.data)


@torch.no_grad()
@pytest.mark.parametrize('make', [make_segmentor, with_background])
def test_labels_of_batched_windows_differ_only_where_two_classes_tie(make):
    segmentor, meta = make(with_scores=False, window_batch_size=5), METAS['larger']
    (image,) = images((45, 61))
    expected = stock(segmentor, image, meta)
    (found,) = segmentor.predict([image], [SegDataSample(metainfo=dict(meta))])
    first, second = expected.seg_logits.data.topk(2, dim=0).values
    apart = first - second > 1e-5
    assert apart.float().mean() > 0.9
    assert torch.equal(found.pred_sem_seg.data[0][apart], expected.pred_sem_seg.data[0][apart])


@torch.no_grad()
@pytest.mark.parametrize('chunk_bytes', [1, 100_000, 10**9])
def test_labels_do_not_depend_on_how_many_classes_are_held_at_a_time(chunk_bytes):
    segmentor = with_background()
    (image,) = images((45, 61))
    (windowed,) = segmentor.segment_windows([image])
    labels = windowed.label_map(lambda scores: scores, 45 * 61, chunk_bytes=chunk_bytes)
    assert torch.equal(labels, windowed.pixel_scores().argmax(0))


def test_where_nothing_scores_the_first_class_is_the_label():
    tables = [torch.tensor([[0.0, 0.0, 0.3, 0.3], [0.0, 0.0, 0.0, 0.0]])]
    group_map = torch.tensor([[0, 1]], dtype=torch.uint8)
    image = WindowedImage((1, 2), [(slice(0, 1), slice(0, 2))], [group_map], tables)
    assert image.active_channels() == [2, 3]
    for chunk_bytes in (1, 10**6):
        labels = image.label_map(lambda scores: scores, 2, chunk_bytes=chunk_bytes)
        assert labels.tolist() == [[2, 0]]  # the lower of two equal ones; none at all


@torch.no_grad()
def test_images_of_different_sizes_share_batches_of_windows(monkeypatch):
    segmentor = make_segmentor(window_batch_size=4, with_scores=False)
    both = list(images((45, 61), (32, 70)))
    alone = [segmentor.predict([image])[0].pred_sem_seg.data for image in both]
    batches, encode = [], segmentor.backbone.encode
    monkeypatch.setattr(segmentor.backbone, 'encode', lambda x: batches.append(len(x)) or encode(x))
    together = segmentor.predict(both)
    assert batches == [4, 4, 2]  # 6 windows and 4
    for result, expected in zip(together, alone, strict=True):
        assert (result.pred_sem_seg.data == expected).float().mean() > 0.999


def test_a_dataloaders_batch_may_hold_images_of_different_sizes():
    segmentor = make_segmentor()
    pictures = [(image * 60 + 128).clamp(0, 255).byte() for image in images((40, 50), (48, 40))]
    samples = [
        SegDataSample(
            metainfo=dict(ori_shape=p.shape[1:], img_shape=p.shape[1:]),
            gt_sem_seg=PixelData(data=torch.zeros(1, *p.shape[1:], dtype=torch.long)),
        )
        for p in pictures
    ]
    results = segmentor.val_step(dict(inputs=pictures, data_samples=samples))
    assert [tuple(r.pred_sem_seg.data.shape) for r in results] == [(1, 40, 50), (1, 48, 40)]
    assert all('gt_sem_seg' in result for result in results)


@torch.no_grad()
def test_bf16_changes_the_backbone_only_and_little():
    segmentor = make_segmentor()
    (image,) = images((45, 61))
    expected = segmentor.segment_windows([image])[0]
    segmentor.test_cfg.precision = 'bf16'
    found = segmentor.segment_windows([image])[0]
    assert found.scores[0].dtype == torch.float32
    difference = torch.stack(found.scores) - torch.stack(expected.scores)
    assert 0 < difference.abs().mean() < 0.05


@torch.no_grad()
def test_a_segmentor_refines_before_it_resizes_whatever_it_returns():
    segmentor = make_segmentor(pamr_steps=4)
    (image,) = images((45, 61))
    plain = segmentor.segment_windows([image])[0].pixel_scores()
    (result,) = segmentor.predict([image])
    expected = pamr(plain, image, num_steps=4)
    assert torch.equal(result.seg_logits.data, expected)
    assert not torch.equal(expected.argmax(0), plain.argmax(0))
    segmentor.test_cfg.with_scores = False
    (result,) = segmentor.predict([image])
    assert torch.equal(result.pred_sem_seg.data[0], expected.argmax(0))


class PeakBytes(TorchDispatchMode):
    """The most bytes of tensors made inside that were alive at a time."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage not in self.seen:
                self.seen[storage] = True
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _free(self, count):
        self.now -= count


WEIGHT = torch.ones(1)
KEPT = WEIGHT.untyped_storage() is WEIGHT.untyped_storage()


@pytest.mark.skipif(not KEPT, reason='before torch 2.3 a storage cannot be followed')
@torch.no_grad()
def test_memory_does_not_grow_with_the_number_of_classes():
    size, classes = 256, 171
    segmentor = make_segmentor([f'thing {i}' for i in range(classes)], with_scores=False)
    segmentor.decode_head.encode_classes()
    (image,) = images((size, size))
    (windowed,) = segmentor.segment_windows([image])
    assert len(windowed.active_channels()) > 20
    pixel, budget = size * size, 2**20
    with PeakBytes() as peak:
        windowed.label_map(lambda scores: scores, pixel, chunk_bytes=budget)
    assert peak.peak < budget + 30 * pixel
    assert classes * 4 * pixel > 5 * (budget + 30 * pixel)  # what all classes at once would take


SCRIPT = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import torch
from mmengine.registry import init_default_scope
import groupvit_mmseg
import test_windows as t
init_default_scope('mmseg')
segmentor = t.make_segmentor(
    [f'thing {i}' for i in range(171)], with_scores=False, crop_size=(448, 448), stride=(224, 224)
)
segmentor.decode_head.encode_classes()
image = torch.randn(3, 256, 256).repeat(1, 16, 16)
with torch.no_grad():
    segmentor.predict([image[:, :500, :500]])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (result,) = segmentor.predict([image])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, result.pred_sem_seg.data.shape)
"""


@pytest.mark.slow
def test_171_classes_at_4096_pixels_take_less_than_768_mebibytes():
    command = [sys.executable, '-c', SCRIPT, str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kibibytes, shape = done.stdout.strip().split(maxsplit=1)
    assert shape == 'torch.Size([1, 4096, 4096])'
    assert int(kibibytes) < 768 * 2**10  # all scores at once are 11 GiB


@torch.no_grad()
@pytest.mark.parametrize('chunk_bytes', [1, 100_000, 10**9])
def test_the_best_score_needs_few_classes_at_a_time(chunk_bytes, monkeypatch):
    (image,) = images((45, 61))
    (windowed,) = with_background().segment_windows([image])
    expected = windowed.pixel_scores()[1:].amax(0)
    held, pixel_scores = [], WindowedImage.pixel_scores

    def watched(self, channels=None):
        held.append(len(channels))
        return pixel_scores(self, channels)

    monkeypatch.setattr(WindowedImage, 'pixel_scores', watched)
    best = windowed.best_scores(lambda s: s, 45 * 61, first=1, chunk_bytes=chunk_bytes)
    assert torch.equal(best, expected)
    assert max(held) <= max(1, chunk_bytes // (4 * 4 * 45 * 61))


def by_hand(tables, *, size=(2, 3), windows=None):
    """An image of one row of two segments a window: the first column, and the others."""
    windows = windows or [(slice(0, size[0]), slice(0, size[1]))]
    group_map = torch.ones(size, dtype=torch.uint8)
    group_map[:, 0] = 0
    return WindowedImage(size, windows, [group_map] * len(tables), list(map(torch.tensor, tables)))


def test_best_scores_by_hand():
    image = by_hand([[[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]]])
    rows = {0: [0.9, 0.4, 0.4], 1: [0.5, 0.4, 0.4], 2: [0.1, 0.4, 0.4]}
    for first, expected in rows.items():
        best = image.best_scores(lambda s: s, 6, first=first)
        assert torch.equal(best, torch.tensor([expected] * 2))
    assert torch.equal(image.best_scores(lambda s: s, 6), torch.tensor([rows[0]] * 2))
    nothing = by_hand([[[0.9, 0.0], [0.2, 0.0]]])
    assert torch.equal(nothing.best_scores(lambda s: s, 6, first=1), torch.zeros(2, 3))


@pytest.mark.parametrize('chunk_bytes, held', [(1, 1), (399, 1), (400, 2), (599, 2), (600, 3)])
def test_channels_that_fit_in_the_bytes_are_held_together(chunk_bytes, held, monkeypatch):
    # Four bytes a score, twice 6 pixels before and twice 19 after they are finished: 200.
    image = by_hand([[[0.9, 0.5, 0.1, 0.3], [0.2, 0.3, 0.4, 0.3]]])
    counts, pixel_scores = [], WindowedImage.pixel_scores

    def watched(self, channels=None):
        counts.append(len(channels))
        return pixel_scores(self, channels)

    monkeypatch.setattr(WindowedImage, 'pixel_scores', watched)
    for run in (image.label_map, image.best_scores):
        counts.clear()
        run(lambda s: s, 19, chunk_bytes=chunk_bytes)
        assert max(counts) == held
        assert sum(counts) == 4


def test_pixels_are_means_over_the_windows_that_cover_them():
    windows = [(slice(0, 2), slice(0, 3)), (slice(0, 2), slice(1, 4))]
    group_map = torch.tensor([[0, 1, 1]] * 2)
    tables = [torch.tensor([[0.8, 0.0], [0.4, 0.0]]), torch.tensor([[0.2, 0.0], [0.6, 0.0]])]
    image = WindowedImage((2, 4), windows, [group_map] * 2, tables)
    assert image.window_counts().tolist() == [[1, 2, 2, 1]] * 2
    expected = torch.tensor([[0.8, 0.3, 0.5, 0.6]] * 2)
    torch.testing.assert_close(image.pixel_scores()[0], expected)
    torch.testing.assert_close(image.pixel_scores([0])[0], expected)
    assert image.pixel_scores([1]).shape == (1, 2, 4)
    assert image.active_channels() == [0]


def test_an_image_without_any_score_has_the_first_class():
    assert by_hand([[[0.0], [0.0]]]).label_map(lambda s: s, 6).tolist() == [[0] * 3] * 2


def test_labels_of_many_classes_take_four_bytes():
    image = by_hand([[[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]]])
    best, labels = best_channels(image.pixel_scores, [1, 2], 1)
    assert labels.dtype == torch.int32
    assert labels.tolist() == [[1, 2, 2]] * 2
    assert torch.equal(best, torch.tensor([[0.5, 0.4, 0.4]] * 2))


def test_a_window_without_scores_is_an_error():
    windows = [(slice(0, 2), slice(0, 3))] * 2
    with pytest.raises(ValueError, match='shorter'):
        by_hand([[[0.9], [0.2]]], windows=windows).pixel_scores()


def test_the_confidence_of_the_background_is_what_is_left():
    labels, best = torch.tensor([[0, 1, 2]]), torch.tensor([[0.25, 0.75, 0.5]])
    assert confidence_of(labels, best, True).tolist() == [[0.75, 0.75, 0.5]]
    assert confidence_of(labels, best, False).tolist() == [[0.25, 0.75, 0.5]]


def test_group_maps_take_a_byte_where_it_is_enough():
    group_map = torch.tensor([[255, 0]])
    for count, dtype in ((1, torch.uint8), (256, torch.uint8), (257, torch.int32)):
        smallest = smallest_integers(group_map, count)
        assert smallest.dtype == dtype
        assert smallest.tolist() == group_map.tolist()


def test_windows_by_hand():
    assert crop_windows((40, 50), {}) == [(slice(0, 40), slice(0, 50))]
    assert crop_windows((40, 50), dict(mode='whole')) == [(slice(0, 40), slice(0, 50))]
    slide = dict(mode='slide', crop_size=(32, 30), stride=(16, 15))
    spans = [slice(0, 30), slice(15, 45), slice(20, 50)]
    rows = [slice(0, 32), slice(8, 40)]
    assert crop_windows((40, 50), slide) == [(r, c) for r in rows for c in spans]
    # One pixel more than whole steps takes one more window, none takes none.
    rows = [slice(0, 32), slice(8, 40), slice(9, 41)]
    steps = dict(mode='slide', crop_size=(32, 32), stride=(8, 1))
    assert crop_windows((41, 32), steps) == [(each, slice(0, 32)) for each in rows]
    with pytest.raises(ValueError, match='shorter'):
        crop_windows((40, 50), dict(slide, stride=(16,)))
    small = dict(mode='slide', crop_size=(64, 50), stride=(32, 25))
    assert crop_windows((40, 50), small) == [(slice(0, 40), slice(0, 50))]


def test_chunks_of_the_usual_size_are_tried_first():
    tried = []

    def run(*, chunk_bytes):
        tried.append(chunk_bytes)
        return torch.zeros(1)

    assert in_fitting_chunks(run) == 0
    assert tried == [CHUNK_BYTES]
