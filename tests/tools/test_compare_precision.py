"""tools/benchmarks/compare_precision.py on a small made set."""

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
SET = """
test_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        metainfo=dict(classes=['cat', 'dog', 'cow', 'sheep', 'horse', 'bird']),
        data_root={root!r},
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        seg_map_suffix='.png',
    )
)
"""


@pytest.fixture
def tool():
    return load_file('tools/benchmarks/compare_precision.py')


@pytest.fixture
def place(tmp_path):
    """Three pictures with masks, their config and the weights of a random model."""
    rng = np.random.default_rng(0)
    for name in ('a', 'b', 'c'):
        for folder, shape, top in (('images', (6, 6, 3), 256), ('masks', (6, 6), 6)):
            small = rng.integers(0, top, shape, dtype=np.uint8)
            (tmp_path / folder).mkdir(exist_ok=True)
            large = small.repeat(8, 0).repeat(8, 1)
            Image.fromarray(large).save(tmp_path / folder / f'{name}.png')
    (tmp_path / 'pets.py').write_text(SET.format(root=str(tmp_path)))
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path


def run(tool, place, *options):
    given = [str(place / 'weights.pth'), f'--set={place / "pets.py"}', f'--config={CONFIG}']
    change = ['--change', 'short_side=48', 'crop_size=0']
    return tool.main([*given, '--device=cpu', *change, f'--out={place / "out.json"}', *options])


def test_share_of_equal_labels_is_that_of_the_pixels(tool, place, monkeypatch):
    """A bf16 pass that turns one class into another is found out by its pixels."""
    load = tool.load_segmentor

    def turning(*arguments, **options):
        segmentor = load(*arguments, **options)
        step = segmentor.test_step

        def test_step(data):
            (sample,) = step(data)
            if segmentor.test_cfg.precision == 'bf16':
                sample.pred_sem_seg.data = turned.clone()
            else:
                turned.copy_(sample.pred_sem_seg.data)
                turned[..., :12] = (turned[..., :12] + 1) % 6
            return [sample]

        segmentor.test_step = test_step
        return segmentor

    turned = torch.zeros(1, 48, 48, dtype=torch.int64)
    monkeypatch.setattr(tool, 'load_segmentor', turning)
    assert run(tool, place) == 0
    result = json.loads((place / 'out.json').read_text())
    assert result['same_labels'] == pytest.approx(75)
    assert result['images'] == 3
    assert result['mIoU']['fp32'] != result['mIoU']['bf16']


def test_both_precisions_run_and_nearly_agree(tool, place, capsys):
    assert run(tool, place, '--images', '2') == 0
    result = json.loads((place / 'out.json').read_text())
    assert result['images'] == 2
    assert 80 < result['same_labels'] <= 100
    assert 'have the same label; mIoU fp32' in capsys.readouterr().out


def test_int8_is_compared_on_request(tool, place):
    assert run(tool, place, '--images', '2', '--precision', 'int8') == 0
    result = json.loads((place / 'out.json').read_text())
    assert set(result['mIoU']) == {'fp32', 'int8'}
    assert 50 < result['same_labels'] <= 100


@pytest.mark.parametrize(
    'option, message',
    [
        ('--set=all', 'no set to segment'),
        ('--set=voc22', 'Unknown set'),
        ('--root=x', 'no x for'),
        ('--images=0', '--images 0 must be at least 1'),
        ('--device=gpu', "cannot use the device 'gpu'"),
    ],
)
def test_wrong_options_are_one_sentence(tool, place, capsys, option, message):
    assert run(tool, place, option) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1
