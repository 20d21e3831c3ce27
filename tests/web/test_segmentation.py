"""What the page shows: as the inferencer computes it, each picture encoded once."""

import threading

import numpy as np
import pytest
import torch

from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import Deadline
from groupvit_web.errors import PageError, RequestCancelled
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.pixels import explain_pixel
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import read_picture

from .conftest import WORDS, png

REQUEST = SegmentationRequest(WORDS)


def shown(segmenter, picture, request):
    """The result behind the figures."""
    scores = segmenter.scores(picture, request)
    return scores.decide(segmenter.model.head, segmenter.classes(request))


@pytest.mark.parametrize('mode', ['whole', 'slide'])
@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(bg_thresh=0.3),
        dict(bg_thresh=0.6, pamr_steps=2),
        dict(background_words=('snow', 'fog'), pamr_steps=1),
        dict(bg_thresh=0.2, background_words=('snow',)),
        dict(aliases={'cat': ('kitten', 'tomcat')}, templates='subset'),
        dict(words=('cat',)),
        dict(words=('cat',), bg_thresh=0.4),
    ],
)
def test_the_page_shows_what_the_inferencer_computes(segmenter, picture, mode, changes):
    request = REQUEST._replace(mode=mode, **changes)
    result, expected = shown(segmenter, picture, request), segmenter.result(picture, request)
    assert result.class_names == expected.class_names
    assert np.allclose(result.confidence, expected.confidence, atol=1e-5)
    assert np.allclose(result.margin, expected.margin, atol=1e-5)
    clear = expected.margin > 1e-5
    assert clear.any()
    assert (result.label_map == expected.label_map)[clear].all()
    if mode == 'whole' and 'templates' not in changes:  # one window: the same batches
        assert (result.label_map == expected.label_map).all()


def test_weights_that_give_no_numbers_are_one_sentence(segmenter, picture, monkeypatch):
    scale = segmenter.model.head.logit_scale
    monkeypatch.setattr(scale, 'data', torch.full_like(scale, float('nan')))
    with pytest.raises(PageError, match='The weight logit_scale has 1 of 1 values'):
        segmenter.scores(picture, REQUEST)
    monkeypatch.undo()
    assert segmenter.scores(picture, REQUEST) is not None


def test_the_tests_see_several_classes(segmenter, picture):
    for mode in ('whole', 'slide'):
        shares = segmenter.result(picture, REQUEST._replace(mode=mode)).shares
        assert len([share for share in shares.values() if share > 0.05]) > 1
        with_threshold = REQUEST._replace(mode=mode, bg_thresh=0.5)
        assert 0.1 < segmenter.result(picture, with_threshold).shares['background'] < 0.9


def test_the_result_is_that_of_an_inferencer_of_its_own(segmenter, picture, weights):
    request = REQUEST._replace(mode='whole', bg_thresh=0.5, pamr_steps=1)
    inferencer = GroupViTInferencer.from_pretrained(weights, class_names=list(WORDS), bg_thresh=0.5)
    inferencer.set_options(mode='whole', pamr_steps=1)
    expected = inferencer(picture.pixels())
    result = segmenter.result(picture, request)
    assert (result.label_map == expected.label_map).all()
    assert (result.scores == expected.scores).all()


def test_weights_segment_as_the_config_in_them_says(weights, picture, tmp_path):
    content = torch.load(weights, weights_only=True)
    text = content['meta']['cfg']
    changed = text.replace("bg_thresh='official'", "affinity='cosine', top_k=2").replace(
        "type='GroupViTSegmentor'", "type='GroupViTSegmentor', test_cfg=dict(mode='whole')"
    )
    content['meta']['cfg'] = changed
    torch.save(content, tmp_path / 'own.pth')
    own = PageSegmenter(PageModel.open(tmp_path / 'own.pth'))
    assert (own.model.head.affinity, own.model.head.top_k) == ('cosine', 2)
    assert own.model.test_cfg(None)['mode'] == 'whole'
    assert own.model.test_cfg('slide')['crop_size'] == (64, 64)
    result, expected = shown(own, picture, REQUEST), own.result(picture, REQUEST)
    assert (result.label_map == expected.label_map).all()


