"""``apply_protocol``: each field of a protocol and of a class list reaches the scores."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from groupvit_mmseg.benchmark.apply_protocol import apply_protocol
from groupvit_mmseg.benchmark.protocols import Protocol
from groupvit_mmseg.benchmark.run_set import segmentation_pipeline
from groupvit_mmseg.evaluation import collect_predictions
from groupvit_mmseg.models import checked_segmentor as segmentor_module
from groupvit_mmseg.text.class_list import make_class_list

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'
CLASSES = dict(
    class_names=('background', 'cat', 'dog', 'bus'),
    with_background=True,
    background_words=(),
    aliases={'cat': ('kitten',)},
    class_templates={'dog': ('a drawing of a {}.',)},
)
BASE = Protocol('mine', 'me', crop_size=32, stride=16, bg_thresh=0.4)
CHANGES = dict(
    crop_size=24,
    stride=8,
    templates='identity',
    bg_thresh=0.1,
    background_words=('sky',),
    top_k=2,
    affinity='cosine',
    image_weight=0.5,
    logit_scale=5.0,
    pamr_steps=3,
    crf_steps=2,
    tta_scales=(0.5, 1.0),
    tta_flip=True,
    alias_pooling='mean',
)
CLASS_CHANGES = dict(
    class_names=('background', 'cat', 'dog', 'tree'),
    aliases={'bus': ('lorry',)},
    class_templates={'cat': ('a drawing of a {}.',)},
    class_thresholds={'cat': 0.3, 'dog': 0.3, 'bus': 0.3},
)
OF_THE_PROTOCOL = {'bg_thresh', 'background_words', 'templates', 'alias_pooling'}


@pytest.fixture(scope='module')
def segmentor():
    """A tiny segmentor that sees several classes in a picture."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model).eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    return model


@pytest.fixture
def scores(segmentor, monkeypatch):
    """Scores of a picture by a protocol and classes."""
    monkeypatch.setattr(segmentor_module, 'load_library', lambda: None)
    monkeypatch.setattr(segmentor_module, 'dense_crf', lambda s, _, num_steps: s**num_steps)
    coarse = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    image = torch.nn.functional.interpolate(coarse, (45, 61))

    @torch.no_grad()
    def find(protocol, classes=CLASSES):
        apply_protocol(segmentor, protocol, CLASSES['class_names'], 14.0, classes)
        return segmentor.inference(image, [{}])

    return find


@pytest.mark.parametrize('name', CHANGES)
def test_every_field_of_a_protocol_changes_the_scores(scores, name):
    assert set(CHANGES) | {'short_side'} == set(BASE.fields())
    base = BASE.changed(alias_pooling='max')
    before = scores(base)
    assert not torch.equal(scores(base.changed(**{name: CHANGES[name]})), before)
    assert torch.equal(scores(base), before)  # nothing of it is left


def test_the_short_side_is_that_of_the_pipeline():
    (resize,) = [step for step in segmentation_pipeline(BASE) if step['type'] == 'Resize']
    (other,) = [
        step
        for step in segmentation_pipeline(BASE.changed(short_side=99))
        if step['type'] == 'Resize'
    ]
    assert (resize['scale'], other['scale']) == ((2048, 448), (2048, 99))


@pytest.mark.parametrize('name', CLASS_CHANGES)
def test_every_field_of_a_class_file_changes_the_scores(scores, name):
    assert set(CLASS_CHANGES) | OF_THE_PROTOCOL | {'with_background'} == set(
        make_class_list(['cat'])._asdict()
    )
    changed = scores(BASE, CLASSES | {name: CLASS_CHANGES[name]})
    assert not torch.equal(changed, scores(BASE))


@pytest.mark.parametrize('pooling', ['max', 'mean'])
def test_a_protocol_without_a_pooling_keeps_the_models(segmentor, scores, pooling):
    segmentor.set_classes(['thing'], alias_pooling=pooling)
    model_pooling = scores(BASE)
    assert segmentor.decode_head.classes.alias_pooling == pooling
    assert torch.equal(model_pooling, scores(BASE.changed(alias_pooling=pooling)))


def test_options_of_no_protocol_stay(segmentor, scores):
    segmentor.test_cfg = dict(window_batch_size=3, precision='bf16', with_group_map=True)
    scores(BASE)
    options = dict(window_batch_size=3, precision='bf16', with_scores=False)
    windows = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    assert segmentor.options.changed() == options | windows
    segmentor.test_cfg = {}


def test_predictions_of_segments_are_not_those_of_refined_scores(segmentor):
    for name in ('pamr_steps', 'crf_steps'):
        segmentor.set_classes(CLASSES['class_names'], with_background=True, bg_thresh=0.5)
        segmentor.test_cfg = {}
        segmentor.test_cfg.update({name: 3})
        with pytest.raises(ValueError, match=f'collected without {name}'):
            next(collect_predictions(segmentor, []))
    segmentor.test_cfg = {}
