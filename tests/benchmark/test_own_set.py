"""A set of two folders and a class file: its config, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from groupvit_mmseg.benchmark.own_set import write_set_config
from groupvit_mmseg.benchmark.sets import read_benchmark

from loading import load_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folders(tmp_path):
    """Two images, their masks, and a class file."""
    rng = np.random.default_rng(0)
    images, masks, classes = tmp_path / 'my photos', tmp_path / 'labels', tmp_path / 'classes.txt'
    images.mkdir()
    masks.mkdir()
    for name in ('street', 'street_2'):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(images / f'{name}.jpg')
        labels = rng.integers(0, 3, (5, 6)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(labels).save(masks / f'{name}.png')
    classes.write_text('background:\nroad, street\ncar\n')
    return dict(images=images, masks=masks, classes=classes)


def test_the_config_is_one_of_mmsegmentation(folders, tmp_path):
    path = write_set_config(tmp_path / 'out', **folders)
    dataset = Config.fromfile(path).test_dataloader.dataset
    assert dataset.metainfo.classes == ['background', 'road', 'car']
    assert (dataset.img_suffix, dataset.seg_map_suffix) == ('.jpg', '.png')
    benchmark = read_benchmark(path)
    assert (benchmark.name, benchmark.class_set) == ('own', ('background', 'road', 'car'))


def test_another_set_does_not_replace_one_that_has_results(folders, tmp_path):
    out = tmp_path / 'out'
    path = write_set_config(out, **folders)
    before = path.read_text()
    other = folders['images'].rename(tmp_path / 'other')
    (out / 'journal').mkdir()
    (out / 'journal/own.0.jsonl').write_text('{}')
    with pytest.raises(ValueError, match=r'holds results of another set, that of .*own\.py'):
        write_set_config(out, **{**folders, 'images': other})
    assert path.read_text() == before
    (out / 'journal/own.0.jsonl').unlink()
    write_set_config(out, **{**folders, 'images': other})
    assert str(other) in path.read_text()
    path.write_text('model = dict()\n')
    with pytest.raises(ValueError, match=r'own\.py is not a file of this tool'):
        write_set_config(out, **{**folders, 'images': other})
    assert path.read_text() == 'model = dict()\n'


@pytest.mark.parametrize('ending', ['_labels.png', 'x.tif', '.PNG'])
def test_masks_may_have_more_in_their_names(folders, tmp_path, ending):
    for mask in list(folders['masks'].iterdir()):
        mask.rename(mask.with_name(mask.stem + ending))
    path = write_set_config(tmp_path, **folders)
    assert Config.fromfile(path).test_dataloader.dataset.seg_map_suffix == ending


def remove(folder, name):
    def change(folders):
        (folders[folder] / name).unlink()

    return change


def add_png(folders):
    Image.new('RGB', (9, 9)).save(folders['images'] / 'other.png')


def empty(folders):
    for path in folders['images'].iterdir():
        path.unlink()


@pytest.mark.parametrize(
    'change, sentence',
    [
        (remove('masks', 'street_2.png'), r'holds no mask of street_2\.jpg, which would be'),
        (remove('masks', 'street.png'), r'holds no mask of street\.jpg'),
        (add_png, r'several endings, 2 x \.jpg, 1 x \.png'),
        (empty, 'holds no images'),
        (lambda folders: folders['classes'].unlink(), 'classes.txt'),
        (lambda folders: folders.update(masks=folders['masks'] / 'x'), 'There is no folder'),
        (lambda folders: folders['classes'].write_text(''), 'classes.txt'),
    ],
)
def test_what_is_missing_is_one_sentence(folders, tmp_path, change, sentence):
    change(folders)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        write_set_config(tmp_path / 'out', **folders)
    assert not (tmp_path / 'out').exists()


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/evaluate.py')


def run(tool, folders, out, *options):
    small = ['short_side=40', 'crop_size=32', 'stride=16']
    config = ROOT / 'tests/data/configs/tiny_zeroshot.py'
    command = [str(folders['weights']), f'--config={config}', f'--out={out}', '--device=cpu']
    return tool.main(
        [*command, '--workers=0', '--pictures=1', *map(str, options), '--change', *small]
        + ['bg_thresh=0.5']
    )


@pytest.fixture
def weights(folders, tmp_path):
    import torch
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(ROOT / 'tests/data/configs/tiny_zeroshot.py').model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return dict(folders, weights=tmp_path / 'weights.pth')


def test_one_command_evaluates_two_folders(tool, weights, tmp_path, capsys):
    options = ['--images', weights['images'], '--masks', weights['masks']]
    assert run(tool, weights, tmp_path / 'out', *options, '--classes', weights['classes']) == 0
    result = json.loads((tmp_path / 'out/own.json').read_text())
    assert list(result['class_iou']) == ['background', 'road', 'car']
    assert result['images']['evaluated'] == 2
    assert result['classes']['prompted']['aliases'] == {'road': ['street']}
    assert '| own | ' in capsys.readouterr().out
    # The config that it wrote is a set like any other.
    again = ['--sets', tmp_path / 'out/own.py', '--classes', f'own={weights["classes"]}']
    assert run(tool, weights, tmp_path / 'again', *again) == 0
    assert json.loads((tmp_path / 'again/own.json').read_text())['metrics'] == result['metrics']


def test_half_a_set_is_refused(tool, weights, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        run(tool, weights, tmp_path / 'out', '--images', weights['images'])
    assert stop.value.code == 2
    assert 'takes --images DIR --masks DIR --classes FILE' in capsys.readouterr().err


def test_masks_of_more_than_255_classes_have_16_bits(folders, tmp_path):
    names = [f'kind {number}' for number in range(256)]
    for count, ignored in ((255, None), (256, 65535)):
        folders['classes'].write_text('\n'.join(names[:count]))
        dataset = Config.fromfile(write_set_config(tmp_path, **folders)).test_dataloader.dataset
        assert dataset.get('ignore_index') == ignored