def test_a_request_leaves_nothing_in_the_model(segmenter, picture):
    head = segmenter.model.head
    before = head.classes, dict(segmenter.model.test_cfg(None))
    segmenter.result(picture, REQUEST._replace(mode='whole', pamr_steps=3))
    with pytest.raises(PageError):
        segmenter.result(picture, REQUEST, deadline=Deadline(0))
    assert (head.classes, dict(segmenter.model.test_cfg(None))) == before


@pytest.fixture
def counted(model, monkeypatch):
    """Numbers of encodings and of embedded words."""
    counts = dict(encoded=0, embedded=0)
    encode, embed = model._inferencer.encode, model.head.embed_names

    def encode_one(*args, **kwargs):
        counts['encoded'] += 1
        return encode(*args, **kwargs)

    def embed_some(names, templates):
        counts['embedded'] += len(names)
        return embed(names, templates)

    monkeypatch.setattr(model._inferencer, 'encode', encode_one)
    monkeypatch.setattr(model.head, 'embed_names', embed_some)
    monkeypatch.setattr(model, 'words', type(model.words)(model.head))
    return counts


def test_a_threshold_neither_encodes_nor_embeds(segmenter, picture, counted):
    first = segmenter.segment(picture, REQUEST)
    assert (first.was_encoded, counted) == (True, dict(encoded=1, embedded=5))
    for changes in (
        dict(bg_thresh=0.3),
        dict(bg_thresh=0.9),
        dict(opacity=0.1),
        dict(colours={'cat': (1, 2, 3)}),
    ):
        result = segmenter.segment(picture, REQUEST._replace(**changes))
        assert not result.was_encoded
        assert result.heat_maps is first.heat_maps
        assert result.groups is first.groups
    assert counted == dict(encoded=1, embedded=5)
    assert segmenter.segment(picture, REQUEST._replace(words=(*WORDS, 'bus'))).overlay
    assert counted == dict(encoded=1, embedded=6)  # the new word alone
    assert segmenter.segment(picture, REQUEST._replace(mode='whole')).was_encoded


def test_the_same_words_in_other_roles_are_other_requests(segmenter, picture):
    three = REQUEST._replace(words=('cat', 'kitten', 'dog'))
    alias = REQUEST._replace(words=('cat', 'dog'), aliases={'cat': ('kitten',)})
    background = REQUEST._replace(words=('cat', 'kitten'), background_words=('dog',))
    for request in (three, alias, background, three._replace(bg_thresh=0.3)):
        names = segmenter.classes(request).foreground
        result = segmenter.segment(picture, request)
        assert tuple(figure.title for figure in result.heat_maps) == names
    assert len(segmenter._scored) == 3


def test_refined_backgrounds_are_kept_by_threshold(model, segmenter, picture):
    seen = set()
    for threshold in (0.05, 0.3, 0.6, 0.3, 0.05):
        request = REQUEST._replace(mode='whole', pamr_steps=2, bg_thresh=threshold)
        background = shown(segmenter, picture, request).background
        assert (background == shown(PageSegmenter(model), picture, request).background).all()
        seen.add(background.tobytes())
    kept = segmenter.scores(picture, request).backgrounds
    assert len(kept) == len(seen) > 1


