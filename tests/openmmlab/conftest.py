"""Two shipped configs, made small, on a drawn VOC; OpenMMLab's own tools, called in process."""

import inspect
import itertools
import runpy
import sys
from pathlib import Path

import matplotlib
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import MMSegInferencer
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.models import GroupViTPretrainer

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
COUNTER = itertools.count()

ZERO_SHOT = """
_base_ = '{root}/configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 32)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((128, 32), (192, 48))
]
projector = dict(in_channels=16, hidden_channels=24, out_channels=8)
model = dict(
    backbone=dict(
        img_size=32, patch_size=8, embed_dims=16, depths=(1, 1, 1), num_heads=(2, 2, 2),
        num_group_tokens=(6, 4, 0), num_output_groups=(6, 4),
    ),
    decode_head=dict(
        text_encoder=dict(embed_dims=16, num_layers=1, num_heads=2),
        image_projector=projector,
        text_projector=dict(projector),
    ),
    test_cfg=dict(crop_size=(32, 32), stride=(16, 16)),
)
test_dataloader = dict(
    num_workers=0, persistent_workers=False,
    dataset=dict(data_root='{voc}', pipeline=test_pipeline),
)
log_level = 'WARNING'
visualizer = dict(name='{name}')
experiment_name = '{name}'
"""

SUPERVISED = """
_base_ = '{root}/configs/fcn/fcn_groupvit-small-p16_1xb16-4k_voc12-512x512.py'
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (128, 48)
train_pipeline[3].crop_size = (32, 32)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (128, 32)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((128, 32), (192, 48))
]
data_preprocessor = dict(size=(32, 32))
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        img_size=32, patch_size=8, embed_dims=16, depths=(1, 1, 1), num_heads=(2, 2, 2),
        num_group_tokens=(6, 4, 0), num_output_groups=(6, 4), init_cfg=None,
    ),
    decode_head=dict(in_channels=[16, 16], channels=32),
    test_cfg=dict(crop_size=(32, 32), stride=(16, 16)),
)
loader = dict(num_workers=0, persistent_workers=False)
dataset = dict(data_root='{voc}', pipeline=test_pipeline)
train_dataloader = dict(
    loader, batch_size=2, dataset=dict(data_root='{voc}', pipeline=train_pipeline)
)
val_dataloader = dict(loader, dataset=dataset)
test_dataloader = dict(loader, dataset=dataset)
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = None
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
log_level = 'WARNING'
visualizer = dict(name='{name}')
experiment_name = '{name}'
"""


@pytest.fixture(autouse=True)
def _unformatted_configs(monkeypatch):
    """A run writes its config several times, and formatting takes a second each time."""
    text = property(
        lambda cfg: '\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items())
    )
    monkeypatch.setattr(Config, 'pretty_text', text)


@pytest.fixture(scope='session')
def voc(tmp_path_factory):
    """Three images of two sizes in VOC's layout; ``many.txt`` lists each of them 200 times."""
    root = tmp_path_factory.mktemp('openmmlab') / 'voc'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        width = 40 + 8 * (index == 2)
        pixels = rng.integers(0, 256, (36, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'JPEGImages/p{index}.jpg')
        mask = np.full((36, width), 8 + 4 * index, np.uint8)
        mask[:16] = 0
        Image.fromarray(mask).save(root / f'SegmentationClass/p{index}.png')
    lists = root / 'ImageSets/Segmentation'
    for name, lines in (('train', 3), ('val', 3), ('many', 201)):
        (lists / f'{name}.txt').write_text(''.join(f'p{i % 3}\n' for i in range(lines)))
    return root


@pytest.fixture
def write_config(voc, tmp_path):
    """Write one of the two configs under a new name, because mmengine registers runs by name."""

    def write(text):
        name = f'{tmp_path.name}-{next(COUNTER)}'
        path = tmp_path / f'{name}.py'
        path.write_text(text.format(root=ROOT, voc=voc, name=name))
        return path

    return write


@pytest.fixture
def zero_shot(write_config):
    return write_config(ZERO_SHOT)


@pytest.fixture
def supervised(write_config):
    return write_config(SUPERVISED)


@pytest.fixture
def pretrained(zero_shot, tmp_path):
    """A checkpoint of a pretraining: the pretrainer's names, a data set without classes."""
    model = Config.fromfile(zero_shot).model
    torch.manual_seed(0)
    pretrainer = GroupViTPretrainer(
        model.backbone,
        **{k: model.decode_head[k] for k in ('text_encoder', 'image_projector', 'text_projector')},
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
    )
    path = tmp_path / 'epoch_1.pth'
    meta = dict(dataset_meta=dict(task='image-text pretraining'))
    torch.save(dict(state_dict=pretrainer.state_dict(), meta=meta), path)
    return path


@pytest.fixture
def random_weights(tmp_path):
    """Write random weights of a config's model with a ``meta``."""

    def write(config, **meta):
        path = tmp_path / 'random.pth'
        model = MODELS.build(Config.fromfile(config).model)
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
        return path

    return write


@pytest.fixture(autouse=True)
def _no_screen():
    matplotlib.use('Agg')


@pytest.fixture
def mmseg_tool(monkeypatch, tmp_path):
    """Run one of MMSegmentation's tools like its command line, in a folder of the test."""

    def run(name, *argv):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, argv)])
        return runpy.run_path(str(TOOLS / name), run_name='__main__')

    return run


@pytest.fixture
def plugin_tool():
    """Run a tool of this project in this process; return its exit status."""

    def run(path, *argv):
        return load_file(path).main([str(argument) for argument in argv])

    return run


@pytest.fixture
def quiet():
    """Options of an MMSegInferencer that draw no progress bar, where it has them."""
    has_it = 'show_progress' in inspect.signature(MMSegInferencer).parameters
    return dict(show_progress=False) if has_it else {}
