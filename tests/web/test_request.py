"""Words and options of a visitor: the inferencer's class list, or one clear sentence."""

import pytest

from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text.class_list import make_class_list
from groupvit_mmseg.text.contrast_words import contrast_words
from groupvit_web.default_words import EVERYDAY_WORDS, default_words
from groupvit_web.errors import PageError
from groupvit_web.limits import Limits
from groupvit_web.segmentation import SegmentationRequest

BASE = make_class_list('pascal_voc', with_background=True, bg_thresh='official')


def classes_of(*words, **options):
    return SegmentationRequest(words, **options).class_list(BASE, Limits())


def test_words_become_a_class_list():
    assert classes_of(' cat ', 'old dog') == make_class_list(['cat', 'old dog'])
    assert classes_of('cat', 'dog', bg_thresh=0.3) == make_class_list(
        ['background', 'cat', 'dog'], with_background=True, bg_thresh=0.3
    )
    with_aliases = classes_of('cat', 'dog', aliases={'cat': ('kitten',)}, background_words=('sky',))
    assert with_aliases.words == ('cat', 'kitten', 'dog', 'sky')
    assert (
        classes_of('cat', 'dog', templates='full').templates
        == make_class_list(['cat'], templates='full').templates
    )


def test_a_word_alone_is_compared_with_others():
    alone = classes_of('cat')
    assert alone.background_words == contrast_words(make_class_list(['cat']))
    assert classes_of('cat', bg_thresh=0.5).background_words == ()
    assert classes_of('cat', background_words=('sky',)).background_words == ('sky',)


@pytest.mark.parametrize(
    'words,options,sentence',
    [
        ((), {}, 'Add a word: the name of something in the picture.'),
        ((' ', ''), {}, 'Add a word'),
        (('cat', 'The Cat'), {}, "'cat' and 'The Cat', which are one word"),
        (('cat', 'dog'), dict(aliases={'dog': ('cats', 'cat')}), 'more than once'),
        (('cat', 'dog'), dict(background_words=('dog',)), 'more than once'),
        (('cat', 'dog'), dict(aliases={'cow': ('calf',)}), 'There is no class cow'),
        (('cat', 'dog'), dict(aliases={'dog': (' ',)}), 'A word is empty: remove it.'),
        (('cat, dog',), {}, '"cat, dog" holds a comma or another separator'),
        (('cat\ndog', 'sky'), {}, 'separator'),
        (('background', 'dog'), dict(bg_thresh=0.5), 'is no word to look for'),
        (('x' * 81,), {}, f'The word "{"x" * 20}..." has 81 characters, more than the limit of 80'),
        (tuple(f'word {i}' for i in range(101)), {}, '101 words are more than the limit of 100.'),
        (('cat', 'dog'), dict(bg_thresh=1.5), 'The threshold 1.5 is outside'),
        (('cat', 'dog'), dict(bg_thresh=float('nan')), 'threshold nan is outside'),
        (('cat', 'dog'), dict(opacity=-0.1), 'The opacity -0.1 is outside'),
        (('cat', 'dog'), dict(opacity=float('nan')), 'The opacity nan is outside'),
        (('cat', 'dog'), dict(mode='both'), "There is no mode 'both': choose whole or slide."),
        (('cat', 'dog'), dict(pamr_steps=21), 'PAMR takes 0 to 20 steps, not 21.'),
        (('cat', 'dog'), dict(pamr_steps=-1), 'PAMR takes 0 to 20 steps'),
        (('cat', 'dog'), dict(templates='none'), "There is no template set 'none'"),
        (('cat', 'dog'), dict(colours={'cat': (0, 0, 256)}), 'The colour of cat must be three'),
        (('cat', 'dog'), dict(colours={'cat': (0, 0)}), 'The colour of cat must be three'),
    ],
)
def test_what_cannot_be_used_is_one_sentence(words, options, sentence):
    with pytest.raises(PageError) as error:
        classes_of(*words, **options)
    assert sentence in str(error.value)
    assert '\n' not in str(error.value)


def test_the_words_of_a_validation_are_the_first_words(tmp_path):
    import torch

    def words_of(text):
        path = tmp_path / 'a.pth'
        torch.save(dict(state_dict={'a': torch.zeros(1)}, meta=dict(cfg=text)), path)
        return default_words(path)

    things = "head = dict(class_names=['ball', 'ring'])"
    longer = "val = dict(class_names=['background', 'ball', 'ring', 'sand'])"
    assert words_of(f'{things}\n{longer}') == ('ball', 'ring', 'sand')
    assert words_of(things) == ('ball', 'ring')
    many = f'dict(class_names={["a"] * 99})'
    endless = 'a = ' + '-' * 100_000 + '1'  # the parser runs out of depth
    for text in ('', "dict(class_names='pascal_voc')", 'not ( python', many, endless):
        assert words_of(text) == EVERYDAY_WORDS


def test_a_model_and_its_licence(model, weights):
    assert (model.name, model.is_released) == ('tiny', False)
    assert 'not the released weights' in model.license_line
    assert model.default_words == EVERYDAY_WORDS


VOC_THRESHOLD = 0.95


@pytest.mark.parametrize(
    'stated,threshold',
    [
        ({}, VOC_THRESHOLD),
        (dict(class_names='cat, dog'), None),
        (
            dict(class_names=['background', 'cat'], with_background=True, background_words=['sky']),
            None,
        ),
        (
            dict(
                class_names=make_class_list(
                    ['background', 'cat'], with_background=True, bg_thresh=0.4
                )
            ),
            0.4,
        ),
    ],
)
def test_the_threshold_of_voc_belongs_to_its_classes(weights, stated, threshold):
    """A class file states a background explicitly; a threshold that it does not state is none."""
    inferencer = GroupViTInferencer.from_pretrained(weights, **stated)
    assert inferencer.segmentor.decode_head.bg_thresh == threshold
