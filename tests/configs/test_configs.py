"""Every config that ships: it builds, its name tells the truth, its optimiser keys match."""

import copy
import re
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer
from mmseg.registry import (
    DATA_SAMPLERS,
    HOOKS,
    LOOPS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    RUNNERS,
    TRANSFORMS,
)

from groupvit_mmseg.engine import GuardedOptimWrapper, MixedPrecisionOptimWrapper
from groupvit_mmseg.openmmlab_entries import tta_pipeline

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
# Studies are no configs of a model: tests/benchmark/test_study.py reads them.
LEAVES = sorted(
    path
    for path in CONFIGS.rglob('*.py')
    if not {'_base_', 'studies'} & set(path.relative_to(CONFIGS).parts)
)
NAME = re.compile(
    r'groupvit_(?P<model>[a-z-]+)-p(?P<patch>\d+)_(?P<gpus>\d+)xb(?P<batch>\d+)'
    r'-(?P<schedule>[a-z]+)-(?P<epochs>\d+)e_(?P<data>[a-z0-9-]+)-(?P<size>\d+)px'
)
PRETRAINING = [p for p in LEAVES if NAME.fullmatch(p.stem)]
PAPER = [p for p in PRETRAINING if '16xb256' in p.stem]


def ids(paths):
    return [path.stem for path in paths]


@cache
def read(path):
    return Config.fromfile(path)


def load(path):
    return copy.deepcopy(read(path))


def scope_of(cfg):
    """Plain names mean what they do in a run of the config."""
    return DefaultScope.overwrite_default_scope(cfg.default_scope)


def test_lists_are_not_empty():
    assert CONFIGS / 'groupvit_pretrain.py' in LEAVES
    assert len(PAPER) == 4
    assert len(PRETRAINING) > len(PAPER)
    assert len(SEGMENTING) > 30
    assert len(TRAINING) > 15


@pytest.mark.parametrize('path', LEAVES, ids=ids(LEAVES))
def test_models_build(path):
    cfg = load(path)
    # MMSegmentation's segmenter computes with the values of a tensor while it is built.
    device = 'cpu' if path.stem.startswith('segmenter') else 'meta'
    with scope_of(cfg), torch.device(device):
        model = MODELS.build(cfg.model)
    assert sum(p.numel() for p in model.parameters()) > 0
    if cfg.model.type == 'GroupViTPretrainer':
        with torch.device('meta'):
            segmentor = MODELS.build(cfg.val_cfg.segmentor)
        segmentor.load_state_dict(model.state_dict(), assign=True)
        assert cfg.default_hooks.checkpoint.save_best == 'mIoU'


@pytest.mark.parametrize('path', LEAVES, ids=ids(LEAVES))
def test_every_named_part_exists(path):
    cfg = load(path)
    assert RUNNERS.get(cfg.runner_type) is not None
    assert cfg.custom_imports == dict(imports=['groupvit_mmseg'], allow_failed_imports=False)
    with scope_of(cfg):
        assert_parts_exist(cfg)


def wrapper_class(cfg):
    """What the name of the optimiser's wrapper means in the scope that the config names."""
    with OPTIM_WRAPPERS.switch_scope_and_registry(cfg.optim_wrapper.get('_scope_')) as registry:
        return registry.get(cfg.optim_wrapper.type)


def assert_parts_exist(cfg):
    Visualizer.get_instance('test_configs')  # of which a hook that draws takes the present one
    for hook in [*cfg.default_hooks.values(), *cfg.get('custom_hooks', [])]:
        assert HOOKS.build(hook), hook.type
    for name in ('train', 'val', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        if loader is None:
            continue
        assert DATA_SAMPLERS.get(loader.sampler.type), loader.sampler.type
        for dataset in loader.dataset.get('datasets', [loader.dataset]):
            for transform in dataset.pipeline:
                assert TRANSFORMS.build(transform) is not None
    if cfg.get('val_cfg'):
        assert LOOPS.get(cfg.val_cfg.get('type', 'ValLoop'))


SEGMENTING = [path for path in LEAVES if path.parent.name != 'classification']


@pytest.mark.parametrize('path', SEGMENTING, ids=ids(SEGMENTING))
def test_mmsegs_tools_find_what_they_read(path):
    """``inference_model``, ``MMSegInferencer``, ``test.py --show-dir`` and ``--tta``."""
    cfg = load(path)
    loader = cfg.get('test_dataloader') or cfg.val_dataloader
    assert cfg.test_pipeline == loader.dataset.pipeline
    assert cfg.tta_pipeline == tta_pipeline(cfg.test_pipeline)
    assert cfg.tta_model == dict(type='SegTTAModel')
    assert cfg.visualizer.type == 'SegLocalVisualizer'
    assert cfg.default_hooks.visualization == dict(type='SegVisualizationHook')
    assert len(cfg.data_preprocessor.mean) == 3
    segmentor = cfg.model if 'decode_head' in cfg.model else cfg.val_cfg.segmentor
    preprocessor = segmentor.data_preprocessor  # benchmark.py pads as in training
    assert ('size' in preprocessor) != ('size_divisor' in preprocessor)


TRAINING = [path for path in LEAVES if 'optim_wrapper' in load(path)]


@pytest.mark.parametrize('path', TRAINING, ids=ids(TRAINING))
def test_mmsegs_amp_is_the_guarded_one(path):
    """``tools/train.py --amp`` wants ``OptimWrapper``, and makes it ``AmpOptimWrapper``."""
    cfg = load(path)
    assert cfg.optim_wrapper.type in ('OptimWrapper', 'AmpOptimWrapper')
    assert issubclass(wrapper_class(cfg), GuardedOptimWrapper)
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    assert wrapper_class(cfg) is MixedPrecisionOptimWrapper


@pytest.mark.parametrize('path', PRETRAINING, ids=ids(PRETRAINING))
def test_optimiser_reaches_every_parameter(path):
    cfg = load(path)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    wrapper = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type=cfg.optim_wrapper.pop('constructor'),
            paramwise_cfg=cfg.optim_wrapper.pop('paramwise_cfg'),
            optim_wrapper_cfg=cfg.optim_wrapper,
        )
    )(model)
    assert wrapper_class(cfg) is type(wrapper)
    grouped = [p for group in wrapper.optimizer.param_groups for p in group['params']]
    assert len(grouped) == len(set(grouped)) == len(list(model.parameters()))
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    for name, parameter in model.named_parameters():
        assert (decay[id(parameter)] == 0) == (parameter.ndim <= 1), name


