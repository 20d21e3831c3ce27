"""The zero-shot head and the segmentor around it."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import load_state_dict as mmengine_load_state_dict
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample

import groupvit_mmseg
from groupvit_mmseg.datasets import segmentation_checks
from groupvit_mmseg.engine.hooks import segmentation_checks_hook
from groupvit_mmseg.models import checked_segmentor as segmentor_module
from groupvit_mmseg.models.pretrainer_weights import from_pretrainer
from groupvit_mmseg.text.class_list import ClassList, make_class_list

NAMES = ['cat', 'dog', 'tree']


def towers():
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    return dict(
        text_encoder=dict(
            type='GroupViTTextEncoder', context_length=16, embed_dims=16, num_layers=1
        ),
        image_projector=dict(projector, in_channels=24),
        text_projector=dict(projector, in_channels=16),
    )


BACKBONE = dict(
    type='GroupViT',
    img_size=32,
    patch_size=8,
    embed_dims=24,
    depths=(1, 1, 1),
    num_heads=(2, 2, 2),
    num_group_tokens=(6, 4, 0),
    num_output_groups=(5, 4),
)


def pretrainer():
    torch.manual_seed(0)
    losses = dict(
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
    )
    return MODELS.build(
        dict(type='GroupViTPretrainer', backbone=BACKBONE, **towers(), **losses)
    ).eval()


def segmentor(test_cfg=None, **head):
    torch.manual_seed(0)
    head = dict(type='GroupViTZeroShotHead', **towers(), **{'class_names': NAMES, **head})
    model = MODELS.build(
        dict(
            type='GroupViTSegmentor',
            backbone=BACKBONE,
            decode_head=head,
            test_cfg=ConfigDict(test_cfg or dict(mode='whole')),
        )
    ).eval()
    # Initial weights make all segments alike; wide ones tell them apart.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def slow_scores(model, image):
    """Section 5 of the method, one image, by loops over segments and pixels; no background."""
    head, output = model.decode_head, model.extract_feat(image)
    scale = float(head.logit_scale.exp().clamp(max=100))
    words = []
    for name in head.prompted_names:
        texts = head.text_encoder(
            groupvit_mmseg.text.tokenize([t.format(name) for t in head.templates], 16)
        )
        words.append(F.normalize(head.text_projector(texts).mean(0), dim=0))
    words = torch.stack(words)
    segments = F.normalize(head.image_projector(output.segments)[0], dim=-1)
    pooled = F.normalize(head.image_projector(output.pooled)[0], dim=-1)
    best = (words @ pooled).topk(min(head.top_k, len(words))).indices.tolist()
    affinity = torch.zeros(len(segments), len(words))
    for s, segment in enumerate(segments):
        logits = scale * words @ segment
        exponents = {k: float(logits[k].exp()) for k in best}
        for k in best:
            let_through = exponents[k] / sum(exponents.values())
            affinity[s, k] = let_through * float(logits.softmax(0)[k])
    probs = output.soft_assignments[1][0] @ output.soft_assignments[0][0]
    probs = F.interpolate(probs.view(1, 4, *output.patch_shape), image.shape[2:], mode='bilinear')
    group_map = probs[0].argmax(0)
    scores = torch.zeros(len(words), *image.shape[2:])
    for y in range(image.shape[2]):
        for x in range(image.shape[3]):
            scores[:, y, x] = affinity[group_map[y, x]]
    return scores, affinity


@torch.no_grad()
@pytest.mark.parametrize('settings', [{}, dict(top_k=2), dict(templates='subset')])
def test_scores_against_loops(settings):
    model, image = segmentor(**settings), torch.randn(1, 3, 40, 48)
    expected, affinity = slow_scores(model, image)
    assert torch.allclose(model.encode_decode(image, [{}])[0], expected, atol=1e-6)
    assert affinity.std() > 1e-3  # the segments differ: the comparison means something


@torch.no_grad()
def test_threshold_makes_background_strictly_below():
    model = segmentor(class_names=['background', *NAMES], with_background=True, bg_thresh=0.5)
    affinity = torch.tensor([[[0.5, 0.1, 0.0], [0.49, 0.2, 0.1], [0.9, 0.0, 0.0]]])
    scores = model.decode_head.segment_scores(affinity)
    assert scores[0, :, 0].tolist() == [0.0, 1.0, 0.0]
    assert torch.equal(scores[..., 1:], affinity)


@torch.no_grad()
def test_threshold_is_lowered_to_the_best_affinity_of_each_image():
    model = segmentor(class_names=['background', *NAMES], with_background=True, bg_thresh=0.95)
    affinity = torch.tensor([[[0.3, 0.1, 0.0], [0.2, 0.1, 0.0]], [[0.99, 0, 0], [0.96, 0, 0]]])
    scores = model.decode_head.segment_scores(affinity)
    assert scores[..., 0].tolist() == [[0.0, 1.0], [0.0, 0.0]]


@torch.no_grad()
def test_background_words_are_background():
    model = segmentor(
        class_names=['background', *NAMES], with_background=True, background_words=['sky', 'sand']
    )
    head = model.decode_head
    assert head.prompted_names == ('cat', 'dog', 'tree', 'sky', 'sand')
    affinity = torch.tensor([[[0.1, 0.2, 0.3, 0.5, 0.4], [0.6, 0.2, 0.3, 0.5, 0.4]]])
    scores = head.segment_scores(affinity)
    assert torch.allclose(scores[0, :, 0], torch.tensor([0.5, 0.5]))
    assert scores.argmax(-1).tolist() == [[0, 1]]


@torch.no_grad()
def test_class_order_only_permutes_the_scores():
    model, image = segmentor(), torch.randn(1, 3, 32, 32)
    scores = model.encode_decode(image, [{}])
    model.set_classes(NAMES[::-1])
    assert torch.allclose(model.encode_decode(image, [{}]).flip(1), scores, atol=1e-6)


@torch.no_grad()
def test_one_window_equals_whole_and_windows_are_averaged():
    image = torch.randn(1, 3, 40, 40)
    whole = segmentor().encode_decode(image, [{}])
    one = segmentor(dict(mode='slide', crop_size=(40, 40), stride=(20, 20)))
    assert torch.allclose(one.slide_inference(image, [{}]), whole, atol=1e-6)
    two = segmentor(dict(mode='slide', crop_size=(40, 32), stride=(40, 8)))
    left, right = (two.encode_decode(image[..., s], [{}]) for s in (slice(0, 32), slice(8, 40)))
    expected = torch.cat(
        [left[..., :8], (left[..., 8:] + right[..., :24]) / 2, right[..., 24:]], dim=-1
    )
    assert torch.allclose(two.slide_inference(image, [{}]), expected, atol=1e-6)


@torch.no_grad()
def test_class_embeddings_follow_weights_names_and_templates():
    model = segmentor()
    head = model.decode_head
    first = head.encode_classes()
    assert 'decode_head.class_embeds' not in model.state_dict()
    assert torch.allclose(first.norm(dim=-1), torch.ones(3))
    head.set_classes(NAMES, templates='full')
    assert head.class_embeds is None
    assert not torch.allclose(head.encode_classes(), first)
    for load in (torch.nn.Module.load_state_dict, mmengine_load_state_dict):
        head.encode_classes()
        load(model, segmentor().state_dict())
        assert head.class_embeds is None
    head.encode_classes()
    model.train()
    assert head.class_embeds is None
    with pytest.raises(RuntimeError, match='eval'):
        head.encode_classes()


@torch.no_grad()
def test_a_pretraining_checkpoint_loads_as_it_is():
    source = pretrainer()
    for load in (
        lambda m, s: m.load_state_dict(s, strict=True),
        lambda m, s: mmengine_load_state_dict(m, s, strict=True),
    ):
        model = segmentor()
        load(model, source.state_dict())
        images, ids = (
            torch.randn(2, 3, 32, 32),
            groupvit_mmseg.text.tokenize(['a cat', 'a dog'], 16),
        )
        embeds = source.embed(images, ids.unsqueeze(1))
        assert torch.equal(
            model.decode_head.image_projector(model.backbone.encode(images).pooled),
            embeds.image_embeds,
        )
        texts = model.decode_head.text_projector(model.decode_head.text_encoder(ids))
        assert torch.allclose(texts, embeds.text_embeds[:, 0], atol=1e-6)
        assert set(model.state_dict()) == set(from_pretrainer(source.state_dict()))


@torch.no_grad()
def test_results_have_the_original_size_and_group_map():
    model = segmentor(dict(mode='whole', with_group_map=True))
    sample = SegDataSample(metainfo=dict(ori_shape=(50, 60), img_shape=(40, 48)))
    (result,) = model.predict(torch.randn(1, 3, 40, 48), [sample])
    assert result.pred_sem_seg.data.shape == (1, 50, 60)
    assert result.pred_group_map.data.shape == (1, 50, 60)
    assert set(result.pred_group_map.data.unique().tolist()) <= {0, 1, 2, 3}
    # Scores are a function of the group: each segment has one set of them before resizing.
    output = model.extract_feat(torch.randn(1, 3, 40, 48))
    groups, scores = output.group_map()[0], model.decode_head(output)[0]
    for group in groups.unique():
        assert scores[:, groups == group].std(dim=1).max() < 1e-6


def test_group_map_in_windows_is_refused():
    with pytest.raises(ValueError, match="mode='whole'"):
        segmentor(dict(mode='slide', with_group_map=True, crop_size=(32, 32), stride=(16, 16)))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(class_names=[]), 'holds no class'),
        (dict(class_names=['background'], with_background=True, bg_thresh=0.5), 'holds no class'),
        (dict(class_names=['cat', ' ']), 'empty name'),
        (dict(class_names=['cat', 'cat']), 'more than once'),
        (dict(class_names='pascal_vox'), 'pascal_voc'),
        (dict(with_background=True), 'needs a bg_thresh'),
        (dict(with_background=True, bg_thresh=1.5), 'outside'),
        (dict(with_background=True, bg_thresh=float('nan')), 'outside'),
        (dict(with_background=True, bg_thresh='officious'), 'official'),
        (dict(bg_thresh=0.5), 'with_background=True'),
        (dict(templates='fool'), 'full'),
        (dict(templates=['a photo']), '{}'),
        (dict(bg_treshold=0.5), 'no option bg_treshold'),
        (dict(with_background=True, bg_thresh=[0.5]), 'outside'),
        (
            dict(class_names=['background', 'background'], with_background=True, bg_thresh=0.5),
            'bac',
        ),
        (dict(top_k=0), 'top_k = 0'),
        (dict(affinity='cosines'), "'cosines' is none of softmax, cosine"),
        (dict(image_weight=1.0), 'image_weight = 1.0 is not a number from 0'),
        (dict(image_weight=-0.1), 'image_weight = -0.1'),
        (dict(image_weight=float('nan')), 'image_weight = nan'),
        (dict(image_weight='half'), "image_weight = 'half'"),
        (dict(image_weight=True), 'image_weight = True'),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message) as error:
        segmentor(**settings)
    assert '\n' not in str(error.value)


@torch.no_grad()
def test_cosine_affinity_by_definition():
    model = segmentor(affinity='cosine', top_k=2).eval()
    head, output = model.decode_head, model.extract_feat(torch.randn(2, 3, 32, 48))
    words = F.normalize(head.encode_classes(), dim=-1)
    pooled = F.normalize(head.image_projector(output.pooled), dim=-1)
    affinity = head.segment_affinity(output)
    for i, segments in enumerate(F.normalize(head.image_projector(output.segments), dim=-1)):
        kept = (pooled[i] @ words.T).topk(2).indices
        for s, segment in enumerate(segments):
            for k, word in enumerate(words):
                expected = (1 + float(segment @ word)) / 2 if k in kept else 0.0
                assert float(affinity[i, s, k]) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_cosine_affinity_ignores_the_other_words():
    """A word has the same affinity in every list, so that a threshold keeps its meaning."""
    model = segmentor(affinity='cosine', class_names=['cat', 'dog'], top_k=9).eval()
    output = model.extract_feat(torch.randn(1, 3, 32, 48))
    pair = model.decode_head.segment_affinity(output)
    model.set_classes(['cat', 'bus', 'sofa', 'dog'])
    assert torch.allclose(model.decode_head.segment_affinity(output)[..., [0, 3]], pair, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize('bg_thresh', [0.3, 0.5, 0.52])
def test_contrast_affinity_by_definition(bg_thresh):
    """Each class against the nearest word of the background; the threshold divides them."""
    words = dict(with_background=True, background_words=['sky', 'grass'], bg_thresh=bg_thresh)
    names = ['background', 'cat', 'dog']
    model = segmentor(affinity='contrast', class_names=names, top_k=1, **words).eval()
    head, output = model.decode_head, model.extract_feat(torch.randn(2, 3, 32, 48))
    cat, dog, sky, grass = F.normalize(head.encode_classes(), dim=-1)
    affinity = head.segment_affinity(output)
    foreground, scores = head.foreground_affinity(affinity), head.segment_scores(affinity)
    for i, segments in enumerate(F.normalize(head.image_projector(output.segments), dim=-1)):
        best = foreground[i].max()
        for s, segment in enumerate(segments):
            surroundings = max(float(segment @ sky), float(segment @ grass))
            expected = [(1 + float(segment @ word) - surroundings) / 2 for word in (cat, dog)]
            assert foreground[i, s].tolist() == pytest.approx(expected, abs=1e-5)
            limit = min(bg_thresh, float(best))
            assert (scores[i, s].argmax() == 0) == (max(foreground[i, s].tolist()) < limit)


@torch.no_grad()
@pytest.mark.parametrize('words', [{}, dict(with_background=True, background_words=['sky'])])
def test_contrast_without_words_or_threshold_is_the_cosine_of_all_words(words):
    names = ['background', 'cat', 'dog'] if words else ['cat', 'dog', 'tree']
    contrast = segmentor(affinity='contrast', class_names=names, top_k=1, **words).eval()
    cosine = segmentor(affinity='cosine', class_names=names, top_k=3, **words).eval()
    cosine.load_state_dict(contrast.state_dict())
    output = cosine.extract_feat(torch.randn(1, 3, 32, 48))
    scores = [
        m.decode_head.segment_scores(m.decode_head.segment_affinity(output))
        for m in (contrast, cosine)
    ]
    assert torch.allclose(*scores)


@torch.no_grad()
@pytest.mark.parametrize('affinity', ['softmax', 'cosine', 'contrast'])
def test_image_weight_is_the_share_of_the_images_own_affinity(affinity):
    model = segmentor(affinity=affinity, class_names=['cat', 'dog', 'bus'], top_k=2).eval()
    head, output = model.decode_head, model.extract_feat(torch.randn(2, 3, 32, 48))
    alone = head.segment_affinity(output)
    logits = head.word_logits(output)
    of_image = head.word_affinity(logits[:, [0, 0]])  # the image as its only segment, (B, 1, K)
    head.image_weight = 0.25
    torch.testing.assert_close(head.segment_affinity(output), 0.75 * alone + 0.25 * of_image)
    if affinity != 'contrast':  # a word that the window cannot contain gains nothing
        assert torch.equal(head.segment_affinity(output) == 0, alone == 0)


@torch.no_grad()
def test_image_weight_changes_what_segments_are_called():
    """Two segments that speak for other words get the word of the whole in the end."""
    head = segmentor(affinity='cosine', class_names=['cat', 'dog'], top_k=2).eval().decode_head
    logits = torch.tensor([[[0.5, 0.1], [0.9, 0.2], [0.3, 0.4]]]) * head.logit_scale.exp()
    assert head.word_affinity(logits).argmax(dim=-1).tolist() == [[0, 1]]
    head.image_weight = 0.5
    assert head.word_affinity(logits).argmax(dim=-1).tolist() == [[0, 0]]


@torch.no_grad()
def test_contrast_leaves_the_background_score_to_the_threshold():
    """The words are in the classes' scores: segments of a class have 0 for the background."""
    words = dict(with_background=True, background_words=['sky'], bg_thresh=0.0)
    names = ['background', 'cat', 'dog', 'bus']
    head = segmentor(affinity='contrast', class_names=names, **words).eval().decode_head
    affinity = torch.tensor([[[0.9, 0.1, 0.3, 0.5], [0.2, 0.6, 0.1, 0.3]]])  # of cat, dog, bus, sky
    scores = head.segment_scores(affinity)
    expected = torch.tensor([[[0.0, 0.9, 0.1, 0.3], [0.0, 0.4, 0.8, 0.3]]])
    torch.testing.assert_close(scores, expected)


