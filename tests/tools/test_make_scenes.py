import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.scenes import CLASSES, PALETTE, THINGS, draw_scene, scene_seed

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
ARGS = ['--num-train', '25', '--num-val', '4', '--num-calib', '2', '--shard-size', '10']


@pytest.fixture(scope='module')
def make_scenes():
    return load_file('tools/dataset_converters/make_scenes.py')


@pytest.fixture
def folder(make_scenes, tmp_path):
    make_scenes.main(['--out', str(tmp_path / 'scenes'), *ARGS])
    return tmp_path / 'scenes'


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def test_same_seed_same_bytes(make_scenes, folder, tmp_path):
    make_scenes.main(['--out', str(tmp_path / 'again'), *ARGS])
    make_scenes.main(['--out', str(tmp_path / 'other'), *ARGS, '--seed', '1'])
    assert contents(folder) == contents(tmp_path / 'again')
    shard = 'train/scenes-train-000000.tar'
    assert contents(folder)[shard] != contents(tmp_path / 'other')[shard]


def test_shards_hold_each_scene_once_and_no_mask(folder):
    sizes = json.loads((folder / 'train/sizes.json').read_text())
    assert sizes == {f'scenes-train-{i:06d}.tar': n for i, n in enumerate([10, 10, 5])}
    members = {}
    for name in sizes:
        with tarfile.open(folder / 'train' / name) as tar:
            members.update({m.name: tar.extractfile(m).read() for m in tar.getmembers()})
    assert sorted(members) == sorted(f'{i:07d}.{x}' for i in range(25) for x in ('png', 'txt'))
    scene = draw_scene(scene_seed(0, 'train', 7))
    assert members['0000007.txt'].decode() == scene.caption
    image = np.asarray(Image.open(io.BytesIO(members['0000007.png'])))
    assert np.array_equal(image, scene.image)


def test_validation_is_in_voc_layout(folder):
    splits = folder / 'val/ImageSets/Segmentation'
    names = {s: (splits / f'{s}.txt').read_text().split() for s in ('val', 'calib')}
    assert {split: len(n) for split, n in names.items()} == {'val': 4, 'calib': 2}
    assert not set(names['val']) & set(names['calib'])
    for split, listed in names.items():
        for index, name in enumerate(listed):
            scene = draw_scene(scene_seed(0, split, index))
            image, voc, context = (
                np.asarray(Image.open(folder / f'val/{part}/{name}.png'))
                for part in ('JPEGImages', 'SegmentationClass', 'SegmentationClassContext')
            )
            assert np.array_equal(image, scene.image)
            assert np.array_equal(context, scene.labels)
            assert np.array_equal(voc == 0, scene.labels >= len(THINGS))
            assert np.array_equal(voc[voc > 0], scene.labels[scene.labels < len(THINGS)] + 1)


def test_drawn_once(make_scenes, folder, capsys):
    shard = folder / 'train/scenes-train-000000.tar'
    before = shard.stat().st_mtime_ns
    make_scenes.main(['--out', str(folder), *ARGS])
    assert 'already holds' in capsys.readouterr().out
    assert shard.stat().st_mtime_ns == before
    make_scenes.main(['--out', str(folder), *ARGS, '--size', '24'])
    assert shard.stat().st_mtime_ns != before


def test_scenes_of_other_settings_are_replaced_and_nothing_else(make_scenes, folder):
    (folder / 'val/JPEGImages/mine.png').write_bytes(b'precious')
    (folder / 'train/mine.tar').write_bytes(b'precious')
    assert (
        make_scenes.main(['--out', str(folder), *ARGS, '--num-train', '5', '--num-val', '1']) == 0
    )
    names = set(contents(folder))
    assert {name for name in names if name.startswith('train/')} == {
        'train/mine.tar',
        'train/scenes-train-000000.tar',
        'train/sizes.json',
    }
    assert {name for name in names if name.startswith('val/JPEGImages/')} == {
        'val/JPEGImages/mine.png',
        'val/JPEGImages/val_000000.png',
        'val/JPEGImages/calib_000000.png',
        'val/JPEGImages/calib_000001.png',
    }


@pytest.mark.parametrize(
    'name', ['train/scenes-train-000001.tar', 'train/sizes.json', 'val/JPEGImages/val_000000.png']
)
def test_files_of_another_origin_are_in_the_way(make_scenes, tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(b'precious')
    assert make_scenes.main(['--out', str(tmp_path), *ARGS]) == 2
    assert f'holds {name} and no scenes.json' in capsys.readouterr().err
    assert contents(tmp_path) == {name: b'precious'}


def test_interrupted_scenes_are_not_in_their_place_and_drawn_again(
    make_scenes, folder, tmp_path, monkeypatch
):
    def stop(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / 'again'
    with monkeypatch.context() as patch:
        patch.setattr(make_scenes, 'write_val', stop)
        assert make_scenes.main(['--out', str(out), *ARGS]) == 130
    assert [path.name for path in out.iterdir()] == ['.scenes.unfinished']
    # Killed while the finished files are moved: those that are in place already are its own.
    make_scenes.draw_all(
        out / '.scenes.unfinished', json.loads((folder / 'scenes.json').read_text())
    )
    (out / 'train').mkdir()
    shard = 'train/scenes-train-000000.tar'
    (out / '.scenes.unfinished' / shard).rename(out / shard)
    assert make_scenes.main(['--out', str(out), *ARGS]) == 0
    assert contents(out) == contents(folder)


def test_another_json_of_that_name_is_one_sentence(make_scenes, tmp_path, capsys):
    (tmp_path / 'scenes.json').write_text('{"mine": 1}')
    assert make_scenes.main(['--out', str(tmp_path), *ARGS]) == 2
    assert 'is not the stamp of scenes' in capsys.readouterr().err
    assert contents(tmp_path) == {'scenes.json': b'{"mine": 1}'}


def test_the_dataset_config_names_the_classes_in_order():
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/scenes.py')
    assert (*cfg.things, *cfg.grounds) == CLASSES
    assert [tuple(colour) for colour in cfg.palette] == list(PALETTE)
