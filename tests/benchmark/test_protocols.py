"""Protocols and sets by name: the figures of their sources."""

import pytest

from groupvit_mmseg.benchmark.protocols import PRESETS, WITH_BACKGROUND, has_background, protocol
from groupvit_mmseg.benchmark.published import PUBLISHED, PUBLISHED_BY
from groupvit_mmseg.benchmark.result_types import ProtocolFields
from groupvit_mmseg.benchmark.sets import BENCHMARKS, read_benchmark, select_sets
from groupvit_mmseg.text.vocabulary import class_names


@pytest.mark.parametrize(
    'name, class_set, short_side, crop_size, stride, threshold',
    [
        ('official', 'pascal_voc', 448, 448, 224, 0.95),
        ('official', 'pascal_context', 448, 448, 224, 0.35),
        ('official', 'ade20k', 448, 448, 224, None),
        ('paper', 'pascal_voc', 448, 448, 224, 0.9),
        ('tcl', 'coco_object', 448, 448, 224, 0.5),
        ('tcl', 'cityscapes', 448, 448, 224, None),
        ('sclip', 'pascal_context', 336, 224, 112, 0.1),
        ('sclip', 'cityscapes', 560, 224, 112, None),
        ('sclip', 'coco_stuff', 448, 224, 112, None),
        ('clearclip', 'pascal_voc', 448, 448, 224, 0.5),
        ('clearclip', 'pascal_context', 448, 448, 224, 0.15),
        ('clearclip', 'coco_object', 448, 448, 224, 0.4),
        ('clearclip', 'cityscapes', 448, 224, 112, None),
        ('naclip', 'pascal_context', 336, 224, 112, 0.1),
        ('naclip', 'cityscapes', 560, 224, 112, None),
        ('segclip', 'pascal_voc', 224, 224, 224, 0.8),
        ('segclip', 'pascal_context', 224, 224, 224, 0.25),
        ('segclip', 'coco_object', 224, 224, 224, 0.65),
        ('ovsegmentor', 'pascal_voc', 448, 448, 224, 0.95),
        ('ovsegmentor', 'pascal_context', 448, 448, 224, 0.35),
        ('ovsegmentor', 'coco_object', 448, 448, 224, 0.9),
        ('trident', 'pascal_voc', 448, 224, 112, 0.2),
        ('trident', 'pascal_context', 576, 224, 112, 0.15),
        ('trident', 'pascal_context59', 576, 224, 112, None),
        ('trident', 'cityscapes', 688, 224, 112, None),
        ('trident', 'coco_object', 448, 224, 112, 0.25),
        ('corrclip', 'pascal_voc', 336, 224, 112, 0.2),
        ('corrclip', 'pascal_context', 336, 224, 112, 0.15),
        ('corrclip', 'coco_object', 336, 224, 112, 0.25),
        ('corrclip', 'cityscapes', 448, 224, 112, None),
        ('cass', 'coco_object', 336, 224, 112, 0.1),
        ('cass', 'cityscapes', 560, 224, 112, None),
        ('textregion', 'pascal_voc', 672, 224, 112, 0.4),
        ('textregion', 'pascal_context', 672, 224, 112, 0.35),
        ('textregion', 'coco_object', 672, 224, 112, 0.5),
        ('textregion', 'cityscapes', 1344, 224, 112, None),
        ('dinotxt', 'ade20k', 512, 384, 192, None),
    ],
)
def test_figures_of_the_sources(name, class_set, short_side, crop_size, stride, threshold):
    result = protocol(name, class_set)
    assert (result.short_side, result.crop_size, result.stride) == (short_side, crop_size, stride)
    assert result.bg_thresh == threshold


def test_every_field_can_be_changed_and_changes_are_listed():
    changed = protocol('official', 'pascal_voc', bg_thresh=0.7, short_side=336)
    assert changed.changes_from(protocol('official', 'pascal_voc')) == dict(
        bg_thresh=0.7, short_side=336
    )
    assert protocol('paper', 'coco_object', bg_thresh=0.8).bg_thresh == 0.8


def test_the_types_of_changes_list_every_field():
    fields = protocol('official', 'pascal_voc').fields()
    assert set(ProtocolFields.__annotations__) == set(fields)


def test_background_words_are_no_classes_and_only_where_there_is_a_background():
    for class_set in WITH_BACKGROUND:
        words = protocol('sclip', class_set).background_words
        assert not set(words) & set(class_names(class_set))
    assert protocol('sclip', 'pascal_voc').background_words
    assert not protocol('sclip', 'pascal_voc20', background_words=('sky',)).background_words


def test_what_models_that_score_themselves_do_not_follow_is_listed():
    official = protocol('official', 'pascal_voc')
    of_windows = 'a window keeps all classes, not the 5 nearest ones'
    assert official.unmet_by_adapters() == [of_windows]
    changed = official.changed(affinity='cosine', image_weight=0.5)
    assert changed.unmet_by_adapters() == [
        of_windows,
        'the model scores classes itself, not by cosine',
        'image_weight = 0.5 is not applied',
    ]


def test_a_stand_in_is_never_silent():
    assert [name for name in PRESETS if not PRESETS[name].common.caveat] == ['official', 'paper']


@pytest.mark.parametrize('name', list(PRESETS))
@pytest.mark.parametrize('benchmark', [b for b in BENCHMARKS.values() if b.name != 'imagenet'])
def test_every_protocol_fits_every_set(name, benchmark):
    knows = name not in ('dinotxt', 'paper') or not has_background(benchmark.class_set)
    changes = {} if knows else dict(bg_thresh=0.5)
    result = protocol(name, benchmark.class_set, **changes)
    assert result.name == name
    assert result.class_list(benchmark.class_set).class_names == class_names(benchmark.class_set)
    assert result.stride <= result.crop_size <= result.short_side
    assert (result.bg_thresh is not None) == has_background(benchmark.class_set)