@torch.no_grad()
def test_images_and_segments_are_compared_with_the_words_that_are_given():
    head = segmentor(affinity='cosine', class_names=['cat', 'dog'], top_k=9).eval().decode_head
    output = segmentor().eval().extract_feat(torch.randn(2, 3, 32, 48))
    words = head.embed_names(['sky', 'grass', 'bus'])
    affinity = head.segment_affinity(output, words)
    torch.testing.assert_close(affinity, head.word_affinity(head.word_logits(output, words)))
    assert affinity.shape[-1] == 3
    torch.testing.assert_close(head.embed_images(output), head.image_projector(output.pooled))


def test_the_head_learns_nothing_from_masks():
    with pytest.raises(NotImplementedError, match='pretrain with GroupViTPretrainer'):
        segmentor().decode_head.loss(None, None, None)


@torch.no_grad()
@pytest.mark.parametrize(
    'alias_pooling, expected', [('max', [0.4, 0.3, 0.1]), ('mean', [0.25, 0.3, 0.1])]
)
def test_a_class_is_as_near_as_its_words(alias_pooling, expected):
    model = segmentor(aliases={'cat': ['kitten']}, alias_pooling=alias_pooling)
    head = model.decode_head
    assert head.prompted_names == ('cat', 'kitten', 'dog', 'tree')
    assert head.encode_classes().shape == (4, 8)
    affinity = torch.tensor([[[0.1, 0.4, 0.3, 0.1]]])
    assert torch.allclose(head.segment_scores(affinity)[0, 0], torch.tensor(expected))
    assert model.encode_decode(torch.randn(1, 3, 32, 32), [{}]).shape[1] == 3


