"""The baselines without groups: what their configs change of GroupViT's, and nothing else."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
BASELINES = sorted((CONFIGS / 'baselines').glob('*.py'))
PRETRAINING = [path for path in BASELINES if 'zeroshot' not in path.stem]
CLUSTERED = [path for path in BASELINES if 'zeroshot' in path.stem and 'argmax' not in path.stem]
METHODS = {'kmeans': 8, 'mean-shift': 64, 'spectral': 8}
NAMES = {'vit-tiny-p4': 'groupvit_tiny-p4', 'vit-small-p16': 'groupvit_vit-small-p16'}


def ids(paths):
    return [path.stem for path in paths]


def groupvits(path):
    """The config of GroupViT that a pretraining baseline is compared with."""
    return CONFIGS / 'groupvit' / f'{NAMES[path.stem.split("_")[0]]}_{path.name.split("_", 1)[1]}'


def without(cfg, *keys):
    """A config without some of its parts, named with dots."""
    cfg = cfg.to_dict()
    for key in keys:
        *parents, last = key.split('.')
        part = cfg
        for name in parents:
            part = part[name]
        part.pop(last, None)
    return cfg


def test_lists_are_not_empty():
    assert len(PRETRAINING) == 2
    assert len(CLUSTERED) == 2 * len(METHODS)


@pytest.mark.parametrize('path', PRETRAINING, ids=ids(PRETRAINING))
def test_the_recipe_is_groupvits_but_for_the_tower(path):
    changed = 'backbone', 'tower', 'model.backbone', 'val_cfg.segmentor.backbone', 'custom_hooks'
    cfg, other = Config.fromfile(path), Config.fromfile(groupvits(path))
    assert without(cfg, *changed) == without(other, *changed)
    ours, theirs = cfg.model.backbone, other.model.backbone
    assert (ours.type, theirs.type) == ('ImageTower', 'GroupViT')
    assert cfg.val_cfg.segmentor.backbone == ours
    assert ours.patch_size == ours.backbone.patch_size == theirs.patch_size
    assert ours.backbone.img_size == theirs.img_size
    assert not any('Group' in hook.type for hook in cfg.get('custom_hooks', []))
    tower = MODELS.build(ours)
    assert tower.network.num_layers == sum(theirs.depths)
    assert tower.network.embed_dims == tower.embed_dims == theirs.embed_dims
    assert tower.network.arch_settings['num_heads'] == theirs.num_heads[0]
    assert tower.network.arch_settings['feedforward_channels'] == 4 * theirs.embed_dims


@pytest.mark.parametrize('path', PRETRAINING, ids=ids(PRETRAINING))
def test_the_optimiser_reaches_every_parameter(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=cfg.optim_wrapper.pop('constructor'),
            paramwise_cfg=cfg.optim_wrapper.pop('paramwise_cfg'),
            optim_wrapper_cfg=cfg.optim_wrapper,
        )
    )(model)
    grouped = [p for group in wrapper.optimizer.param_groups for p in group['params']]
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()}


@pytest.mark.parametrize('path', CLUSTERED, ids=ids(CLUSTERED))
def test_a_clustered_baseline_adds_a_neck(path):
    cfg = Config.fromfile(path)
    (method,) = re.findall('zeroshot-(.*)_', path.stem)
    if 'scenes' in path.stem:
        base, place = PRETRAINING[1], 'val_cfg.segmentor.neck'
        neck = cfg.val_cfg.segmentor.neck
    else:
        base, place = path.with_stem(path.stem.replace(method, 'argmax')), 'model.neck'
        neck = cfg.model.neck
    assert without(cfg, place) == Config.fromfile(base).to_dict()
    built = MODELS.build(neck)
    assert (built.method, built.num_clusters) == (method.replace('-', '_'), METHODS[method])


def test_a_zero_shot_baseline_reads_the_pretrainings_checkpoint():
    pretraining = Config.fromfile(PRETRAINING[0])
    weights = MODELS.build(pretraining.model).state_dict()
    for path in [CONFIGS / 'baselines/vit-small-p16_zeroshot-argmax_voc12-448.py', *CLUSTERED]:
        if 'voc12' in path.stem:
            segmentor = MODELS.build(Config.fromfile(path).model)
            segmentor.load_state_dict(weights)
            for name, value in segmentor.backbone.state_dict().items():
                assert torch.equal(value, weights[f'backbone.{name}']), name
