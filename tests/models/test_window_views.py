"""Views of windows: averaged scores against one pass per view, batches, both kinds of models."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.models import OpenVocabularyModel, OpenVocabularySegmentor
from groupvit_mmseg.models.encoded_windows import (
    EmbeddedClasses,
    EncodedWindows,
    encode_windows,
)
from groupvit_mmseg.models.inference_options import read_options
from groupvit_mmseg.models.window_views import WindowView
from groupvit_mmseg.models.windows import crop_windows
from groupvit_mmseg.text.class_list import make_class_list

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'
SLIDE = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))


@pytest.fixture(params=['groups', 'patches'])
def segmentor(request):
    """One with groups, and one whose patches are the segments, more of them in larger views."""
    cfg = Config.fromfile(CONFIG).model
    if request.param == 'patches':
        cfg.backbone.update(depths=(1,), num_heads=(2,), num_group_tokens=(0,))
        cfg.backbone.num_output_groups = ()
    model = MODELS.build(cfg).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    model.set_classes(['cat', 'dog', 'bus'])
    return model


def scores_of(segmentor, images, **options):
    segmentor.test_cfg = dict(SLIDE, **options)
    with torch.no_grad():
        return [each.pixel_scores() for each in segmentor.segment_windows(images)]


def naive(segmentor, image, scales, flips):
    """Mean over views of the scores of each window, one pass for each view."""
    total, count = torch.zeros(3, *image.shape[1:]), torch.zeros(image.shape[1:])
    segmentor.test_cfg = dict(mode='whole')
    starts = [(y, x) for y in (0, 8) for x in (0, 16)]  # of an image of 40 x 48 pixels
    for y, x in starts:
        crop = image[:, y : y + 32, x : x + 32]
        for scale in scales:
            for flip in flips:
                view = crop.flip(-1) if flip else crop
                side = round(32 * scale)
                view = F.interpolate(view[None], size=(side, side), mode='bilinear')
                with torch.no_grad():
                    (one,) = segmentor.segment_windows(view)
                scores = F.interpolate(one.pixel_scores()[None], size=(32, 32))[0]
                total[:, y : y + 32, x : x + 32] += scores.flip(-1) if flip else scores
                count[y : y + 32, x : x + 32] += 1
    return total / count


@pytest.mark.parametrize(
    'options, scales, flips',
    [
        (dict(tta_flip=True), [1], [False, True]),
        (dict(tta_scales=[0.75, 1.0, 1.25]), [0.75, 1, 1.25], [False]),
        (dict(tta_scales=(0.5, 1.0), tta_flip=True), [0.5, 1], [False, True]),
    ],
)
@pytest.mark.parametrize('batch_size', [1, 5])
def test_scores_are_the_mean_over_views(segmentor, options, scales, flips, batch_size):
    image = torch.randn(3, 40, 48)
    (ours,) = scores_of(segmentor, [image], window_batch_size=batch_size, **options)
    torch.testing.assert_close(ours, naive(segmentor, image, scales, flips))
    (plain,) = scores_of(segmentor, [image])
    assert not ours.allclose(plain)


def test_views_of_several_images_are_encoded_in_batches(segmentor, monkeypatch):
    images, batches = [torch.randn(3, 32, 32), torch.randn(3, 64, 64)], []
    encode = segmentor.backbone.encode
    monkeypatch.setattr(segmentor.backbone, 'encode', lambda x: batches.append(len(x)) or encode(x))
    # A window of 64 pixels in half the size is as large as one of 32.
    segmentor.test_cfg = dict(mode='whole', tta_scales=(1.0, 0.625, 0.5), tta_flip=True)
    with torch.no_grad():
        together = segmentor.segment_windows(images)
    assert max(batches) > 2
    with torch.no_grad():
        alone = [segmentor.segment_windows([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one.pixel_scores(), other.pixel_scores())


def test_encoded_windows_have_the_same_views(segmentor):
    image = torch.randn(3, 40, 48)
    options = dict(tta_scales=(0.75, 1.0), tta_flip=True, window_batch_size=3)
    (expected,) = scores_of(segmentor, [image], **options)
    head = segmentor.decode_head
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    scores = encode_windows(segmentor, image).scored(head, embedded).pixel_scores()
    torch.testing.assert_close(scores, expected)


class Local(OpenVocabularyModel):
    """Logits that depend on single pixels: no flip changes them."""

    def embed_prompts(self, prompts):
        return torch.randn(len(prompts), 3, generator=torch.Generator().manual_seed(0))

    def forward(self, images, prompt_embeds):
        return torch.einsum('bdhw,kd->bkhw', images, prompt_embeds)


def test_other_models_have_views_too():
    segmentor = OpenVocabularySegmentor(Local()).eval()
    segmentor.set_classes(['cat', 'dog'])
    image = torch.randn(3, 40, 48)
    (plain,) = segmentor.pixel_logits([image])
    segmentor.test_cfg = dict(SLIDE, tta_flip=True)
    torch.testing.assert_close(next(segmentor.pixel_logits([image])), plain)
    segmentor.test_cfg = dict(SLIDE, tta_scales=(1.0, 2.0))
    twice = next(segmentor.pixel_logits([image]))
    assert not twice.allclose(plain)
    assert twice.sub(plain).abs().mean() < plain.abs().mean()


def test_undoing_a_view_gives_the_pixels_back():
    group_map = torch.arange(12).view(3, 4)
    view = WindowView(scale=2.0, flip=True)
    doubled = group_map.flip(-1).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(view.undo_map(doubled, (3, 4)), group_map)


@pytest.mark.parametrize('scales', [[], 0, [1, 1], [5], ['1'], [True], [-1, 1]])
def test_sizes_out_of_range_are_refused(scales):
    with pytest.raises(ValueError, match='tta_scales'):
        read_options(dict(tta_scales=scales))


def test_views_have_no_common_groups():
    with pytest.raises(ValueError, match='views have other groups'):
        read_options(dict(tta_flip=True, with_group_map=True))
    with pytest.raises(ValueError, match='tta_flip'):
        read_options(dict(tta_flip=2))


def shared_words(segmentor, image, windows):
    """Two nearest words of each window by the mean of its views, and by each view alone."""
    embeds, together, alone = segmentor.decode_head.encode_classes(), [], []
    for rows, columns in windows:
        views = [view.apply(image[:, rows, columns]) for view in segmentor.options.views]
        outputs = [segmentor.extract_feat(view[None]) for view in views]
        images = [F.normalize(segmentor.decode_head.embed_images(each))[0] for each in outputs]
        logits = torch.stack(images) @ embeds.T
        together.append(set(logits.mean(dim=0).topk(2).indices.tolist()))
        alone.append([set(each.topk(2).indices.tolist()) for each in logits])
    return together, alone


@pytest.mark.parametrize('affinity', ['cosine', 'softmax'])
@pytest.mark.parametrize('mode', [SLIDE, dict(mode='whole')], ids=['slide', 'whole'])
def test_views_of_a_window_choose_their_words_together(segmentor, mode, affinity):
    """A word that one view leaves out of ``top_k`` does not lose that view's affinity."""
    head, images = segmentor.decode_head, [torch.randn(3, 40, 48) for _ in range(3)]
    head.top_k, head.affinity = 2, affinity
    segmentor.set_classes(['cat', 'dog', 'bus', 'boat', 'sheep', 'cow'])
    segmentor.test_cfg = dict(mode, tta_scales=(0.5, 1.0), tta_flip=True)
    segmented, differ = segmentor.segment_windows(images), False
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    for image, windowed in zip(images, segmented, strict=True):
        windows = crop_windows((40, 48), mode)
        together, alone = shared_words(segmentor, image, windows)
        differ |= any(views.count(best) < 4 for best, views in zip(together, alone, strict=True))
        for number, table in enumerate(windowed.scores):
            assert set(table.amax(dim=0).nonzero().flatten().tolist()) == together[number // 4]
            assert not table.requires_grad
        scored = encode_windows(segmentor, image).scored(head, embedded)
        assert not any(table.requires_grad for table in scored.scores)
        torch.testing.assert_close(scored.pixel_scores(), windowed.pixel_scores())
    assert differ  # some view alone would choose others


@torch.no_grad()
def test_views_of_a_window_share_the_mean_of_their_images(segmentor):
    """With ``image_weight`` each view is mixed with all views of the window, not itself alone."""
    head, image = segmentor.decode_head, torch.randn(3, 40, 48)
    head.affinity = 'cosine'
    segmentor.test_cfg = dict(mode='whole', tta_scales=(0.5, 1.0))
    encoded = encode_windows(segmentor, image)
    alone = encoded.affinities(head)
    logits = torch.stack([head.word_logits(output)[0, :1] for output in encoded.outputs])
    of_image = head.word_affinity(logits.mean(dim=0)[None].expand(1, 2, -1))[0]  # (1, K)
    head.image_weight = 0.5
    for mixed, before in zip(encoded.affinities(head), alone, strict=True):
        torch.testing.assert_close(mixed, (before + of_image) / 2)
    segmented = segmentor.segment_windows([image])[0].pixel_scores()
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    torch.testing.assert_close(encoded.scored(head, embedded).pixel_scores(), segmented)


@torch.no_grad()
def test_encoded_windows_are_scored_for_any_threshold(segmentor):
    segmentor.test_cfg = dict(SLIDE)
    image, head = torch.randn(3, 40, 48), segmentor.decode_head
    encoded = encode_windows(segmentor, image)
    assert {each.dtype for each in encoded.group_maps} == {torch.uint8}
    tensors = [t for output in encoded.outputs for t in output.tensors()] + encoded.group_maps
    assert encoded.nbytes == sum(t.untyped_storage().nbytes() for t in map(torch.clone, tensors))
    names = ['background', 'sky', 'sea']  # not those of the head
    classes = make_class_list(names, with_background=True, bg_thresh=0.0)
    embedded = EmbeddedClasses(classes, head.embed_classes(classes))
    assert torch.equal(embedded.class_embeds, head.embed_names(['sky', 'sea']))
    changed = embedded.with_threshold(0.9)
    assert changed.classes == classes._replace(bg_thresh=0.9)
    assert changed.class_embeds is embedded.class_embeds
    none, most = (encoded.scored(head, each).scores for each in (embedded, changed))
    for output, table in zip(encoded.outputs, none, strict=True):
        affinity = head.segment_affinity(output, embedded.class_embeds)[0]
        assert torch.equal(table[:, 1:], affinity)
    assert not any(table[:, 0].any() for table in none)
    assert all(table[:, 0].any() for table in most)
    with pytest.raises(ValueError, match='bg_thresh'):
        embedded.with_threshold(1.5)


@torch.no_grad()
def test_other_windows_than_the_segmentors_can_be_encoded(segmentor):
    segmentor.test_cfg = dict(SLIDE, tta_scales=(0.5, 1.0))
    image = torch.randn(3, 40, 48)
    assert len(encode_windows(segmentor, image).windows) == 2 * 4
    encoded = encode_windows(segmentor, image, dict(mode='whole'))
    assert encoded.windows == [(slice(0, 40), slice(0, 48))] * 2
    assert [each.shape for each in encoded.group_maps] == [(40, 48)] * 2


@pytest.mark.parametrize('num_groups, dtype', [(256, torch.uint8), (257, torch.int32)])
def test_the_group_map_of_a_window_takes_a_byte_for_256_segments(num_groups, dtype):
    encoded = EncodedWindows((2, 2), [], [], [])
    output = SimpleNamespace(segments=torch.zeros(1, num_groups, 300 - num_groups))
    encoded.put(output, torch.zeros(2, 2, dtype=torch.long))
    assert encoded.outputs == [output]
    assert encoded.group_maps[0].dtype == dtype