@torch.no_grad()
def test_a_class_may_have_templates_of_its_own():
    head = segmentor(class_templates={'dog': ['a drawing of a {}.']}).decode_head
    embeds, common = head.encode_classes(), head.embed_names(NAMES)
    assert torch.allclose(embeds[[0, 2]], common[[0, 2]], atol=1e-6)
    drawing = head.embed_names(['dog'], ['a drawing of a {}.'])
    assert torch.allclose(embeds[1:2], drawing, atol=1e-6)
    assert not torch.allclose(drawing, common[1:2], atol=1e-3)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="neither 'max' nor 'mean'"):
        segmentor(alias_pooling='sum')


FULL = dict(
    class_names=['background', *NAMES],
    with_background=True,
    bg_thresh=0.3,
    background_words=['sky'],
    templates=['a {}.', 'the {}.'],
    aliases={'cat': ['kitten']},
    class_templates={'dog': ['a drawing of a {}.']},
    alias_pooling='mean',
    class_thresholds={'cat': 0.2},
)
CHANGES = dict(
    class_names=['background', 'cat', 'dog', 'bus'],
    bg_thresh=0.7,
    background_words=['wall', 'floor'],
    templates='subset',
    aliases={'tree': ['palm']},
    class_templates={'cat': ['a {}']},
    alias_pooling='max',
    class_thresholds={'dog': 0.9},
)


