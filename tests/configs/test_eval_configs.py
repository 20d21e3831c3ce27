"""The zero-shot configs: their names, thresholds, classes and protocol."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import DATASETS, MODELS

from groupvit_mmseg.text.background_thresholds import THRESHOLD_PRESETS
from groupvit_mmseg.text.vocabulary import class_names

CONFIGS = Path(__file__).parents[2] / 'configs' / 'groupvit'
NAMES = sorted(path.name for path in CONFIGS.glob('*_zeroshot_*.py'))
SETS = {
    'voc12': 'pascal_voc',
    'context': 'pascal_context',
    'coco-object': 'coco_object',
    'voc20': 'pascal_voc20',
    'context59': 'pascal_context59',
    'coco-stuff': 'coco_stuff',
    'cityscapes': 'cityscapes',
    'ade20k': 'ade20k',
}
WITHOUT_BACKGROUND = list(SETS.values())[3:]


def test_there_is_one_for_every_set_and_preset():
    expected = {
        f'groupvit_vit-small-p16_zeroshot_{name}-448{suffix}.py'
        for preset, suffix in (('official', ''), ('paper', '-paper-threshold'))
        for name, class_set in SETS.items()
        if class_set in THRESHOLD_PRESETS[preset].values
    }
    assert expected
    expected |= {
        f'groupvit_vit-small-p16_zeroshot_{name}-448.py'
        for name, class_set in SETS.items()
        if class_set in WITHOUT_BACKGROUND
    }
    # A second name for the other released weights.
    expected.add('groupvit_vit-small-p16_zeroshot_voc12-448_gcc-redcap.py')
    assert expected == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_config_is_what_its_name_says(name):
    cfg = Config.fromfile(CONFIGS / name)
    class_set = next(SETS[key] for key in SETS if f'_{key}-448' in name)
    preset = 'paper' if 'paper' in name else 'official'
    with torch.device('meta'):
        head = MODELS.build(cfg.model).decode_head
    assert head.bg_thresh == THRESHOLD_PRESETS[preset].values.get(class_set)
    assert head.with_background == (class_set not in WITHOUT_BACKGROUND)
    assert head.class_names == class_names(class_set)
    assert head.templates == ('a photo of a {}.',)
    assert head.top_k == 5

    dataset = cfg.test_dataloader.dataset
    classes = DATASETS.get(dataset.type).METAINFO['classes']
    assert len(classes) == head.num_classes
    resize = next(step for step in dataset.pipeline if step['type'] == 'Resize')
    assert (min(resize['scale']), max(resize['scale']), resize['keep_ratio']) == (448, 2048, True)
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(448, 448), stride=(224, 224))
    assert '448' in name


@pytest.mark.parametrize('name', NAMES)
def test_header_names_the_command_with_its_own_file(name):
    header = (CONFIGS / name).read_text()
    assert f'tools/test.py \\\n#     configs/groupvit/{name} CHECKPOINT' in header
    assert 'Expected:' in header
