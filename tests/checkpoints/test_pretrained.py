"""``init_cfg``: the whole and every part, from every format, and errors that list."""

import copy
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints import from_official
from groupvit_mmseg.checkpoints.pretrained import match_multi_label_scale
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.models import GroupViT, GroupViTSegmentor


@pytest.fixture(scope='module')
def converted(convert, official, write_official, tmp_path_factory):
    """Folder of the same weights in every format."""
    folder = tmp_path_factory.mktemp('converted')
    source = write_official(folder)
    assert not convert('official_to_plugin', source, folder / 'p.pth', '--num-heads', 6, 6, 6)
    assert not convert('plugin_to_hf', folder / 'p.pth', folder / 'hf')
    plugin = from_official(official['two_stage'])
    wrapped = {f'module.{key}': value for key, value in plugin.items()}
    save_checkpoint({'state_dict': wrapped}, folder / 'wrapped.pth')
    with DefaultScope.overwrite_default_scope('mmseg'):
        segmentor = MODELS.build(Config.fromfile(folder / 'p.py').model)
    segmentor.load_state_dict(dict(plugin))
    save_checkpoint(segmentor.state_dict(), folder / 'segmentor.pth')
    return folder


@pytest.fixture
def files(converted, tmp_path):
    """The files, in the test's folder."""
    shutil.copytree(converted, tmp_path, dirs_exist_ok=True)
    names = ('official_two_stage.pth', 'p.pth', 'hf', 'wrapped.pth', 'segmentor.pth')
    return [str(tmp_path / name) for name in names]


@pytest.fixture
def configs(files, tmp_path):
    return Config.fromfile(tmp_path / 'p.py').model


def build(cfg, checkpoint, **changes):
    """A module with initialised weights."""
    init_cfg = dict(type='Pretrained', checkpoint=str(checkpoint))
    init_cfg.update(changes.pop('init_cfg', {}))
    module = MODELS.build(dict(copy.deepcopy(cfg), init_cfg=init_cfg, **changes))
    module.init_weights()
    return module


def test_every_part_from_every_format(files, configs, official, same_bits):
    plugin = from_official(official['two_stage'])
    head = configs.decode_head
    parts = {
        'backbone.': configs.backbone,
        'text_encoder.': head.text_encoder,
        'image_projector.': head.image_projector,
        'text_projector.': head.text_projector,
    }
    assert len(files) == 5
    for file in files:
        for part, cfg in parts.items():
            expected = {k.removeprefix(part): v for k, v in plugin.items() if k.startswith(part)}
            options = dict(prefix=part) if 'projector' in part else {}
            same_bits(expected, build(cfg, file, init_cfg=options).state_dict())


def test_whole_segmentor_from_every_format(files, configs, same_bits):
    first, *others = [build(configs, file).state_dict() for file in files]
    assert torch.equal(first['decode_head.logit_scale'], others[0]['decode_head.logit_scale'])
    for other in others:
        same_bits(first, other)


def test_pretrainer_keeps_its_second_scale_where_the_file_has_none(files, configs, official):
    parts = {
        k: configs.decode_head[k] for k in ('text_encoder', 'image_projector', 'text_projector')
    }
    cfg = dict(
        type='GroupViTPretrainer',
        backbone=configs.backbone,
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        **parts,
    )
    multi_label = dict(loss_multi_label=dict(type='MultiLabelContrastiveLoss', temperature=0.5))
    from_file, kept = (build(cfg, f, **multi_label) for f in (files[0], files[2]))
    scale = official['two_stage']['multi_label_logit_scale']
    assert from_file.loss_multi_label.logit_scale.item() == scale.item()
    assert kept.loss_multi_label.logit_scale.exp().item() == pytest.approx(2)
    assert build(cfg, files[0]).loss_multi_label is None  # and the file's is not in the way
    several = build(cfg, files[0], loss_multi_label=[multi_label['loss_multi_label']] * 2)
    assert [each.logit_scale.item() for each in several.loss_multi_label] == [scale.item()] * 2


def test_one_loss_of_prompts_gets_the_first_scale_of_several():
    places = ('loss_multi_label.0.logit_scale', 'loss_multi_label.1.logit_scale')
    scales = dict(zip(places, (torch.tensor(3.9), torch.tensor(1.0)), strict=True))
    with DefaultScope.overwrite_default_scope('mmseg'):
        one = torch.nn.ModuleDict(
            dict(loss_multi_label=MODELS.build(dict(type='MultiLabelContrastiveLoss')))
        )
    given = match_multi_label_scale(scales, one, source='a file')
    assert given == {'loss_multi_label.logit_scale': scales[places[0]]}


