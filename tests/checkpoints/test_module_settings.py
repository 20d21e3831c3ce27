"""Weights in a module of other heads: an error, not other answers."""

import copy
import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmseg.registry import MODELS

from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.inference import GroupViTInferencer, load_segmentor


@pytest.fixture
def logged():
    """Collects what is logged, from a level on."""

    class Collector(logging.Handler):
        def __init__(self):
            super().__init__(logging.WARNING)
            self.lines = []

        def emit(self, record):
            self.lines.append(record.getMessage())

    collector = Collector()
    logger = MMLogger.get_current_instance()
    logger.addHandler(collector)
    yield collector.lines
    logger.removeHandler(collector)


@pytest.fixture
def cfg(trained):
    """The model of the training, by its config."""
    text = torch.load(trained()[0], weights_only=True)['meta']['cfg']
    return Config.fromstring(text, '.py').model


def load(cfg, checkpoint, **changes):
    """A module with a file's weights."""
    init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
    module = MODELS.build(dict(copy.deepcopy(cfg), init_cfg=init_cfg, **changes))
    module.init_weights()
    return module


def test_other_heads_are_refused(convert, trained, cfg, tmp_path, logged):
    source, model = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth', '--no-check')
    assert not convert('plugin_to_hf', source, tmp_path / 'hf', '--no-check')
    for file in (source, tmp_path / 'o.pth', tmp_path / 'hf'):
        own = load(cfg.backbone, file)
        assert torch.equal(own.pos_embed, model.backbone.pos_embed)
        with pytest.raises(ValueError, match=r'disagree on num_heads, \[2, 2\] and \[1, 1\]: cha'):
            load(cfg.backbone, file, num_heads=(1, 1))
        with pytest.raises(ValueError, match=r'disagree on text_heads, 2 and 4: change the conf'):
            load(cfg.text_encoder, file, num_heads=4)
        text = dict(cfg.text_encoder, num_heads=1)
        with pytest.raises(ValueError, match=r'disagree on text_heads, 2 and 1'):
            load(dict(cfg, text_encoder=text), file)
    load(cfg, source)
    assert not any('disagree on num' in line for line in logged)


def test_other_scale_and_pictures_are_logged(trained, cfg, logged):
    source, _ = trained()
    load(cfg, source)
    assert logged == []
    load(cfg.backbone, source, assign_scale=2.0)
    assert 'disagree on assign_scale, 8.0 and 2.0' in logged[0]
    pictures = dict(type='ImgDataPreprocessor', mean=[0], std=[255], bgr_to_rgb=True)
    load({**cfg, 'data_preprocessor': pictures}, source)
    assert len(logged) == 2
    assert "disagree on normalization, {'mean': [120.0, 110.0, 100.0]" in logged[1]


def test_heads_that_nothing_tells_are_logged(trained, cfg, logged):
    source, _ = trained(with_config=False)
    load(cfg.backbone, source)
    assert logged == [f'No file with {source} contains num_heads: [2, 2] of the config is used.']


@pytest.mark.slow
def test_released_towers_are_known_by_their_shapes(convert, tmp_path):
    tower = dict(type='GroupViT', patch_size=112)
    text = dict(type='GroupViTTextEncoder', vocab_size=60)
    projector = dict(type='GroupViTProjector', hidden_channels=8, out_channels=4)
    model = dict(
        type='GroupViTPretrainer',
        backbone=tower,
        text_encoder=text,
        image_projector=dict(projector, in_channels=384),
        text_projector=dict(projector, in_channels=256),
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    )
    meta = dict(cfg=Config(dict(model=model)).pretty_text)
    torch.save(dict(state_dict=MODELS.build(model).state_dict(), meta=meta), tmp_path / 'p.pth')
    assert not convert('plugin_to_official', tmp_path / 'p.pth', tmp_path / 'o.pth', '--no-check')
    released = torch.load(tmp_path / 'o.pth', weights_only=True)['model']
    torch.save({'model': released}, tmp_path / 'released.pth')
    load(tower, tmp_path / 'released.pth')
    with pytest.raises(ValueError, match=r'the paper and .* num_heads, \[6, 6, 6\] and \[12, 12,'):
        load(tower, tmp_path / 'released.pth', num_heads=(12, 12, 12))
    with pytest.raises(ValueError, match=r'the official code and .* text_heads, 4 and 8'):
        load(text, tmp_path / 'released.pth', num_heads=8)
    # And the converter does not ask.
    assert not convert('official_to_plugin', tmp_path / 'released.pth', tmp_path / 'q.pth')