@pytest.mark.parametrize('name', CHANGES)
def test_one_option_of_a_class_list_changes_alone(name):
    assert set(CHANGES) | {'with_background'} == set(ClassList._fields)
    head = segmentor(**FULL).decode_head
    before = head.classes
    assert all(before._asdict()[key] != value for key, value in ClassList._field_defaults.items())
    head.encode_classes()
    head.set_classes(before.changed(**{name: CHANGES[name]}))
    after = make_class_list(**(FULL | {name: CHANGES[name]}))
    assert head.classes == after
    assert [key for key in ClassList._fields if getattr(after, key) != getattr(before, key)] == [
        name
    ]
    assert head.class_embeds is None
    assert head.prompted_names == after.words
    head.set_classes(after, bg_thresh=0.9)
    assert head.classes == after._replace(bg_thresh=0.9)


def test_options_that_a_head_shows_cannot_be_set_past_its_class_list():
    head = segmentor(**FULL).decode_head
    for name in ('bg_thresh', 'templates', 'class_names'):
        with pytest.raises(AttributeError):
            setattr(head, name, None)
    assert head.bg_thresh == head.classes.bg_thresh == 0.3


def test_a_list_that_cannot_be_used_leaves_the_present_one():
    head = segmentor(**FULL).decode_head
    embeds, before = head.encode_classes(), head.classes
    with pytest.raises(ValueError, match='outside'):
        head.set_classes(before, bg_thresh=2)
    assert head.classes is before
    assert head.class_embeds is embeds


