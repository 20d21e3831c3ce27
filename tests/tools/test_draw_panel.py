"""tools/analysis_tools/draw_panel.py on two small images."""

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
COLOURS = dict(wide=(250, 10, 20), high=(10, 20, 240))


@pytest.fixture
def tool():
    return load_file('tools/analysis_tools/draw_panel.py')


@pytest.fixture
def place(tmp_path):
    for name, shape in (('wide', (40, 80)), ('high', (90, 60))):
        Image.new('RGB', shape[::-1], COLOURS[name]).save(tmp_path / f'{name}.png')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path


def run(tool, place, *options):
    images = [str(place / f'{name}.png') for name in ('wide', 'high')]
    given = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu']
    return tool.main([*given, f'--out={place / "panel.png"}', *options, '--images', *images])


def test_a_column_for_each_image(tool, place):
    assert run(tool, place, '--side', '64') == 0
    figure = np.asarray(Image.open(place / 'panel.png'))
    # Columns as wide as their images at that side, 128 and 64 px; rows as high as the higher, 96.
    assert figure.shape[0] > 3 * 96
    assert figure.shape[1] > 128 + 64
    for name, count in (('wide', 128 * 64), ('high', 64 * 96)):
        assert (figure == COLOURS[name]).all(-1).sum() >= count


def test_settings_change_the_words(tool, place, monkeypatch):
    seen = []
    monkeypatch.setattr(
        tool, 'draw_labels', lambda image, labels, names: seen.append(tuple(names)) or image
    )
    changes = ['model.decode_head.class_names=[moss,fern]', 'model.decode_head.bg_thresh=0.3']
    assert run(tool, place, '--cfg-options', *changes) == 0
    assert len(seen) == 2
    assert all({'moss', 'fern'} <= set(names) for names in seen)


def test_a_side_that_is_too_small_is_refused(tool, place, capsys):
    with pytest.raises(SystemExit):
        run(tool, place, '--side', '8')
    assert 'at least 32' in capsys.readouterr().err


def test_an_image_that_is_missing_is_named(tool, place, capsys):
    (place / 'high.png').unlink()
    assert run(tool, place) == 2
    assert 'high.png' in capsys.readouterr().err
