"""Weights of every format where a checkpoint is taken: tools, runner, inferencer."""

import argparse
import copy

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image
from safetensors.torch import save_file

from groupvit_cli.segment import SegmentOptions, make_inferencer, run
from groupvit_mmseg.checkpoints import from_official, released
from groupvit_mmseg.checkpoints.loading import load_weights, read_checkpoint
from groupvit_mmseg.checkpoints.module_settings import check_checkpoint
from groupvit_mmseg.checkpoints.pretrained import weights_for
from groupvit_mmseg.checkpoints.released import RELEASED
from groupvit_mmseg.checkpoints.sources import check_source, locate
from groupvit_mmseg.engine.runner.runner import GroupViTRunner
from groupvit_mmseg.inference import GroupViTInferencer, load_segmentor

NAME = 'groupvit-gcc-yfcc'
SOURCES = ('official.pth', 'plugin.pth', 'hf', 'hf.bin', 'official.safetensors', NAME)


@pytest.fixture(scope='module')
def whole(official):
    """Official tensors of a small model, with all words of the vocabulary."""
    key = 'text_encoder.token_embedding.weight'
    tensors = dict(official['two_stage'])
    words = torch.randn(49408, tensors[key].shape[1], generator=torch.Generator().manual_seed(0))
    return {**tensors, key: words}


@pytest.fixture(scope='module')
def converted(convert, whole, tmp_path_factory):
    """Folder of the same weights in every format, and the config of their model."""
    folder = tmp_path_factory.mktemp('any')
    source = folder / 'official.pth'
    tower = dict(model=dict(img_encoder=dict(num_heads=[6, 6, 6])))
    content = dict(model=whole, config=tower, args=argparse.Namespace(a=1))
    torch.save(content, source)
    assert not convert('official_to_plugin', source, folder / 'plugin.pth')
    assert not convert('plugin_to_hf', folder / 'plugin.pth', folder / 'hf')
    assert not convert('plugin_to_hf', folder / 'plugin.pth', folder / 'bin/pytorch_model.bin')
    save_file(whole, folder / 'official.safetensors')
    return folder


@pytest.fixture
def sources(converted, tmp_path, monkeypatch):
    """The same weights by every source; the name is in the cache."""
    home = tmp_path / 'home'
    home.mkdir()
    (home / RELEASED[NAME].file).symlink_to(converted / 'official.pth')
    monkeypatch.setitem(released.RELEASED, NAME, RELEASED[NAME]._replace(sha256=''))
    monkeypatch.setenv('GROUPVIT_HOME', str(home))
    places = {name: str(converted / name) for name in SOURCES}
    return {**places, 'hf.bin': str(converted / 'bin'), NAME: NAME}


@pytest.fixture
def cfg(converted):
    """Config of the segmentor."""
    return Config.fromfile(converted / 'plugin.py')


def pretrainer(cfg, **changes):
    """Config of the pretrainer of the same parts."""
    head = cfg.model.decode_head
    parts = {name: head[name] for name in ('text_encoder', 'image_projector', 'text_projector')}
    return dict(
        type='GroupViTPretrainer',
        data_preprocessor=cfg.model.data_preprocessor,
        backbone=cfg.model.backbone,
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        **parts,
        **changes,
    )


MULTI_LABEL = dict(loss_multi_label=dict(type='MultiLabelContrastiveLoss', temperature=0.5))


@pytest.mark.parametrize('name', SOURCES)
def test_every_source_fills_segmentor_and_pretrainer(sources, cfg, whole, same_bits, name):
    source, expected = sources[name], from_official(whole)
    segmentor = load_segmentor(cfg, source).state_dict()
    for key, value in expected.items():
        if key.startswith(('backbone.', 'text_encoder.', 'image_projector.', 'text_projector.')):
            own = key if key.startswith('backbone.') else f'decode_head.{key}'
            assert torch.equal(segmentor[own], value), key
    with DefaultScope.overwrite_default_scope('mmseg'):
        models = [MODELS.build(pretrainer(cfg, **options)) for options in ({}, MULTI_LABEL)]
    for model in models:
        checkpoint = read_checkpoint(source)
        initial = model.state_dict().get('loss_multi_label.logit_scale')
        if name == 'plugin.pth' and initial is None:
            continue  # a checkpoint of training must fit
        if initial is not None and 'hf' in name:
            expected['loss_multi_label.logit_scale'] = initial.clone()
        load_weights(model, weights_for(model, checkpoint, source=source), source=source)
        check_checkpoint(model, checkpoint, source=source)
        same_bits(model.state_dict(), {key: expected[key] for key in model.state_dict()})