@pytest.mark.parametrize('sizes', [[(32, 40), (32, 40)], [(32, 40), (40, 32)]], ids=str)
def test_masks_of_a_batch_are_checked_once(monkeypatch, sizes):
    checks, check = [], segmentation_checks.check_masks

    def counted(samples, *args, **options):
        checks.append(len(samples))
        return check(samples, *args, **options)

    for module in (segmentor_module, segmentation_checks_hook):
        monkeypatch.setattr(module, 'check_masks', counted)
    model = segmentor()
    batch = dict(
        inputs=[torch.zeros(3, *size) for size in sizes],
        data_samples=[
            SegDataSample(
                metainfo=dict(ori_shape=size),
                gt_sem_seg=PixelData(data=torch.zeros(1, *size, dtype=torch.uint8)),
            )
            for size in sizes
        ],
    )
    # As a loop of mmengine calls them.
    HOOKS.build(dict(type='SegmentationChecksHook')).before_test_iter(
        SimpleNamespace(model=model), 0, batch
    )
    with torch.no_grad():
        assert len(model.test_step(batch)) == 2
    assert checks == [2]


@torch.no_grad()
def test_scores_of_other_classes_leave_the_heads_alone():
    head = segmentor().decode_head
    affinity = torch.rand(2, 4, 4)
    other = make_class_list(
        ['background', 'cat', 'dog'],
        with_background=True,
        bg_thresh=0.5,
        aliases={'cat': ['kitten'], 'dog': ['puppy']},
    )
    scores = head.segment_scores(affinity, other)
    assert scores.shape == (2, 4, 3)
    pooled = torch.stack([affinity[..., :2].amax(-1), affinity[..., 2:].amax(-1)], dim=-1)
    assert torch.equal(scores[..., 1:], pooled)
    assert torch.equal(head.foreground_affinity(affinity, other), pooled)
    assert torch.equal(head.foreground_affinity(affinity[..., :3]), affinity[..., :3])
    assert torch.equal(head.segment_scores(affinity[..., :3]), affinity[..., :3])
    assert head.classes.class_names == tuple(NAMES)


