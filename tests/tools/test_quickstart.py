"""The quickstart, run as a user runs it, for one epoch of a few steps."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
WAYS = (
    'things_and_grounds',
    'things_and_background',
    'things_and_background_pamr',
    'things_and_background_words',
)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The finished process and its folder."""
    place = tmp_path_factory.mktemp('quickstart')
    command = [sys.executable, str(ROOT / 'tools/quickstart.py'), '--out', str(place / 'out')]
    command += ['--data-root', str(place / 'scenes'), '--seed', '3', '--max-epochs', '1']
    command += ['--num-train', '192', '--num-val', '8', '--num-calib', '8']
    process = subprocess.run(command, capture_output=True, text=True, cwd=place, check=False)
    assert process.returncode == 0, process.stderr
    return process, place / 'out'


def test_the_result_file_tells_all(run):
    result = json.loads((run[1] / 'result.json').read_text())
    assert result['seed'] == 3
    assert result['pretraining']['minutes'] >= 0
    assert result['pretraining']['samples_per_s'] > 0
    for moment, ways in (('untrained', WAYS[:2]), ('trained', WAYS)):
        assert tuple(result[moment]) == ways
        for way in ways:
            numbers = result[moment][way]
            ious = [iou for iou in numbers['class_IoU'].values() if iou is not None]
            assert numbers['mIoU'] == pytest.approx(np.mean(ious), abs=0.01)
            assert 0 <= numbers['oracle_mIoU'] <= 100
    background = result['trained']['things_and_background']
    assert 0 <= background['bg_thresh'] <= 1
    assert 'calibrated on 8 ' in background['bg_thresh_source']
    assert background['class_IoU'].keys() >= {'background', 'ball', 'heart'}


def test_training_changes_the_numbers(run):
    result = json.loads((run[1] / 'result.json').read_text())
    assert result['trained'][WAYS[0]] != result['untrained'][WAYS[0]]


def test_the_picture_is_one_to_look_at(run):
    picture = np.asarray(Image.open(run[1] / 'segmentation.png'))
    assert picture.shape[0] > 500
    assert picture.shape[1] > 500
    assert picture.std() > 30


def test_the_terminal_shows_progress_tables_and_no_warning(run):
    text = run[0].stdout + run[0].stderr
    assert 'Epoch(train)' in text
    assert text.count(' heart ') == 5  # the validation's table, then one per way
    table = text.partition('mIoU on unseen scenes')[2].splitlines()[1:5]
    # a row a way: untrained, trained and oracle; untrained in the plain ways alone
    assert [len(re.findall(r'\d+\.\d\d', row)) for row in table] == [3, 3, 2, 2]
    weights = text.partition('in a browser: make web MODEL=')[2].splitlines()[0]
    assert Path(weights) == run[1] / 'train/epoch_1.pth'
    assert Path(weights).is_file()
    assert 'Warning' not in text
    assert 'WARNING' not in text


def test_the_checkpoint_is_there(run):
    assert list((run[1] / 'train').glob('epoch_1.pth'))


@pytest.mark.slow
def test_scenes_that_cannot_be_drawn_end_it_with_their_sentence(tmp_path, capfd):
    tool = load_file('tools/quickstart.py')
    (tmp_path / 'scenes').write_text('a file, no folder')
    args = tool.parse_args(['--data-root', str(tmp_path / 'scenes'), '--out', str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        tool.draw_scenes(args)
    assert ended.value.code == 2
    assert capfd.readouterr().err.startswith('error: ')