@pytest.mark.parametrize('name', SOURCES)
def test_other_heads_than_those_of_the_weights_are_refused(sources, cfg, name):
    other = copy.deepcopy(cfg)
    other.model.decode_head.text_encoder.num_heads = 2
    for read in (load_segmentor, GroupViTInferencer):
        with pytest.raises(ValueError, match='disagree on text_heads'):
            read(other, sources[name])


def test_a_scale_that_the_official_code_lacks_is_refused(sources, cfg):
    cfg.model.backbone.assign_scale = 8.0
    with pytest.raises(ValueError, match=r'the official code and .* assign_scale, 1\.0 and 8\.0'):
        load_segmentor(cfg, sources['official.pth'])


def test_keys_of_no_groupvit_beside_official_ones_are_listed(official_file, tmp_path):
    path = official_file(**{'img_encoder.adapter.weight': torch.ones(1)})
    with pytest.raises(ValueError, match=r'official_two_stage\.pth: .*img_encoder\.adapter'):
        read_checkpoint(path)


def test_a_model_of_ones_own_keeps_its_names(tmp_path):
    content = dict(meta=dict(epoch=1), state_dict={'text_model.weight': torch.ones(1)})
    torch.save(content, tmp_path / 'epoch_1.pth')
    assert list(read_checkpoint(tmp_path / 'epoch_1.pth')['state_dict']) == ['text_model.weight']


def test_sources_are_checked_without_downloads(sources, tmp_path):
    accepted = [*sources.values(), 'hf://owner/name', 'https://nowhere/a.pth', 'nvidia/' + NAME]
    for source in accepted:
        check_source(source)
    (tmp_path / 'empty').mkdir()
    refused = {
        'work_dirs/none.pth': r'There is no checkpoint at work_dirs/none\.pth; check the path',
        'groupvit-gcc-yfc': r'no model has this name \(did you mean groupvit-gcc-yfcc',
        str(tmp_path / 'empty'): 'holds none of model.safetensors',
    }
    for source, sentence in refused.items():
        for check in (check_source, locate, read_checkpoint):
            with pytest.raises(FileNotFoundError, match=sentence):
                check(source)


def runner(cfg, tmp_path, **entries):
    """A runner of the pretrainer that stands before its first step."""
    data = dict(type='ImageTextDataset', sources=[])
    content = dict(
        default_scope='mmseg',
        model=pretrainer(cfg, **MULTI_LABEL),
        work_dir=str(tmp_path / 'work'),
        train_dataloader=dict(dataset=data, batch_size=1, num_workers=0),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        experiment_name=tmp_path.name,
        **entries,
    )
    return GroupViTRunner.from_cfg(Config(content))


@pytest.mark.parametrize('name', [NAME, 'hf', 'official.pth'])
def test_training_starts_from_every_source_and_resumes_from_none(sources, cfg, tmp_path, name):
    started = runner(cfg, tmp_path, load_from=sources[name])
    started.load_or_resume()
    expected = read_checkpoint(sources[name])['state_dict']
    own = started.model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in expected.items())
    resumed = runner(cfg, tmp_path, load_from=sources[name], resume=True)
    with pytest.raises(ValueError, match=r'no optimiser state.* load_from=.* without --resume'):
        resumed.load_or_resume()


def test_a_name_is_refused_for_resuming_before_it_is_downloaded(run_tool, capsys, tmp_path):
    config = 'tests/data/configs/tiny_pretrain.py'
    assert run_tool('tools/train', config, '--work-dir', tmp_path, '--resume', NAME) == 2
    assert 'hold no optimiser state to resume: to start from them' in capsys.readouterr().err


