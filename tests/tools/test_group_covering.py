"""tools/analysis_tools/group_covering.py on generated files in BSDS500's layout."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image
from scipy.io import savemat

from groupvit_mmseg.evaluation.covering import covering_scores, mean_scores
from groupvit_mmseg.inference import GroupViTInferencer

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture
def tool():
    return load_file('tools/analysis_tools/group_covering.py')


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ('images/test', 'groundTruth/test'):
        (tmp_path / folder).mkdir(parents=True)
    for index in range(2):
        pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(tmp_path / f'images/test/{index}.jpg')
        cells = np.empty((1, 2), dtype=object)
        for number in range(2):
            regions = rng.integers(1, 4, (4, 5)).repeat(10, 0).repeat(10, 1)
            cells[0, number] = dict(Segmentation=regions)
        savemat(tmp_path / f'groundTruth/test/{index}.mat', dict(groundTruth=cells))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path


def run(tool, place, *options):
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', f'--data={place}']
    return tool.main([*arguments, '--device=cpu', *options])


def test_scores_of_groups_and_of_two_trivial_segmentations(tool, place, capsys):
    assert run(tool, place, f'--out={place / "covering.json"}') == 0
    assert '| one region |' in capsys.readouterr().out
    scores = json.loads((place / 'covering.json').read_text())['scores']
    checkpoint = place / 'weights.pth'
    inferencer = GroupViTInferencer(CONFIG, checkpoint, class_names=['thing'], device='cpu')
    images = []
    for index in range(2):
        groups = inferencer(str(place / f'images/test/{index}.jpg')).group_map
        annotations = tool.read_annotations(place / f'groundTruth/test/{index}.mat')
        images.append(covering_scores(groups, annotations))
    assert len(np.unique(groups)) > 1
    assert scores['groups'] == pytest.approx(mean_scores(images)._asdict())
    assert scores['one region']['covering'] < 60


def test_a_grid_of_squares(tool):
    assert tool.squares((4, 4), 4).tolist() == [[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2


def test_missing_files_are_named(tool, place, capsys):
    (place / 'groundTruth/test/1.mat').unlink()
    assert run(tool, place) == 2
    assert 'test/1.mat (1 are missing)' in capsys.readouterr().err
    assert run(tool, place, '--split=val') == 2
    assert 'no image in' in capsys.readouterr().err