def test_equal_pictures_are_encoded_once(segmenter, picture, counted):
    other = read_picture(png(50, 70), name='copy.png')
    barrier = threading.Barrier(6)

    def visit(index):
        barrier.wait()
        segmenter.segment(picture if index % 2 else other, REQUEST)

    threads = [threading.Thread(target=visit, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counted == dict(encoded=1, embedded=5)
    segmenter.segment(read_picture(png(50, 70, seed=1)), REQUEST)
    assert counted['encoded'] == 2


def test_the_figures_and_their_texts(segmenter, picture):
    result = segmenter.segment(picture, REQUEST._replace(bg_thresh=0.3))
    assert [figure.title for figure in result.heat_maps] == list(WORDS)
    assert len(result.groups) == 2
    assert 'segments of stage 2' in result.groups[1].alt
    figures = [result.overlay, result.confidence, *result.groups]
    assert {figure.size for figure in figures} == {picture.shown.shape[:2]}
    for figure in (*figures, *result.heat_maps):
        assert figure.array().shape == (*figure.size, 3)
        assert figure.alt.endswith('.')
    assert WORDS[0] in result.heat_maps[0].alt


def test_colours_and_opacity(segmenter, picture):
    request = REQUEST._replace(mode='whole', opacity=1.0)
    top = segmenter.segment(picture, request).shares[0].name
    coloured = request._replace(colours={top: (10, 200, 90)})
    overlay = segmenter.segment(picture, coloured).overlay.array().astype(int)
    near = np.abs(overlay - (10, 200, 90)).max(axis=-1) < 12
    assert near.mean() > 0.3
    clear = segmenter.segment(picture, coloured._replace(opacity=0.0)).overlay.array().astype(int)
    assert np.abs(clear - picture.shown).max(axis=-1).mean() < 20
    black = segmenter.segment(picture, request._replace(colours={top: (0, 0, 0)}))
    assert (black.overlay.array().max(axis=-1) < 12).mean() > 0.3  # painted, and not left out


def test_shares_and_their_confidence(segmenter, picture):
    request = REQUEST._replace(bg_thresh=0.3, aliases={'cat': ('kitten',)})
    rows, result = segmenter.segment(picture, request).shares, shown(segmenter, picture, request)
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert [row.share for row in rows] == sorted((row.share for row in rows), reverse=True)
    assert {row.name for row in rows} == {'background', *WORDS}
    for row in rows:
        mask = result.label_map == result.class_names.index(row.name)
        assert row.share == pytest.approx(mask.mean())
        if mask.any():
            assert row.confidence == pytest.approx(result.confidence[mask].mean(), abs=1e-6)
        else:
            assert row.confidence is None
        assert (row.colour is None) == (row.name == 'background')
    assert next(row.words for row in rows if row.name == 'cat') == ('cat', 'kitten')


def test_a_large_picture_is_shown_reduced(model):
    picture = read_picture(png(300, 210), limits=Limits(shown_side=100))
    assert (picture.shown.shape, picture.is_reduced) == ((100, 70, 3), True)
    segmenter = PageSegmenter(model)
    result = segmenter.segment(picture, REQUEST)
    assert result.overlay.size == (100, 70)
    full = segmenter.result(picture, REQUEST)
    assert full.label_map.shape == (300, 210)
    labels = shown(segmenter, picture, REQUEST).label_map
    assert (labels == full.label_map[1::3, 1::3]).mean() > 0.9


def test_limits_of_a_request(segmenter, picture, model):
    with pytest.raises(PageError, match='This took longer than 0 seconds'):
        segmenter.segment(picture, REQUEST, deadline=Deadline(0))
    with pytest.raises(RequestCancelled):
        segmenter.segment(picture, REQUEST, deadline=Deadline(60, lambda: True))
    small = PageSegmenter(model, Limits(result_bytes=1000))
    with pytest.raises(PageError, match=r'5 classes at 70 x 50 pixels need .* GiB'):
        small.result(picture, REQUEST)


def test_a_visitor_who_leaves_frees_the_model(segmenter, picture):
    calls = []

    def leaves_in_the_middle():
        calls.append(1)
        return len(calls) > 3

    with pytest.raises(RequestCancelled):
        segmenter.segment(picture, REQUEST, deadline=Deadline(60, leaves_in_the_middle))
    assert segmenter.segment(picture, REQUEST, deadline=Deadline(60)).was_encoded
    backbone = segmenter.model._inferencer.segmentor.backbone
    assert not any(module._forward_pre_hooks for module in backbone.modules())


def test_waiting_for_the_model_ends_with_the_time(model, segmenter, picture):
    with model.turn(Deadline(60)):
        with pytest.raises(PageError, match='took longer'):
            segmenter.segment(picture, REQUEST, deadline=Deadline(0.1))
    assert segmenter.segment(picture, REQUEST).overlay


def test_a_picture_smaller_than_a_patch(segmenter):
    with pytest.raises(PageError, match=r'dot\.png has 3 x 3 pixels: each side needs at least 8'):
        segmenter.segment(read_picture(png(3, 3), name='dot.png'), REQUEST)


def test_a_pixel_is_explained(segmenter, picture):
    request = REQUEST._replace(mode='whole', bg_thresh=0.3)
    result, expected = shown(segmenter, picture, request), segmenter.result(picture, request)
    segments = np.unique(expected.group_map)
    assert len(segments) > 1
    for segment in segments:
        y, x = np.argwhere(expected.group_map == segment)[-1].tolist()
        row, column = y * picture.factor + 3, x * picture.factor + 5
        report = explain_pixel(segmenter, picture, request, row, column)
        assert (report.row, report.column) == (row, column)
        assert report.segments[-1].segment == segment
        assert report.name == result.class_names[result.label_map[y, x]]
        assert report.margin == pytest.approx(result.margin[y, x])
        scores = dict(report.scores)
        for name, score in zip(expected.class_names, expected.scores[:, y, x], strict=True):
            assert scores[name] == pytest.approx(float(score), abs=1e-6)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        assert [segment.stage for segment in report.segments] == [1, 2]
        last = report.segments[-1]
        mask = expected.group_map == expected.group_map[y, x]
        assert last.share == pytest.approx(mask.mean())
        figure = last.figure.array().astype(int)
        inside = picture.enlarged(mask)
        error = np.abs(figure - picture.shown).max(axis=-1)
        assert np.median(error[inside]) < 10  # as the picture, and darker elsewhere
        assert figure[~inside].mean() < 0.7 * picture.shown[~inside].mean()


@pytest.mark.parametrize('row,column', [(-1, 0), (350, 0), (0, 490)])
def test_a_pixel_outside_the_picture(segmenter, picture, row, column):
    with pytest.raises(PageError, match='the picture has 350 rows and 490 columns'):
        explain_pixel(segmenter, picture, REQUEST, row, column)


def test_the_caches_are_bounded(model):
    limits = Limits(encoding_bytes=600_000, score_bytes=900_000)
    segmenter = PageSegmenter(model, limits)
    for seed in range(6):
        segmenter.segment(read_picture(png(50, 70, seed)), REQUEST)
        assert segmenter.encodings.kept.size <= limits.encoding_bytes
        assert segmenter._scored.size <= limits.score_bytes
    assert 0 < len(segmenter.encodings.kept) < 6
    assert 0 < len(segmenter._scored) < 6
    last = read_picture(png(50, 70, 5))
    assert not segmenter.segment(last, REQUEST).was_encoded
    assert segmenter.segment(read_picture(png(50, 70, 0)), REQUEST).was_encoded


def test_a_cache_of_bytes():
    cache = ByteCache(100)
    for key in 'abc':
        cache.put(key, key.upper(), 40)
    assert [cache.get(key) for key in 'abc'] == [None, 'B', 'C']
    cache.get('b')
    cache.put('d', 'D', 40)  # c was used before b
    assert [cache.get(key) for key in 'bcd'] == ['B', None, 'D']
    cache.put('b', 'again', 60)
    assert (cache.get('b'), cache.size) == ('again', 100)
    cache.put('b', 'too large', 101)
    assert (cache.get('b'), cache.size, len(cache)) == (None, 40, 1)