@pytest.fixture
def image(tmp_path):
    """An image file."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'image.png')
    return tmp_path / 'image.png'


@pytest.mark.parametrize('name', SOURCES)
def test_the_inferencer_needs_no_config(sources, cfg, image, name):
    if name == 'official.safetensors':
        pytest.skip('no file has its heads')
    result = GroupViTInferencer.from_pretrained(sources[name])(image)
    expected = GroupViTInferencer(cfg, sources[name])(image)
    assert result.class_names == expected.class_names
    assert np.array_equal(result.scores, expected.scores)
    assert (result.bg_thresh, result.with_background) == (0.95, True)


def test_own_words_have_no_threshold_of_other_classes(sources, image):
    inferencer = GroupViTInferencer.from_pretrained(NAME, class_names='cat, dog')
    assert inferencer(image).class_names == ('cat', 'dog')
    inferencer = GroupViTInferencer.from_pretrained(NAME, class_names='cat, dog', bg_thresh=0.9)
    assert inferencer.class_names == ('background', 'cat', 'dog')
    inferencer = GroupViTInferencer.from_pretrained(NAME, class_names='cat')
    assert inferencer.class_names == ('background', 'cat')
    assert inferencer.segmentor.decode_head.bg_thresh is None


def test_one_word_is_contrasted_whatever_was_set_before(sources):
    inferencer = GroupViTInferencer.from_pretrained(NAME)  # Pascal VOC with its threshold
    head = inferencer.segmentor.decode_head
    inferencer.set_classes('cat')
    assert head.bg_thresh is None
    assert 'dog' in head.background_words
    inferencer.set_classes('cat, dog')
    assert inferencer.class_names == ('cat', 'dog')
    inferencer.set_classes('cat', bg_thresh=0.5)  # as it was asked for
    assert (head.bg_thresh, head.background_words) == (0.5, ())


@pytest.mark.parametrize('name', SOURCES[:4])
def test_the_demo_takes_every_source(run_tool, sources, converted, image, tmp_path, capsys, name):
    out = tmp_path / 'out.png'
    arguments = [image, sources[name], '--classes', 'a cat, a dog', '--out', out]
    assert run_tool('demo/image_demo', *arguments) == 0
    assert out.is_file()
    first = capsys.readouterr().out
    config = converted / 'plugin.py'
    assert run_tool('demo/image_demo', image, '--out', out, config, sources[name]) == 0
    assert first != capsys.readouterr().out
    assert run_tool('demo/image_demo', image, config, '--out', out, 'groupvit-gcc') == 2
    assert 'no model has this name' in capsys.readouterr().err


def test_the_command_takes_words_or_a_class_file(sources, image, tmp_path):
    options = SegmentOptions(
        inputs=[str(image)],
        out=tmp_path / 'out',
        words='cat, dog',
        classes=None,
        model=NAME,
        config=None,
        formats='png,json',
        bg_thresh=None,
        background=None,
        thresholds=None,
        negative=None,
        templates=None,
        mode=None,
        pamr_steps=None,
        precision=None,
        device='cpu',
        batch_size='auto',
        every=1,
        max_frames=None,
        overwrite=False,
    )
    assert run(options) == 0
    assert (tmp_path / 'out/shares.json').is_file()
    (tmp_path / 'classes.txt').write_text('cat, kitten\ndog, puppy\n')
    of_file = options._replace(words=None, classes=tmp_path / 'classes.txt')
    head = make_inferencer(of_file).segmentor.decode_head
    assert head.class_names == ('cat', 'dog')
    assert head.classes.aliases == {'cat': ('kitten',), 'dog': ('puppy',)}
    head = make_inferencer(of_file._replace(bg_thresh=0.5)).segmentor.decode_head
    assert head.class_names == ('background', 'cat', 'dog')


def test_a_segmentors_checkpoint_needs_no_config(sources, cfg, image, tmp_path):
    inferencer = GroupViTInferencer(cfg, sources['plugin.pth'])
    state = inferencer.segmentor.state_dict()
    torch.save(dict(state_dict=state, meta=dict(cfg=cfg.pretty_text)), tmp_path / 'segmentor.pth')
    opened = GroupViTInferencer.from_pretrained(tmp_path / 'segmentor.pth')
    assert np.array_equal(opened(image).scores, inferencer(image).scores)


def test_what_is_no_whole_model_says_so(tmp_path, sources):
    torch.save({'conv.weight': torch.ones(1)}, tmp_path / 'other.pth')
    with pytest.raises(
        ValueError, match=r'holds no GroupViT with a text encoder \(it begins with c'
    ):
        GroupViTInferencer.from_pretrained(tmp_path / 'other.pth')
    with pytest.raises(ValueError, match="cannot use the device 'gpu'"):
        GroupViTInferencer.from_pretrained(NAME, device='gpu')