def test_a_config_that_is_not_the_checkpoints_is_refused(convert, trained, tmp_path):
    source, _ = trained()
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth')
    assert not convert('official_to_plugin', tmp_path / 'o.pth', tmp_path / 'q.pth')
    converted = Config.fromfile(tmp_path / 'q.py')
    # The official names have no place for the scale: it is in the converted weights.
    assert converted.model.backbone.get('assign_scale', 1.0) == 1.0
    original = copy.deepcopy(converted)
    original.model.backbone.assign_scale = 8.0
    checkpoints = {source: (original, converted, '8.0 and 1.0')}
    checkpoints[tmp_path / 'q.pth'] = (converted, original, '1.0 and 8.0')
    for checkpoint, (right, other, scales) in checkpoints.items():
        heads = copy.deepcopy(right)
        heads.model.backbone.num_heads = [1, 1]
        for read in (load_segmentor, GroupViTInferencer):
            read(right, checkpoint)
            with pytest.raises(ValueError, match='disagree on num_heads'):
                read(heads, checkpoint)
            with pytest.raises(ValueError, match=f'disagree on assign_scale, {scales}'):
                read(other, checkpoint)


def test_an_option_of_later_stages_is_compared(trained, logged):
    """The first stage has none of it, so that it says nothing about the module's option."""
    stages = dict(num_group_tokens=(4, 3), num_output_groups=(4, 2))
    option = dict(assignment=dict(later_query_weight=0.01))
    source, _ = trained('small/w.pth', backbone=dict(stages, **option))
    text = torch.load(source, weights_only=True)['meta']['cfg']
    backbone = Config.fromstring(text, '.py').model.backbone
    load(backbone, source)
    assert not logged
    load(backbone, source, assignment=None)
    assert "disagree on assignment, [('later_query_weight', 0.01)] and []" in logged[0]


def test_weights_that_name_no_assignment_have_the_papers(convert, trained, cfg, logged, tmp_path):
    source, _ = trained('paper/w.pth')
    assert not convert('plugin_to_official', source, tmp_path / 'o.pth')
    released = torch.load(tmp_path / 'o.pth', weights_only=True)['model']
    torch.save({'model': released}, tmp_path / 'released.pth')
    assert not convert('plugin_to_hf', source, tmp_path / 'hf' / 'w.safetensors')
    logged.clear()
    for path in (source, tmp_path / 'released.pth', tmp_path / 'hf' / 'w.safetensors'):
        load(cfg.backbone, path, assignment=dict(gumbel_noise=False))  # noise is of training
        assert not [line for line in logged if 'assignment' in line]
        load(cfg.backbone, path, assignment=dict(kind='soft'))
        assert "disagree on assignment, [] and [('kind', 'soft')]" in logged[-1]
        logged.clear()


def test_the_assignment_travels_or_is_refused(convert, trained, cfg, logged, tmp_path, capsys):
    options = dict(kind='soft', eps=0.5)
    source, _ = trained('soft/soft.pth', backbone=dict(assignment=options))
    text = torch.load(source, weights_only=True)['meta']['cfg']
    settings = from_config_text(text, 'the config')
    assert settings.hints.assignment == (('eps', 0.5), ('kind', 'soft'))
    # A tower of the paper's assignment may begin with these weights: it is said.
    load(cfg.backbone, source)
    assert 'disagree on assignment' in logged[0]
    load(Config.fromstring(text, '.py').model.backbone, source)
    assert len(logged) == 1
    for tool in ('plugin_to_official', 'plugin_to_hf'):
        assert convert(tool, source, tmp_path / tool / 'w.pth') == 2
        assert "has no assignment with eps=0.5, kind='soft': this" in capsys.readouterr().err
    quiet, _ = trained('quiet/quiet.pth', backbone=dict(assignment=dict(gumbel_noise=False)))
    assert not convert('plugin_to_official', quiet, tmp_path / 'o.pth')  # noise is of training