def test_dinotxt_has_no_threshold_of_its_own():
    with pytest.raises(ValueError, match='give one with bg_thresh'):
        protocol('dinotxt', 'pascal_voc')


@pytest.mark.parametrize(
    'arguments, changes, message',
    [
        (('mine', 'pascal_voc'), {}, 'official, paper, tcl, sclip'),
        (('paper', 'coco_object'), {}, 'give one with bg_thresh'),
        (('official', 'pascal_voc'), dict(treshold=0.5), 'bg_thresh'),
        (('official', 'pascal_voc'), dict(source='me'), 'no source to change'),
    ],
)
def test_what_a_protocol_does_not_know_is_refused(arguments, changes, message):
    with pytest.raises(ValueError, match=message):
        protocol(*arguments, **changes)


def test_nine_sets_with_their_sizes_and_published_numbers():
    assert len(BENCHMARKS) == 9
    assert select_sets(['all']) == tuple(BENCHMARKS.values())
    sets = select_sets(['voc20', 'voc21', 'voc20'])
    assert [benchmark.name for benchmark in sets] == ['voc20', 'voc21']
    for benchmark in BENCHMARKS.values():
        assert len(benchmark.published) == len(PUBLISHED_BY)
    sizes = {name: len(class_names(b.class_set)) for name, b in list(BENCHMARKS.items())[:-1]}
    assert list(sizes.values()) == [21, 60, 81, 20, 59, 171, 19, 150]
    with pytest.raises(ValueError, match='use all, some of voc21'):
        select_sets(['voc22'])


def test_published_scores_name_protocol_and_source():
    assert PUBLISHED_BY[:2] == ('GroupViT GCC+YFCC', 'GroupViT GCC+RedCaps')
    assert len(set(PUBLISHED_BY)) == len(PUBLISHED)
    for each in PUBLISHED:
        assert each.protocol in PRESETS or each.protocol == 'its own'
        assert 'arXiv' in each.source or 'authors of GroupViT' in each.source
        assert each.scores
        assert set(each.scores) <= set(BENCHMARKS)
        assert all(0 < score < 100 for score in each.scores.values())
    scores = {each.method: each.scores for each in PUBLISHED}
    assert scores['CorrCLIP v2'] == dict(voc21=82.3, context60=51.1, coco_object=58.0)
    assert scores['Talk2DINO'] == dict(voc21=65.8)
    assert BENCHMARKS['voc20'].published[PUBLISHED_BY.index('NACLIP')] == 83.0
    assert BENCHMARKS['imagenet'].published[:2] == (43.7, 51.6)


def test_a_set_of_ones_own_takes_classes_from_its_config_or_its_type(tmp_path):
    (tmp_path / 'pets.py').write_text(
        "val_dataloader = dict(dataset=dict(type='BaseSegDataset', data_root='pets',"
        " metainfo=dict(classes=['background', 'cat'])))"
    )
    (tmp_path / 'streets.py').write_text(
        "test_dataloader = dict(dataset=dict(type='CityscapesDataset', data_root='streets'))"
    )
    pets, streets = select_sets([str(tmp_path / 'pets.py'), str(tmp_path / 'streets.py')])
    assert (pets.name, pets.class_set) == ('pets', ('background', 'cat'))
    assert str(pets.folder('data')) == 'pets'
    assert str(BENCHMARKS['voc21'].folder('data')) == 'data/VOCdevkit/VOC2012'
    assert streets.class_set[:2] == ('road', 'sidewalk')
    assert [has_background(one.class_set) for one in (pets, streets)] == [True, False]
    assert protocol('official', pets.class_set, bg_thresh=0.4).bg_thresh == 0.4
    assert protocol('tcl', streets.class_set).bg_thresh is None
    assert read_benchmark(tmp_path / 'pets.py') == pets
    assert set(pets.published) == {None}


def test_two_sets_of_one_name_are_refused(tmp_path):
    (tmp_path / 'voc21.py').write_text(
        "test_dataloader = dict(dataset=dict(type='PascalVOCDataset', data_root='x'))"
    )
    with pytest.raises(ValueError, match='Two sets are called voc21'):
        select_sets(['voc21', str(tmp_path / 'voc21.py')])


@pytest.mark.parametrize(
    'changes, reason',
    [
        (dict(background_words=5), '5 is neither a text nor a list'),
        (dict(logit_scale='high'), "logit_scale = 'high' is not above 0"),
        (dict(logit_scale=[1, 2]), r'logit_scale = \[1, 2\] is not above 0'),
        (dict(logit_scale=True), 'logit_scale = True is not above 0'),
        (dict(name='mine'), 'has no name to change'),
        (dict(image_weight=1), 'image_weight = 1 is not a number from 0'),
        (dict(top_k=0), 'top_k = 0 must be a positive number'),
        (dict(affinity='cosines'), "'cosines' is none of softmax, cosine"),
    ],
)
def test_values_of_another_type_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        protocol('official', 'pascal_voc', **changes)


@pytest.mark.parametrize(
    'changes, reason',
    [
        (dict(templates=5), 'templates = 5 is neither'),
        (dict(templates=None), 'templates = None is neither'),
        (dict(templates=[5]), 'template 5 has no place for the word'),
        (dict(bg_thresh=True), 'bg_thresh = True is outside'),
        (dict(background_words=['sky', 5]), 'holds 5, which is no text'),
    ],
)
def test_class_lists_of_another_type_are_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        protocol('official', 'pascal_voc', **changes).class_list('pascal_voc')


def test_no_background_words_can_be_said():
    assert protocol('sclip', 'pascal_voc', background_words=None).background_words == ()
