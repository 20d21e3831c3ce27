"""Every config of a supervised head: builds, trains two steps, segments an image."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.engine import GroupViTRunner

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LEAVES = sorted(CONFIGS.glob('*/*_groupvit-small-p16_*.py'))
HEADS = {'fcn', 'upernet', 'setr-naive', 'setr-pup', 'setr-mla', 'segmenter', 'segformer', 'pspnet'}


def name_parts(path):
    """Head, batch, steps and data set as the name tells them."""
    head, _, schedule, data = path.stem.split('_')
    batch, steps = schedule.split('-')
    return head, batch, steps, data


# By default one example of each head is trained; others of the same head are slow.
FIRST = {name_parts(path)[0]: path for path in reversed(LEAVES)}
TRAINED = [
    pytest.param(path, id=path.stem, marks=[] if path in FIRST.values() else pytest.mark.slow)
    for path in LEAVES
]


def test_each_head_and_each_set_has_an_example():
    heads, _, steps, sets = zip(*map(name_parts, LEAVES))
    assert set(heads) == HEADS
    assert set(steps) == {'4k', '20k', '40k', '80k', '160k'}
    voc = [name for name in sets if name.startswith('voc12')]
    assert min(len(voc), sets.count('ade20k-512x512'), sets.count('cityscapes-512x512')) >= 2


@pytest.mark.parametrize('path', LEAVES, ids=[path.stem for path in LEAVES])
def test_a_leaf_is_short_and_its_name_is_true(path):
    cfg, (_, batch, steps, data) = Config.fromfile(path), name_parts(path)
    lines = path.read_text().splitlines()
    assert len(lines) <= 20
    assert str(path.relative_to(CONFIGS.parent)) in ''.join(lines[:5])
    gpus, per_gpu = map(int, batch.split('xb'))
    assert gpus * per_gpu == cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == per_gpu
    assert cfg.train_cfg.max_iters == int(steps.removesuffix('k')) * 1000
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters
    assert data.startswith(cfg.data_name)
    crop = next(t.crop_size for t in cfg.train_pipeline if t.type == 'RandomCrop')
    assert data.endswith('{}x{}'.format(*crop))
    assert cfg.model.test_cfg.crop_size == crop == cfg.model.data_preprocessor.size


def test_the_papers_recipe():
    (path,) = CONFIGS.glob('fcn/fcn_groupvit-small-p16_*')
    cfg = Config.fromfile(path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (1e-3, 0.05)
    assert cfg.model.decode_head.num_convs == 0
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay == 1.0


@pytest.mark.parametrize('path', TRAINED)
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_two_steps_and_an_image(path, shrunk, two_steps, shallow_backbone):
    cfg = shrunk(Config.fromfile(path))
    cfg.model.backbone.update(shallow_backbone)
    cfg.optim_wrapper.optimizer.update(lr=1e-3, weight_decay=0.0)  # only gradients move weights
    losses, score, model, moved, waiting = two_steps(cfg, GroupViTRunner)
    assert losses.shape == (2,)
    assert np.isfinite(losses).all()
    assert 0 <= score <= 100
    assert model.num_classes == model.decode_head.num_classes == cfg.num_classes
    # Several processes wait for each gradient, unless the config says that some are missing.
    assert bool(waiting) == cfg.get('find_unused_parameters', False), waiting
    learnt = {
        'backbone.patch_embed.proj.weight',
        'backbone.pos_embed',
        'backbone.stages.0.grouping.assign.q_proj.weight',
        'backbone.stages.1.grouping.assign.k_proj.weight',
        'backbone.stages.2.blocks.0.attn.proj.weight',
        'backbone.norm.weight',
    }
    assert learnt <= moved


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_the_test_tool_scores_a_checkpoint(shrunk, shallow_backbone, tmp_path, monkeypatch):
    (path,) = CONFIGS.glob('fcn/fcn_groupvit-small-p16_*')
    cfg = shrunk(Config.fromfile(path))
    cfg.model.backbone.update(shallow_backbone)
    cfg.dump(tmp_path / 'config.py')
    weights, result = tmp_path / 'weights.pth', tmp_path / 'result.json'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), weights)
    tool = str(CONFIGS.parent / 'tools' / 'test.py')
    files = [str(tmp_path / 'config.py'), str(weights), '--out', str(result)]
    monkeypatch.setattr(sys, 'argv', [tool, *files])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(tool, run_name='__main__')
    assert end.value.code == 0
    report = json.loads(result.read_text())
    assert 0 <= report['metrics']['mIoU'] <= 100
    assert len(report['classes']) == cfg.num_classes == 21
    assert report['background'] is report['templates'] is None
