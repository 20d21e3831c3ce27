"""tools/real.py: a few steps of it, where the photographs are."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def real():
    spec = importlib.util.spec_from_file_location('real_tool', ROOT / 'tools/real.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_missing_data_is_said_in_one_sentence(real, tmp_path, capsys):
    assert real.main(['--data', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: No folder {tmp_path} holds both flickr8k_128 and VOCdevkit')
    assert error.count('\n') == 1


def test_training_is_bounded(real):
    class Runner:
        epoch = 0
        train_loop = type('Loop', (), dict(stop_training=False))

    clock = real.BoundedTime(minutes=1, work_dir=None)
    for elapsed, stops in ((10, False), (31, True)):
        clock.start = real.time.monotonic() - elapsed
        clock.after_train_epoch(Runner)
        assert Runner.train_loop.stop_training is stops


@pytest.mark.slow
def test_a_few_steps_on_photographs(real, tmp_path):
    try:
        data = real.find_data(None)
    except FileNotFoundError:
        pytest.skip('flickr8k_128 and VOCdevkit/VOC2012 are not in data/ or ../shared/data/')
    args = real.parse_args([f'--work-dir={tmp_path}', '--minutes=0', '--shards=1'])
    cfg = real.make_config(data, args)
    training = real.train(cfg, args)
    assert (training['epochs'], training['pairs']) == (1, 3 * 128)

    untrained, trained = (
        torch.load(tmp_path / f'{name}.pth', weights_only=True)['state_dict']
        for name in ('untrained', 'trained')
    )
    assert list(untrained) == list(trained)
    assert not torch.equal(untrained['backbone.pos_embed'], trained['backbone.pos_embed'])

    calibration = real.calibrate(cfg, tmp_path / 'trained.pth', [0, 1])
    report = real.evaluate(
        cfg, 'some', tmp_path / 'trained.pth', [2, 3], bg_thresh=calibration.threshold
    )
    assert report['background']['threshold'] == calibration.threshold
    assert report['protocol']['inference']['crop_size'] == [448, 448]
    assert 0 < report['metrics']['mIoU'] < 100
    assert report['metrics']['foreground/mIoU'] >= 0
    assert len(report['class_iou']['foreground']) == 21
    real.draw(cfg, tmp_path / 'trained.pth', calibration.threshold, [2], tmp_path / 'picture.png')
    assert (tmp_path / 'picture.png').stat().st_size > 10_000
