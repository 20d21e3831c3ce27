"""tools/analysis_tools/compare_protocols.py: a row per protocol, each evaluated by evaluate.py."""

import csv
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
    return load_file('tools/analysis_tools/compare_protocols.py')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Two images of VOC with masks, and a random model."""
    place, rng = tmp_path_factory.mktemp('protocols'), np.random.default_rng(0)
    root = place / 'data/VOCdevkit/VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    for index in range(2):
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(root / f'JPEGImages/p{index}.jpg')
        labels = rng.integers(0, 21, (6, 6)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(labels).save(root / f'SegmentationClass/p{index}.png')
    (root / 'ImageSets/Segmentation/val.txt').write_text('p0\np1\n')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


def run(tool, place, *options):
    command = [str(place / 'weights.pth'), f'--config={CONFIG}', f'--data-root={place / "data"}']
    small = ['--change', 'short_side=40', 'crop_size=32', 'stride=16', 'templates=simple']
    rest = ['--device=cpu', '--workers=0', '--pictures=0', f'--out={place / "out"}']
    return tool.main([*command, *small, *rest, *options])


def test_a_row_per_protocol_and_the_spread(tool, place, capsys):
    protocols = ['--protocols', 'official', 'tcl', 'dinotxt']
    assert run(tool, place, '--sets', 'voc21', 'voc20', *protocols) == 0
    with (place / 'out/protocols.csv').open() as file:
        rows = {row['protocol']: row for row in csv.DictReader(file)}
    assert list(rows) == ['official', 'tcl', 'dinotxt', tool.SPREAD]
    scores = {}
    for name, title in (('voc21', 'VOC21'), ('voc20', 'VOC20')):
        for protocol in ('official', 'tcl'):
            result = json.loads((place / f'out/{protocol}/{name}.json').read_text())
            assert result['protocol']['name'] == protocol
            scores[protocol, title] = result['metrics']['mIoU']
            assert rows[protocol][title] == f'{scores[protocol, title]:.2f}'
    # Without a threshold there is no number for a set with a background, and nothing is made up.
    assert rows['dinotxt']['VOC21'] == '-'
    assert float(rows['dinotxt']['VOC20']) >= 0
    spread = abs(scores['official', 'VOC21'] - scores['tcl', 'VOC21'])
    assert float(rows[tool.SPREAD]['VOC21']) == pytest.approx(spread, abs=0.01)
    text = (place / 'out/protocols.md').read_text()
    assert 'Protocol tcl: the 7-template subset' in text
    assert '| TCL + PAMR | tcl | 55.0 | 83.2 |' in text
    assert '| PGSeg | its own | 53.2 | - |' in text
    assert text in capsys.readouterr().out


def test_a_change_gives_every_protocol_a_threshold(tool, place):
    out = ['--out', str(place / 'changed')]
    options = ['--change', 'bg_thresh=0.5', 'short_side=40', 'crop_size=32', 'stride=16']
    arguments = ['--sets', 'voc21', '--protocols', 'dinotxt', *options, 'templates=simple', *out]
    assert run(tool, place, *arguments) == 0
    result = json.loads((place / 'changed/dinotxt/voc21.json').read_text())
    assert result['protocol']['fields']['bg_thresh'] == 0.5


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--sets', 'voc22'], 'Unknown set voc22'),
        (['--sets', 'voc21', '--change', 'treshold=.5'], 'A protocol has no treshold'),
        (['--sets', 'voc21', '--limit', '0'], '--limit 0 must be at least 1'),
    ],
)
def test_wrong_input_is_one_sentence(tool, place, capsys, options, sentence):
    assert run(tool, place, '--protocols', 'official', *options) == 2
    assert sentence in capsys.readouterr().err


def test_rows_of_scores_made_by_hand(tool):
    rows = tool.make_rows({'a': {'X': 10.0, 'Y': 3.0}, 'b': {'X': 14.5}}, ['X', 'Y', 'Z'])
    assert rows[0] == {'protocol': 'a', 'X': '10.00', 'Y': '3.00', 'Z': '-'}
    assert rows[-1] == {'protocol': tool.SPREAD, 'X': '4.50', 'Y': '0.00', 'Z': '-'}
