"""The classification probes, run on pictures of two colours."""

import json
import shutil
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
    return load_file('tools/analysis_tools/probe_classification.py')


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


def test_labels_with_negative_scores_count(tool):
    """The scores of a linear layer are of both signs."""
    scores = torch.tensor([[-1.0, -2, -3, -4, -5, -6], [3, 2, -1, -2, -3, -9]])
    assert tool.accuracies(scores, torch.tensor([0, 4])) == dict(top1=50, top5=100)


def test_folders_of_other_classes_are_one_sentence(tool, place, capsys):
    assert run(tool, place, f'--test={place}') == 2
    assert 'both need the same folders' in capsys.readouterr().err


def test_files_that_are_not_probed_are_counted_and_webp_is(tool, place, tmp_path, capsys):
    for split in ('train', 'test'):
        shutil.copytree(place / split, tmp_path / split)
    (tmp_path / 'weights.pth').symlink_to(place / 'weights.pth')
    red = tmp_path / 'test' / 'red'
    with Image.open(red / '0.png') as picture:
        picture.save(red / '7.webp')
        picture.save(red / '8.gif')
    (red / '._0.png').write_bytes(b'macOS')
    (red / 'list.txt').write_text('0.png')
    out = tmp_path / 'probe.json'
    assert run(tool, tmp_path, '--neighbours=3', f'--out={out}') == 0
    assert json.loads(out.read_text())['images']['test'] == 5
    printed = capsys.readouterr().err
    assert 'files: 8 read, 5 kept, 3 dropped' in printed
    assert '1: an image of another format (red/8.gif)' in printed
    assert f'{tmp_path / "train"}' not in printed


@pytest.mark.parametrize('workers', [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_unreadable_picture_is_one_sentence_with_its_name(
    tool, place, tmp_path, capsys, workers
):
    for split in ('train', 'test'):
        shutil.copytree(place / split, tmp_path / split)
    (tmp_path / 'weights.pth').symlink_to(place / 'weights.pth')
    (tmp_path / 'test' / 'red' / '9.png').write_bytes(b'no picture')
    assert run(tool, tmp_path, '--neighbours=3', f'--workers={workers}') == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ')
    assert '9.png' in line