def test_a_part_alone_without_its_prefix(files, configs, tmp_path, same_bits):
    backbone = build(configs.backbone, files[0])
    save_checkpoint(backbone.state_dict(), tmp_path / 'backbone.pth')
    same_bits(
        backbone.state_dict(), build(configs.backbone, tmp_path / 'backbone.pth').state_dict()
    )


def test_pretrained_backbone_inside_a_segmentor(files, configs):
    cfg = copy.deepcopy(configs)
    cfg.backbone.init_cfg = dict(type='Pretrained', checkpoint=files[0])
    segmentor = MODELS.build(cfg)
    segmentor.init_weights()
    expected = build(configs.backbone, files[0])
    assert torch.equal(segmentor.backbone.pos_embed, expected.pos_embed)
    assert isinstance(segmentor, GroupViTSegmentor)


def test_positions_are_resized_as_the_model_resizes_them(files, configs):
    native = build(configs.backbone, files[0]).eval()
    wide = build(configs.backbone, files[0], img_size=(64, 160)).eval()
    assert wide.pos_embed.shape == (1, 4 * 10, 48)
    images = torch.randn(1, 3, 64, 160)
    with torch.no_grad():
        a, b = native.encode(images).segments, wide.encode(images).segments
    assert (a - b).abs().max() < 1e-5


def test_shorter_texts_cut_the_positions(files, configs):
    text = configs.decode_head.text_encoder
    long, short = build(text, files[0]), build(text, files[0], context_length=16)
    token_ids = torch.randint(1, 90, (2, 16))
    token_ids[:, -1] = 99
    assert torch.allclose(long(token_ids), short(token_ids), atol=1e-6)
    with pytest.raises(RuntimeError, match=r'1 of another shape: pos_embed'):
        build(text, files[0], context_length=100)


def test_a_misfit_counts_and_lists(files, configs):
    with pytest.raises(RuntimeError) as error:
        build(configs.backbone, files[1], depths=(2, 3, 1))
    assert 'does not fit GroupViT' in str(error.value)
    assert '12 missing: stages.1.blocks.2.norm1.weight, ' in str(error.value)
    with pytest.raises(RuntimeError, match=r'12 unexpected: stages\.1\.blocks\.1\.norm1\.weight'):
        build(configs.backbone, files[1], depths=(2, 1, 1))
    with pytest.raises(RuntimeError, match=r'of another shape: .*patch_embed\.proj\.weight'):
        build(configs.backbone, files[1], patch_size=8, img_size=48)


def test_wrong_files_and_options_are_one_sentence(files, configs, tmp_path):
    torch.save({'text_encoder.blocks.0.norm1.weight': torch.ones(1)}, tmp_path / 'text.pth')
    with pytest.raises(ValueError, match=r'text\.pth holds no tensors of backbone\.\*'):
        build(configs.backbone, tmp_path / 'text.pth')
    with pytest.raises(FileNotFoundError, match=r'There is no checkpoint'):
        build(configs.backbone, tmp_path / 'nothing.pth')
    with pytest.raises(ValueError, match='must hold a checkpoint, may hold a prefix'):
        build(configs.backbone, files[0], init_cfg=dict(strict=False))


def test_inferencer_takes_the_weights_that_the_config_names(files, tmp_path):
    cfg = Config.fromfile(tmp_path / 'p.py')
    given = GroupViTInferencer(cfg, files[1]).segmentor
    cfg.model.init_cfg = dict(type='Pretrained', checkpoint=files[2])
    named = GroupViTInferencer(cfg).segmentor
    assert torch.equal(given.backbone.norm.weight, named.backbone.norm.weight)
    assert torch.equal(given.decode_head.logit_scale, named.decode_head.logit_scale)


def test_other_initialisations_come_first(files, configs, tmp_path):
    ones = dict(type='Constant', layer='Linear', val=1.0)
    init_cfg = [dict(type='Pretrained', checkpoint=files[0]), ones]
    backbone = MODELS.build(dict(configs.backbone, init_cfg=init_cfg))
    backbone.init_weights()
    expected = build(configs.backbone, files[0])
    assert torch.equal(backbone.norm.weight, expected.norm.weight)
    weight = backbone.stages[0].blocks[0].attn.qkv.weight
    assert torch.equal(weight, expected.stages[0].blocks[0].attn.qkv.weight)
    alone = MODELS.build(dict(configs.backbone, init_cfg=ones))
    alone.init_weights()
    assert alone.stages[0].blocks[0].attn.qkv.weight.unique().tolist() == [1]
    assert isinstance(alone, GroupViT)
