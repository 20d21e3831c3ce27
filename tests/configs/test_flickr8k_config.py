"""The recipe of ``make real``: what its name says is what it does."""

from pathlib import Path

from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.inference import segmentation_config

FOLDER = Path(__file__).parents[2] / 'configs' / 'groupvit'
(PATH,) = FOLDER.glob('*flickr8k*.py')


def test_numbers_in_the_name():
    cfg = Config.fromfile(PATH)
    assert f'-p{cfg.model.backbone.patch_size}_' in PATH.name
    assert f'_1xb{cfg.train_dataloader.batch_size}-' in PATH.name
    assert f'-{cfg.train_cfg.max_epochs}e_' in PATH.name
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs
    assert PATH.stem.endswith(f'-{cfg.model.backbone.img_size}px')
    crop = next(t for t in cfg.train_pipeline if t.type == 'LoadRandomResizedCrop')
    assert crop.scale == cfg.model.backbone.img_size


def test_pretraining_weights_are_those_of_the_segmentor():
    cfg = Config.fromfile(PATH)
    pretrainer, segmentor = MODELS.build(cfg.model), MODELS.build(segmentation_config(cfg).model)
    segmentor.load_state_dict(pretrainer.state_dict(), strict=True)
    assert segmentor.decode_head.bg_thresh == 0.95
    assert segmentor.test_cfg == dict(mode='slide', crop_size=(448, 448), stride=(224, 224))
