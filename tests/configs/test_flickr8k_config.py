"""The recipes on photographs: what their names say is what they do."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.inference import segmentation_config

FOLDER = Path(__file__).parents[2] / 'configs' / 'groupvit'
(PATH,) = FOLDER.glob('*flickr8k*.py')
(SHORT,) = FOLDER.glob('*-4e_photographs-48px.py')
(LONG,) = FOLDER.glob('*-16e_photographs-64px.py')
(LONGER,) = FOLDER.glob('*-12e_photographs-64px.py')


@pytest.mark.parametrize('path', [PATH, SHORT, LONG, LONGER], ids=lambda path: path.stem)
def test_numbers_in_the_name(path):
    cfg = Config.fromfile(path)
    assert f'-p{cfg.model.backbone.patch_size}_' in path.name
    assert f'_1xb{cfg.train_dataloader.batch_size}-' in path.name
    assert f'-{cfg.train_cfg.max_epochs}e_' in path.name
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs
    assert path.stem.endswith(f'-{cfg.model.backbone.img_size}px')
    assert cfg.val_cfg.segmentor.backbone == cfg.model.backbone
    crop = next(t for t in cfg.train_pipeline if t.type == 'LoadRandomResizedCrop')
    assert crop.scale == cfg.model.backbone.img_size


def test_twelve_epochs_more_take_the_weights_of_sixteen():
    before, after = Config.fromfile(LONG), Config.fromfile(LONGER)
    assert before.model == after.model
    assert before.val_cfg == after.val_cfg
    assert before.val_dataloader == after.val_dataloader
    shares = [
        [each.weight for each in cfg.train_dataloader.dataset.sources] for cfg in (before, after)
    ]
    assert shares == [[0.2, 0.2, 0.6], [0.15, 0.25, 0.6]]
    assert after.load_from is None  # its command names them
    assert [each.end for each in after.param_scheduler] == [300, 12]


def test_pretraining_weights_are_those_of_the_segmentor():
    cfg = Config.fromfile(PATH)
    pretrainer, segmentor = MODELS.build(cfg.model), MODELS.build(segmentation_config(cfg).model)
    segmentor.load_state_dict(pretrainer.state_dict(), strict=True)
    assert segmentor.decode_head.bg_thresh == 0.95
    assert segmentor.test_cfg == dict(mode='slide', crop_size=(448, 448), stride=(224, 224))


@pytest.mark.parametrize('path,side', [(SHORT, 80), (LONG, 80)], ids=['short', 'long'])
def test_photographs_are_segmented_whole_at_the_size_of_the_page(path, side):
    cfg = Config.fromfile(path)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize = loader.dataset.pipeline[1]
        assert resize.scale == (2048, side)
        assert resize.interpolation == 'area'
    crop = cfg.train_dataloader.dataset.pipeline[0]
    assert crop.scale == cfg.model.backbone.img_size
    sizes = [step.scale[1] for step in cfg.tta_pipeline[1].transforms[0]]
    assert sizes == [side * n // 4 for n in (2, 3, 4, 5, 6, 7)]
