"""Protocols and sets by name: the figures of their sources."""

import pytest

from groupvit_mmseg.evaluation.benchmarks import BENCHMARKS, PUBLISHED_BY, chosen_sets
from groupvit_mmseg.evaluation.protocols import PRESETS, WITH_BACKGROUND, protocol
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
    ],
)
def test_figures_of_the_sources(name, class_set, short_side, crop_size, stride, threshold):
    chosen = protocol(name, class_set)
    assert (chosen.short_side, chosen.crop_size, chosen.stride) == (short_side, crop_size, stride)
    assert chosen.bg_thresh == threshold


def test_every_field_can_be_changed_and_changes_are_told():
    changed = protocol('official', 'pascal_voc', bg_thresh=0.7, short_side=336)
    assert changed.changes_from(protocol('official', 'pascal_voc')) == dict(
        bg_thresh=0.7, short_side=336
    )
    assert protocol('paper', 'coco_object', bg_thresh=0.8).bg_thresh == 0.8


def test_background_words_are_no_classes_and_only_where_there_is_a_background():
    for class_set in WITH_BACKGROUND:
        words = protocol('sclip', class_set).background_words
        assert not set(words) & set(class_names(class_set))
    assert protocol('sclip', 'pascal_voc').background_words
    assert not protocol('sclip', 'pascal_voc20', background_words=('sky',)).background_words


def test_a_stand_in_is_never_silent():
    assert [name for name in PRESETS if PRESETS[name].common.caveat] == ['tcl', 'sclip']


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
    assert chosen_sets(['all']) == tuple(BENCHMARKS)
    assert chosen_sets(['voc20', 'voc21', 'voc20']) == ('voc20', 'voc21')
    for benchmark in BENCHMARKS.values():
        assert len(benchmark.published) == len(PUBLISHED_BY)
    sizes = {name: len(class_names(b.class_set)) for name, b in list(BENCHMARKS.items())[:-1]}
    assert list(sizes.values()) == [21, 60, 81, 20, 59, 171, 19, 150]
    with pytest.raises(ValueError, match='use all, or some of voc21'):
        chosen_sets(['voc22'])
