"""tools/evaluate.py --watch on checkpoints of a tiny model."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.benchmark import watch

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/evaluate.py')


def save_weights(path, seed):
    torch.manual_seed(seed)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    torch.save(dict(state_dict=model.state_dict()), path)


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    for folder in ('images', 'masks', 'run'):
        (tmp_path / folder).mkdir()
    for index in range(2):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'images/{index}.png')
        labels = rng.integers(0, 3, (4, 4), dtype=np.uint8).repeat(10, 0).repeat(12, 1)
        Image.fromarray(labels).save(tmp_path / f'masks/{index}.png')
    (tmp_path / 'classes.txt').write_text('background:\ncat\ndog\n')
    (tmp_path / 'run/config.py').write_text('train_cfg = dict(max_epochs=2)')
    return tmp_path


def run(tool, place, *options):
    files = [f'--{kind}={place / kind}' for kind in ('images', 'masks')]
    arguments = [*files, f'--classes={place / "classes.txt"}', f'--out={place / "out"}']
    arguments += [f'--config={CONFIG}', '--device=cpu', '--workers=0', '--pictures=1', *options]
    return tool.main(
        [*arguments, '--change', 'bg_thresh=0.3', 'short_side=40', 'crop_size=32', 'stride=16']
    )


def test_a_training_is_followed_to_its_end(tool, place, capsys, monkeypatch):
    save_weights(place / 'run/epoch_1.pth', 1)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        watch.follow, '__kwdefaults__', {**watch.follow.__kwdefaults__, 'sleep': interrupt}
    )
    command = [f'--watch={place / "run"}', '--log', 'tensorboard']
    assert run(tool, place, *command) == 130
    assert capsys.readouterr().err.endswith('the same command goes on at the next image.\n')
    save_weights(place / 'run/epoch_2.pth', 2)
    assert run(tool, place, *command) == 0
    assert 'The training has ended' in capsys.readouterr().out
    rows = list(csv.DictReader((place / 'out/curve.csv').open()))
    for row in rows:
        name = f'epoch_{row["step"]}'
        result = json.loads((place / f'out/checkpoints/{name}/own.json').read_text())
        assert float(row['own']) == pytest.approx(result['metrics']['mIoU'], abs=1e-4)
        assert result['checkpoint']['file'] == f'{name}.pth'
    assert [row['step'] for row in rows] == ['1', '2']
    best = max(rows, key=lambda row: float(row['mean']))['step']
    same = (place / f'run/epoch_{best}.pth').read_bytes()
    assert (place / 'out/best.pth').read_bytes() == same


def test_options_are_checked(tool, place, capsys):
    for options, text in (
        ((f'--watch={place / "none"}',), 'no work directory'),
        ((f'--watch={place / "run"}', '--interval=0'), 'must be above 0'),
        ((f'--watch={place / "run"}', '--rank=0'), 'no effect with --watch'),
        ((str(place / 'weights.pth'), '--idle=3'), 'with --watch alone'),
    ):
        assert run(tool, place, *options) == 2
        assert text in capsys.readouterr().err
