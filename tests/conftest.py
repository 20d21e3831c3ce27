"""Shared by all tests: one thread, a fixed seed, the scope of a run, and a tiny pretraining."""

import gc
import io
import itertools
import json
import logging
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from PIL import Image
from yapf.yapflib import yapf_api

import groupvit_mmseg  # noqa: F401  (registers everything)

ROOT = Path(__file__).resolve().parents[1]
# Word, colour: what the tiny data set's captions and masks speak of.
TINY_CLASSES = {'red': (220, 30, 30), 'green': (30, 200, 30), 'blue': (40, 40, 220)}

COUNTER = itertools.count()

# One thread each, here and in the processes that tests start: several tests run side by side.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# What is fastest here is no part of a test: 'auto' is float32.
os.environ['GROUPVIT_PRECISION'] = 'fp32'
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope='session')
def _configs_without_layout():
    """Configs are written without line breaks: yapf's layout takes most of a tiny run's time.

    mmengine lays the config out for the log, the work directory and every checkpoint. Tests of
    whole commands, in processes of their own, keep the layout.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yapf_api, 'FormatCode', lambda text, **_: (text, True))
        yield


@pytest.fixture(autouse=True, scope='session')
def _imports_are_no_garbage():
    """mmengine collects garbage for every data set: not through all that was imported."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _logs_outlive_tests():
    """mmengine keeps its loggers; those of an earlier test may write to a stream that is closed."""
    for logger in MMLogger._instance_dict.values():
        for handler in list(logger.handlers):
            if type(handler) is logging.StreamHandler:
                handler.stream = sys.stdout  # setStream() would flush the closed one
            elif isinstance(handler, logging.FileHandler) and handler.stream is None:
                logger.removeHandler(handler)  # closed; mmengine would write to it


@pytest.fixture(autouse=True)
def _mmseg_scope():
    """Plain names resolve as they do under ``default_scope = 'mmseg'``."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def _add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _two_coloured(rng):
    """A 16 x 16 image of two colours side by side, and its mask of class indices."""
    left, right = rng.permutation(len(TINY_CLASSES))[:2]
    mask = np.full((16, 16), left, dtype=np.uint8)
    mask[:, 8:] = right
    colours = np.array(list(TINY_CLASSES.values()), dtype=np.uint8)
    return colours[mask], mask


@pytest.fixture(scope='session')
def tiny_data(tmp_path_factory):
    """Two shards of 16 pairs and 4 images with masks in VOC's layout."""
    root = tmp_path_factory.mktemp('tiny_data')
    rng, names = np.random.RandomState(0), list(TINY_CLASSES)
    for shard in range(2):
        with tarfile.open(root / f'pairs-{shard}.tar', 'w') as tar:
            for i in range(16):
                image, mask = _two_coloured(rng)
                stream = io.BytesIO()
                Image.fromarray(image).save(stream, 'PNG')
                caption = ' and '.join(f'a {names[c]} wall' for c in np.unique(mask))
                _add(tar, f'{shard}{i:03d}.png', stream.getvalue())
                _add(tar, f'{shard}{i:03d}.txt', caption.encode())
    (root / 'sizes.json').write_text(json.dumps({'pairs-0.tar': 16, 'pairs-1.tar': 16}))
    for folder in ('images', 'masks'):
        (root / folder).mkdir()
    for i in range(4):
        image, mask = _two_coloured(rng)
        Image.fromarray(image).save(root / 'images' / f'{i}.png')
        Image.fromarray(mask).save(root / 'masks' / f'{i}.png')
    return root


TOWERS = dict(
    backbone=dict(
        type='GroupViT',
        img_size=16,
        patch_size=4,
        embed_dims=16,
        embed_factors=(1, 1),
        depths=(1, 1),
        num_heads=(2, 2),
        num_group_tokens=(4, 0),
        num_output_groups=(4,),
        drop_path_rate=0.0,
    ),
    text_encoder=dict(type='GroupViTTextEncoder', context_length=12, embed_dims=16, num_layers=1),
    image_projector=dict(
        type='GroupViTProjector', in_channels=16, hidden_channels=16, out_channels=16
    ),
    text_projector=dict(
        type='GroupViTProjector', in_channels=16, hidden_channels=16, out_channels=16
    ),
)
PREPROCESSING = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@pytest.fixture(scope='session')
def tiny_config(tiny_data):
    """A complete pretraining config of seconds: 4 steps of 8 pairs, zero-shot mIoU at the end."""
    cfg = Config.fromfile(ROOT / 'configs' / '_base_' / 'default_runtime.py')
    schedule = Config.fromfile(ROOT / 'configs' / '_base_' / 'schedules' / 'adamw-coslr-30e.py')
    cfg.merge_from_dict(schedule.to_dict())
    towers = TOWERS
    cfg.merge_from_dict(
        dict(
            model=dict(
                type='GroupViTPretrainer',
                data_preprocessor=dict(type='ImgDataPreprocessor', **PREPROCESSING),
                loss_contrastive=dict(type='ImageTextContrastiveLoss'),
                loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
                **towers,
            ),
            train_dataloader=dict(
                batch_size=8,
                num_workers=0,
                drop_last=True,
                sampler=dict(type='ImageTextSampler'),
                collate_fn=dict(type='collate_image_text'),
                dataset=dict(
                    type='ImageTextDataset',
                    sources=[dict(shards='pairs-*.tar', data_root=str(tiny_data))],
                    pipeline=[
                        dict(type='LoadImageText'),
                        dict(type='CaptionPrompts', num_prompts=2),
                        dict(type='PackImageText', context_length=12),
                    ],
                ),
            ),
            val_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    type='BaseSegDataset',
                    data_root=str(tiny_data),
                    data_prefix=dict(img_path='images', seg_map_path='masks'),
                    img_suffix='.png',
                    seg_map_suffix='.png',
                    metainfo=dict(classes=tuple(TINY_CLASSES)),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadAnnotations'),
                        dict(type='PackSegInputs'),
                    ],
                ),
            ),
            val_evaluator=dict(type='PerClassIoUMetric', iou_metrics=['mIoU']),
            val_cfg=dict(
                type='ZeroShotValLoop',
                segmentor=dict(
                    type='GroupViTSegmentor',
                    data_preprocessor=dict(type='SegDataPreProcessor', **PREPROCESSING),
                    backbone=towers['backbone'],
                    decode_head=dict(
                        type='GroupViTZeroShotHead',
                        class_names=list(TINY_CLASSES),
                        **{name: towers[name] for name in towers if name != 'backbone'},
                    ),
                    test_cfg=dict(mode='whole'),
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=3, val_interval=1),
            auto_scale_lr=dict(base_batch_size=4096, enable=False),
            log_level='ERROR',
        )
    )
    cfg.param_scheduler = None
    cfg.default_hooks.logger.interval = 1
    return cfg


@pytest.fixture
def make_runner(tiny_config, tmp_path):
    """Builds a runner from the tiny config with some of it changed."""
    from groupvit_mmseg.engine import GroupViTRunner

    def make(name='run', **changes):
        cfg = tiny_config.copy()
        cfg.merge_from_dict(dict(work_dir=str(tmp_path / name), launcher='none', **changes))
        # mmengine keeps loggers, hubs and visualizers by name for the life of the process.
        cfg.experiment_name = f'{tmp_path.name}-{next(COUNTER)}'
        cfg.visualizer.name = f'visualizer-{cfg.experiment_name}'
        return GroupViTRunner.from_cfg(cfg)

    return make
