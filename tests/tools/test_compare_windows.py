"""tools/analysis_tools/compare_windows.py on a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp('windows'), np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (place / folder).mkdir()
    for index in range(3):
        pixels = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(place / f'images/{index}.png')
        labels = rng.integers(0, 3, (6, 8), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(labels).save(place / f'masks/{index}.png')
    (place / 'pets.py').write_text(
        f"""test_dataloader = dict(dataset=dict(
            type='BaseSegDataset', metainfo=dict(classes=['cat', 'dog', 'bus']),
            data_root={str(place)!r}, img_suffix='.png', seg_map_suffix='.png',
            data_prefix=dict(img_path='images', seg_map_path='masks')))"""
    )
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


def arguments(place, out, *windows):
    options = [f'--config={CONFIG}', f'--out={out}', '--device=cpu']
    return [str(place / 'weights.pth'), *options, '--change', 'short_side=40', *windows]


WINDOWS = ('crop_size=32', 'stride=16')


def test_both_scores_are_those_of_the_evaluation(place, tmp_path):
    tool = load_file('tools/analysis_tools/compare_windows.py')
    command = arguments(place, tmp_path / 'both', *WINDOWS, '--pictures=2')
    assert tool.main([*command, '--set', str(place / 'pets.py')]) == 0
    content = json.loads((tmp_path / 'both/windows.json').read_text())['percent']
    evaluate = load_file('tools/evaluate.py')
    for name, windows in (('windows', WINDOWS), ('whole images', ('crop_size=0',))):
        out = tmp_path / name.split()[0]
        options = ['--workers=0', '--pictures=0', '--sets', str(place / 'pets.py')]
        assert evaluate.main([*arguments(place, out, *windows), *options]) == 0
        score = json.loads((out / 'pets.json').read_text())['metrics']['mIoU']
        assert content[f'mIoU of {name}'] == pytest.approx(score)
    assert 0 < content['pixels that differ'] < 100
    parts = ('of these, windows disagree', 'of these, windows agree')
    assert sum(content[part] for part in parts) == pytest.approx(100)
    assert Image.open(tmp_path / 'both/windows.jpg').size > (500, 300)
    assert '| whole image | windows |' in (tmp_path / 'both/windows.md').read_text()


def test_a_protocol_without_windows_is_refused(place, tmp_path, capsys):
    tool = load_file('tools/analysis_tools/compare_windows.py')
    command = arguments(place, tmp_path, 'crop_size=0', '--set', str(place / 'pets.py'))
    assert tool.main(command) == 2
    assert 'has no windows' in capsys.readouterr().err
