"""The classification probes, run on pictures of two colours."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/analysis_tools/probe_classification.py'
    spec = importlib.util.spec_from_file_location('probe_classification_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp('probe'), np.random.default_rng(0)
    for split, count in (('train', 4), ('test', 2)):
        for name, colour in (('blue', (0, 0, 200)), ('red', (200, 0, 0))):
            (place / split / name).mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(0, 50, (240, 250, 3), dtype=np.uint8)
                picture = noise + np.array(colour, np.uint8)
                Image.fromarray(picture).save(place / split / name / f'{index}.png')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


def run(tool, place, *options):
    folders = [f'--train={place / "train"}', f'--test={place / "test"}']
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu', '--workers=0']
    return tool.main([*arguments, *folders, *options])


def test_colours_are_told_apart_by_both_probes(tool, place):
    out = place / 'probe.json'
    assert run(tool, place, '--neighbours=3', f'--out={out}') == 0
    result = json.loads(out.read_text())
    assert result['images'] == dict(train=8, test=4, classes=2)
    assert result['neighbours']['top1'] == result['linear']['top1'] == 100


def test_folders_of_other_classes_are_one_sentence(tool, place, capsys):
    assert run(tool, place, f'--test={place}') == 2
    assert 'both need the same folders' in capsys.readouterr().err
