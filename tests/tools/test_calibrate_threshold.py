"""The calibration tool on a small made VOC: never silently on the test split."""

import json
import shutil
import sys
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
    return load_file('tools/analysis_tools/calibrate_threshold.py')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp('calibrate')
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (place / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(place / f'JPEGImages/p{index}.jpg')
        labels = rng.choice([0, 0, 8, 12], (6, 6)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(labels).save(place / f'SegmentationClass/p{index}.png')
    lists = place / 'ImageSets/Segmentation'
    lists.joinpath('train.txt').write_text('p0\np1\n')
    lists.joinpath('val.txt').write_text('p2\np3\n')
    lists.joinpath('trainval.txt').write_text('p0\np1\np2\np3\n')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


def run(tool, place, out, split, *options, change=()):
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu', '--workers=0']
    arguments += [f'--root={place}', f'--split=ImageSets/Segmentation/{split}.txt', f'--out={out}']
    windows = ['short_side=48', 'crop_size=32', 'stride=16']
    return tool.main([*arguments, *options, '--change', *windows, *change])


def test_the_choice_is_written_with_where_it_comes_from(tool, place, tmp_path, capsys):
    assert run(tool, place, tmp_path / 'chosen.json', 'train') == 0
    chosen = json.loads((tmp_path / 'chosen.json').read_text())
    curve = dict(map(tuple, chosen['curve']))
    assert curve[chosen['threshold']] == max(curve.values()) == chosen['miou_there']
    assert len(set(curve.values())) > 2
    assert chosen['images']['count'] == 2
    assert chosen['crops'] == 2 * 4
    assert chosen['split'].endswith('train.txt')
    assert chosen['on_test_images'] is False
    assert len(chosen['checkpoint']['sha256']) == 64
    assert Image.open(tmp_path / 'chosen.png').size > (100, 100)
    assert f'threshold {chosen["threshold"]:.4f}' in capsys.readouterr().out


@pytest.mark.parametrize('split, count', [('val', '2 of the 2'), ('trainval', '2 of the 4')])
def test_test_images_are_refused_unless_asked_for_and_told(
    tool, place, tmp_path, capsys, split, count
):
    assert run(tool, place, tmp_path / 'chosen.json', split) == 2
    assert f'{count} images' in capsys.readouterr().err
    assert not (tmp_path / 'chosen.json').exists()
    assert run(tool, place, tmp_path / 'chosen.json', split, '--on-test-split', '--images=1') == 0
    assert json.loads((tmp_path / 'chosen.json').read_text())['on_test_images'] is True
    assert 'chosen on test images' in capsys.readouterr().out


def test_a_missing_list_is_one_sentence(tool, place, tmp_path, capsys):
    assert run(tool, place, tmp_path / 'chosen.json', 'none') == 2
    assert 'There is no list of images' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change, message',
    [
        ('bg_thresh=0.5', 'leave bg_thresh out of --change'),
        ('affinity=contrast', 'affinity=contrast compares with words of the background'),
        ('background_words=sky', 'leave background_words out'),
        ('pamr_steps=-1', 'pamr_steps = -1'),
    ],
)
def test_changes_that_the_choice_would_pass_over_are_refused(
    tool, place, tmp_path, capsys, change, message
):
    assert run(tool, place, tmp_path / 'chosen.json', 'train', change=[change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'chosen.json').exists()


def test_a_set_without_masks_is_refused(tool, place, tmp_path, capsys):
    assert run(tool, place, tmp_path / 'chosen.json', 'train', '--set=imagenet') == 2
    assert 'imagenet is classified, not segmented' in capsys.readouterr().err


@pytest.mark.parametrize(
    'mask, message',
    [
        (np.full((48, 48), 99, np.uint8), 'p1.png has label 99, but there are only 21 classes'),
        (np.full((48, 48), 264, np.uint16), 'p1.png (uint16) has label 264'),
        (np.full((48, 40), 8, np.uint8), 'p1.png has 40 x 48 pixels, but its image'),
    ],
)
def test_bad_masks_name_their_file(tool, place, tmp_path, capsys, mask, message):
    shutil.copytree(place, tmp_path / 'set')
    Image.fromarray(mask).save(tmp_path / 'set/SegmentationClass/p1.png')
    assert run(tool, tmp_path / 'set', tmp_path / 'chosen.json', 'train') == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_a_crf_without_its_package_is_refused(tool, place, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    assert run(tool, place, tmp_path / 'chosen.json', 'train', change=['crf_steps=2']) == 2
    assert 'pip install "groupvit-mmseg[crf]"' in capsys.readouterr().err


@pytest.mark.parametrize('change', ['tta_flip=True', 'pamr_steps=2'])
def test_averages_and_refined_scores_are_calibrated_too(tool, place, tmp_path, change):
    assert run(tool, place, tmp_path / 'chosen.json', 'train', change=[change]) == 0
    chosen = json.loads((tmp_path / 'chosen.json').read_text())
    assert len(chosen['curve']) > 21  # steps of .05, and between scores of segments
    assert chosen['crops'] == 2  # images, whose windows are averaged
    name, _, value = change.partition('=')
    assert str(chosen['protocol']['fields'][name]) == value