@torch.no_grad()
def test_kept_embeddings_are_used_without_encoding_again(monkeypatch):
    model = segmentor()
    head, output = model.decode_head, model.extract_feat(torch.randn(1, 3, 32, 32))
    affinity = head.segment_affinity(output)

    def encode():
        raise AssertionError('the classes are encoded already')

    monkeypatch.setattr(head, 'encode_classes', encode)
    assert torch.equal(head.segment_affinity(output), affinity)
    as_doubles = head.segment_affinity(output, head.class_embeds.double())
    assert as_doubles.dtype == torch.float32
    assert torch.equal(as_doubles, affinity)


def test_training_mode_is_the_default_of_train():
    head = segmentor().decode_head
    assert not head.training
    assert head.train() is head
    assert head.training


def test_settings_of_a_new_head():
    torch.manual_seed(0)
    head = MODELS.build(dict(type='GroupViTZeroShotHead', **towers(), class_names=NAMES))
    assert (head.top_k, head.affinity, head.image_weight) == (5, 'softmax', 0)
    assert not head.align_corners
    assert head.num_classes == head.out_channels == len(NAMES)
    assert float(head.logit_scale.detach().exp()) == pytest.approx(1 / 0.07)
    assert 'class_embeds' in head._buffers
    head.eval().encode_classes()
    assert 'class_embeds' not in head.state_dict()
    assert segmentor(top_k=1).decode_head.top_k == 1
