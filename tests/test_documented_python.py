"""The Python blocks of the README, the guide and the configs' READMEs."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine import registry as mmengine_registry
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain import registry as mmpretrain_registry
from mmseg import registry as mmseg_registry
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.checkpoints import released
from groupvit_mmseg.inference import GroupViTInferencer, segmentation_config

import documented_commands as documented

ROOT = Path(__file__).resolve().parents[1]
NAME = 'groupvit-gcc-yfcc'
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
REGISTRIES = [
    one
    for module in (mmseg_registry, mmpretrain_registry, mmengine_registry)
    for one in vars(module).values()
    if isinstance(one, mmengine_registry.Registry)
]


BLOCKS = [
    pytest.param(block.replace(', ...)', ')'), id=f'{page.relative_to(ROOT)}:{number}')
    for page in documented.PAGES
    for number, block, _ in documented.fenced_blocks(page, ('python',))
]
# Their files are named by words in CAPITALS.
WITHOUT_FILES = [param for param in BLOCKS if not documented.PLACEHOLDER.search(param.values[0])]


def test_blocks_were_found():
    assert len(BLOCKS) > 20
    assert len(WITHOUT_FILES) > 15


@pytest.mark.parametrize('block', BLOCKS)
def test_imports_of_a_block_exist(block):
    tree = ast.parse(block)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), 'block', 'exec'), {})


@pytest.mark.parametrize('block', BLOCKS)
def test_types_in_a_block_are_registered(block):
    types = re.findall(r"\btype='([\w.]+)'", block)
    assert [name for name in types if all(one.get(name) is None for one in REGISTRIES)] == []


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What blocks read: files of a work directory, and the names that the text explains."""
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    (tmp_path / 'groupvit.py').symlink_to(CONFIG)
    cfg = Config.fromfile(CONFIG)
    weights = MODELS.build(cfg.model).state_dict()
    torch.save(dict(meta={}, state_dict=weights), tmp_path / 'groupvit.pth')
    (tmp_path / 'home').mkdir()
    released_file = tmp_path / 'home' / released.RELEASED[NAME].file
    torch.save(dict(meta=dict(cfg=cfg.pretty_text), state_dict=weights), released_file)
    monkeypatch.setitem(released.RELEASED, NAME, released.RELEASED[NAME]._replace(sha256=''))
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path / 'home'))
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    segmentation_config(cfg).dump(tmp_path / 'segment.py')
    photo = np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)
    for folder in ('photos', 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (tmp_path / folder).mkdir(parents=True)
    for path in ('photo.jpg', 'photos/photo.jpg', 'JPEGImages/photo.jpg'):
        Image.fromarray(photo).save(tmp_path / path)
    mask = np.zeros((40, 48), np.uint8)
    mask[:, 24:] = 8
    Image.fromarray(mask).save(tmp_path / 'SegmentationClass/photo.png')
    (tmp_path / 'ImageSets/Segmentation/val.txt').write_text('photo\n')
    monkeypatch.chdir(tmp_path)
    inferencer = GroupViTInferencer('segment.py', 'groupvit.pth')
    return dict(
        config='groupvit.py',
        checkpoint='groupvit.pth',
        inferencer=inferencer,
        segmentor=inferencer.segmentor,
        head=inferencer.segmentor.decode_head,
        calibration_dataloader=Runner.build_dataloader(cfg.test_dataloader),
        train_pipeline=[],
    )


@pytest.mark.filterwarnings('ignore:.*Failed to add:UserWarning')
@pytest.mark.filterwarnings('ignore:dataset_meta or class names:UserWarning')
@pytest.mark.parametrize('block', WITHOUT_FILES)
def test_block_runs(block, names):
    exec(compile(block, 'block', 'exec'), names)