@pytest.mark.parametrize('path', PRETRAINING, ids=ids(PRETRAINING))
def test_numbers_in_the_name_are_true(path):
    cfg, parts = load(path), NAME.fullmatch(path.stem).groupdict()
    assert cfg.model.backbone.patch_size == int(parts['patch'])
    assert cfg.model.backbone.img_size == int(parts['size'])
    assert cfg.train_dataloader.batch_size == int(parts['batch'])
    assert cfg.train_cfg.max_epochs == int(parts['epochs'])
    assert cfg.param_scheduler[-1].type == 'CosineAnnealingLR'
    assert cfg.param_scheduler[-1].end == int(parts['epochs'])
    crops = [t.scale for t in cfg.train_dataloader.dataset.pipeline if 'Crop' in t.type]
    assert crops in ([], [int(parts['size'])])
    lengths = [
        t.context_length for t in cfg.train_dataloader.dataset.pipeline if 'context_length' in t
    ]
    assert lengths == [cfg.model.text_encoder.context_length]


@pytest.mark.parametrize('path', PAPER, ids=ids(PAPER))
def test_paper_recipe_is_complete(path):
    """SPEC's table, row by row."""
    cfg, parts = load(path), NAME.fullmatch(path.stem).groupdict()
    assert int(parts['gpus']) * int(parts['batch']) == cfg.auto_scale_lr.base_batch_size == 4096
    assert cfg.auto_scale_lr.enable
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1.6e-3, 0.05)
    assert (tuple(optimizer.betas), optimizer.eps) == ((0.9, 0.999), 1e-8)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert (cfg.optim_wrapper.type, optimizer.fused) == ('AmpOptimWrapper', True)
    assert wrapper_class(cfg) is MixedPrecisionOptimWrapper
    assert cfg.model.text_buckets == 4
    warm, cosine = cfg.param_scheduler
    assert (warm.begin, warm.end, cosine.begin, cosine.end) == (0, 2, 2, 30)
    assert warm.start_factor * optimizer.lr == pytest.approx(4e-6)
    assert cosine.eta_min_ratio * optimizer.lr == pytest.approx(4e-5)
    assert cfg.train_cfg.val_interval == 1
    assert cfg.train_dataloader.dataset.shuffle_buffer == 10_000
    assert cfg.train_dataloader.drop_last


@pytest.mark.parametrize(
    'data,sizes,prompts',
    [
        ('gcc-yfcc', dict(gcc3m=2_891_445, gcc12m=11_156_203, yfcc14m=14_615_499), 3),
        ('cc3m-cc12m', dict(cc3m_wds=2_905_954, cc12m_wds=10_968_539), 3),
        (
            'cc3m-cc12m-yfcc',
            dict(cc3m_wds=2_905_954, cc12m_wds=10_968_539, yfcc14m=14_615_499),
            3,
        ),
        ('gcc-redcap', dict(gcc3m=2_891_445, gcc12m=11_156_203, redcap12m=11_866_987), 0),
    ],
)
def test_paper_data(data, sizes, prompts):
    (path,) = (p for p in PAPER if f'_{data}-224px' in p.stem)
    cfg = load(path)
    dataset = cfg.train_dataloader.dataset
    assert {source.name: source.length for source in dataset.sources} == sizes
    counts = [t.num_prompts for t in dataset.pipeline if t.type == 'CaptionPrompts']
    assert counts == [prompts]
    assert (cfg.model.loss_multi_label is None) == (prompts == 0)


def test_augmentation_runs_and_varies():
    pipeline = load(PAPER[0]).train_dataloader.dataset.pipeline
    names = [t.type.split('.')[-1] for t in pipeline]
    assert names[:4] == [
        'LoadRandomResizedCrop',
        'RandomHorizontalFlip',
        'TimmRandAugment',
        'RandomPixelErasing',
    ]
    transforms = [TRANSFORMS.build(t) for t in pipeline[:4]]
    picture = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    members = {'jpg': cv2.imencode('.jpg', picture)[1].tobytes(), 'txt': b'noise'}
    seen = set()
    for _ in range(20):
        results = dict(key='0', members=members, error=None)
        for transform in transforms:
            results = transform(results)
        assert results['img'].shape == (224, 224, 3)
        assert results['img'].dtype == np.uint8
        seen.add(results['img'].tobytes())
    assert len(seen) == 20


def test_short_name_is_the_long_one():
    (long,) = (p for p in PAPER if 'gcc-yfcc' in p.stem)
    assert load(CONFIGS / 'groupvit_pretrain.py').to_dict() == load(long).to_dict()


def test_full_size_image_tower_has_the_papers_parameters():
    with torch.device('meta'):
        model = MODELS.build(load(PAPER[0]).model)
    millions = sum(p.numel() for p in model.backbone.parameters()) / 1e6
    assert 28 < millions < 32  # "about 30 M"
