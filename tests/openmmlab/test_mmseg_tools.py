"""MMSegmentation's tools/, as they are installed, on configs and checkpoints of this plugin."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

CONFIGS = ('zero_shot', 'supervised')
pytestmark = pytest.mark.slow  # test_apis.py and test_tta.py are the part that always runs


@pytest.fixture(params=CONFIGS)
def case(request, random_weights):
    """A config and weights for it, of a pretrainer if classes are prompted."""
    config = request.getfixturevalue(request.param)
    if request.param == 'zero_shot':
        return config, request.getfixturevalue('pretrained')
    return config, random_weights(config)


def scores(folder):
    """Scores that a test run wrote into its work dir."""
    (path,) = folder.glob('*/*.json')
    return json.loads(path.read_text())


def test_test_draws_and_saves(case, mmseg_tool, tmp_path):
    config, checkpoint = case
    work_dir, labels = tmp_path / 'work', tmp_path / 'labels'
    mmseg_tool(
        *('test.py', config, checkpoint, '--work-dir', work_dir),
        *('--show-dir', 'shown', '--out', labels),
    )
    assert 0 <= scores(work_dir)['mIoU'] <= 100
    assert len(list((tmp_path / 'shown/vis_data/vis_image').glob('test_p*.png'))) == 3
    saved = np.asarray(Image.open(labels / 'p0.png'))
    assert saved.shape == (36, 40)
    assert saved.max() < 21


def test_test_with_tta(case, mmseg_tool, tmp_path):
    config, checkpoint = case
    mmseg_tool('test.py', config, checkpoint, '--tta', '--work-dir', tmp_path / 'work')
    assert 0 <= scores(tmp_path / 'work')['mIoU'] <= 100


def test_get_flops(case, mmseg_tool, capsys):
    mmseg_tool('analysis_tools/get_flops.py', case[0], '--shape', 32, 32)
    assert re.search(r'Flops: 0\.[\d]+M', capsys.readouterr().out)


def test_benchmark(case, mmseg_tool, tmp_path):
    config, checkpoint = case
    many = "test_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/many.txt'))"
    (tmp_path / 'many.py').write_text(f"_base_ = '{config}'\n{many}\n")
    mmseg_tool(
        'analysis_tools/benchmark.py', tmp_path / 'many.py', checkpoint, '--work-dir', tmp_path
    )
    (result,) = tmp_path.glob('fps_*.json')
    assert json.loads(result.read_text())['average_fps'] > 0


@pytest.mark.filterwarnings('ignore::RuntimeWarning')
def test_confusion_matrix(zero_shot, pretrained, mmseg_tool, tmp_path):
    labels = tmp_path / 'labels'
    mmseg_tool('test.py', zero_shot, pretrained, '--work-dir', tmp_path / 'w', '--out', labels)
    mmseg_tool('analysis_tools/confusion_matrix.py', zero_shot, labels, tmp_path / 'drawn')
    assert (tmp_path / 'drawn/confusion_matrix.png').is_file()


def test_print_config(case, mmseg_tool, tmp_path):
    config, _ = case
    mmseg_tool('misc/print_config.py', config, '--graph')
    assert Config.fromfile(tmp_path / 'example.py').model == Config.fromfile(config).model
    assert '(decode_head)' in (tmp_path / 'example-graph.txt').read_text()


@pytest.mark.parametrize('tool', ['misc/browse_dataset.py', 'analysis_tools/browse_dataset.py'])
def test_browse_dataset(supervised, mmseg_tool, tmp_path, tool):
    mmseg_tool(tool, supervised, '--output-dir', tmp_path / 'seen', '--not-show')
    assert list((tmp_path / 'seen').rglob('p0*'))


@pytest.mark.parametrize('amp', [(), ('--amp',)], ids=['fp32', 'amp'])
def test_train(supervised, mmseg_tool, tmp_path, amp):
    work_dir = tmp_path / 'work'
    mmseg_tool('train.py', supervised, '--work-dir', work_dir, *amp)
    checkpoint = torch.load(work_dir / 'iter_2.pth', weights_only=True)
    assert checkpoint['meta']['dataset_meta']['classes'][12] == 'dog'
    assert ('scaler' in checkpoint['optimizer']) == bool(amp)
    if not amp:
        mmseg_tool('test.py', supervised, work_dir / 'iter_2.pth', '--work-dir', tmp_path / 'test')
        assert 0 <= scores(tmp_path / 'test')['mIoU'] <= 100


def test_analyze_logs(supervised, mmseg_tool, tmp_path):
    pytest.importorskip('seaborn', reason='analyze_logs.py imports seaborn')
    mmseg_tool('train.py', supervised, '--work-dir', tmp_path / 'work')
    (log,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    mmseg_tool('analysis_tools/analyze_logs.py', log, '--keys', 'loss', '--out', 'curve.png')
    assert (tmp_path / 'curve.png').is_file()


def test_visualization_cam(case, mmseg_tool, voc, tmp_path):
    pytest.importorskip('pytorch_grad_cam', reason='visualization_cam.py imports grad-cam 1.4')
    config, checkpoint = case
    layer = ('--target-layers', 'backbone.patch_embed.proj', '--category-index', 0)
    mmseg_tool(
        *('analysis_tools/visualization_cam.py', voc / 'JPEGImages/p0.jpg', config, checkpoint),
        *('--device', 'cpu', *layer),
    )
    with Image.open(tmp_path / 'vis_cam.png') as drawn:
        assert drawn.size == (40, 36)
