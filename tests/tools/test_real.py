"""tools/real.py: a few steps of it, where the photographs are."""

import re
import shlex

import pytest
import torch

from groupvit_cli import app

from loading import load_file


@pytest.fixture(scope='module')
def real():
    return load_file('tools/real.py')


def test_missing_data_is_said_in_one_sentence(real, tmp_path, capsys):
    assert real.main(['--data', str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f'error: No folder {tmp_path} holds voc_words_128, flickr8k_128, ')
    assert error.count('\n') == 1


def test_wrong_weights_are_one_sentence_and_a_training_keeps_its_traceback(
    real, tmp_path, monkeypatch, capsys
):
    def fails(args, data):
        raise RuntimeError('They do not fit.')

    monkeypatch.setattr(real, 'find_data', lambda folder: tmp_path)
    monkeypatch.setattr(real, 'run', fails)
    assert real.main(['--checkpoint', 'other.pth']) == 2
    assert capsys.readouterr().err == 'error: They do not fit.\n'
    with pytest.raises(RuntimeError, match='They do not fit'):
        real.main([])


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
def test_a_few_steps_on_photographs(real, tmp_path, capsys):
    try:
        data = real.find_data(None)
    except FileNotFoundError:
        pytest.skip('the photographs are not in data/ or ../shared/data/')
    args = real.parse_args([f'--work-dir={tmp_path}', '--minutes=0', '--shards=1'])
    cfg = real.make_config(data, args)
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs == 4
    training = real.train(cfg, args)
    out = capsys.readouterr().out
    assert re.search(r'^\d+\.\d\d s a step: 1 epoch, \d+ minutes \.\.\.$', out, re.MULTILINE)
    assert 'Longer than --minutes 0: one epoch is the least; --shards takes fewer' in out
    # A shard of each set: 346, 500 and 1,000 photographs.
    assert (training['epochs'], training['pairs']) == (1, 1846 // 64 * 64)

    untrained, trained = (
        torch.load(tmp_path / f'{name}.pth', weights_only=False)['state_dict']
        for name in ('untrained', 'epoch_1')
    )
    assert list(untrained) == list(trained)
    assert not torch.equal(untrained['backbone.pos_embed'], trained['backbone.pos_embed'])

    weights = tmp_path / 'epoch_1.pth'
    margin, result = real.measure(cfg, 'some', weights, 11)
    assert result['calibration']['photographs'] == 2
    report = result['threshold']
    assert report['protocol']['affinity'] == 'cosine'
    assert 0 < report['metrics']['mIoU'] < 100
    assert {f'{name}/mIoU' for name in ('foreground', 'tag_foreground', 'oracle')} < set(
        report['metrics']
    )
    assert len(report['class_iou']['foreground']) == 21
    assert tuple(result['words']['background']['words']) == real.BACKGROUND_WORDS
    assert result['words']['background']['threshold'] == margin.threshold
    real.draw(cfg, weights, margin.threshold, [2], tmp_path / 'picture.png')
    assert (tmp_path / 'picture.png').stat().st_size > 10_000
    capsys.readouterr()
    real.print_summary(dict(training=training, trained=result, weights=str(weights)), tmp_path)
    *_, hint = capsys.readouterr().out.splitlines()
    command = shlex.split(hint.partition('photographs: groupvit ')[2])
    picture = sorted((data / 'VOCdevkit/VOC2012/JPEGImages').iterdir())[0]
    places = {'PHOTO': str(picture), 'masks': str(tmp_path / 'masks')}
    app.app([places.get(word, word) for word in command], standalone_mode=False)
    assert (tmp_path / f'masks/overlay/{picture.stem}.png').is_file()
