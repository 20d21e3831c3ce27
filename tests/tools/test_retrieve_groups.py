"""The picture and the file of what activates segments."""

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
def tool():
    return load_file('tools/analysis_tools/retrieve_groups.py')


@pytest.fixture
def place(tmp_path):
    (tmp_path / 'images').mkdir()
    rng = np.random.default_rng(0)
    for index in range(3):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(9, 0).repeat(9, 1)
        Image.fromarray(pixels).save(tmp_path / f'images/p{index}.png')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path


def run(tool, place, *options):
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu', '--size=32']
    return tool.main([*arguments, f'--out={place / "out"}', *options])


def test_every_segment_gets_a_row(tool, place, capsys):
    assert run(tool, place, f'--images={place / "images"}', '--words=a cat, a bus', '--top=2') == 0
    content = json.loads((place / 'out/groups.json').read_text())
    assert [one['segment'] for one in content['segments']] == [0, 1, 2, 3]
    assert sum(one['share'] for one in content['segments']) == pytest.approx(1)
    assert {word for one in content['segments'] for word, _ in one['words']} == {'cat', 'bus'}
    width, height = Image.open(place / 'out/groups.png').size
    assert width > 2 * 32
    assert height > 4 * 32
    assert capsys.readouterr().out.count('segment ') == 4


def test_the_rest_of_an_image_is_faded(tool, place):
    group_map = np.zeros((32, 32), int)
    group_map[:, 16:] = 1
    path = place / 'images/p0.png'
    one, other = (tool.fade_others(path, group_map, segment) for segment in (0, 1))
    assert one[:, 16:].min() >= 204  # at least four fifths white
    assert other[:, 16:].min() < 150


def test_an_empty_folder_is_one_sentence(tool, place, capsys):
    (place / 'empty').mkdir()
    assert run(tool, place, f'--images={place / "empty"}') == 2
    assert capsys.readouterr().err.startswith('error: No image to look for')


def test_words_may_be_a_class_file(tool, tmp_path):
    (tmp_path / 'words.txt').write_text('background: sky\ncat, kitten\ndog')
    assert tool.read_words(str(tmp_path / 'words.txt')) == ('cat', 'kitten', 'dog')
    assert tool.read_words('a cat, the dog') == ('cat', 'dog')
    assert tool.read_words('pascal_voc')[0] == 'aeroplane'
