import importlib.util
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.scenes import CLASSES, PALETTE, THINGS, draw_scene, scene_seed

ROOT = Path(__file__).resolve().parents[2]
ARGS = ['--num-train', '25', '--num-val', '4', '--num-calib', '2', '--shard-size', '10']


@pytest.fixture(scope='module')
def make_scenes():
    path = ROOT / 'tools/dataset_converters/make_scenes.py'
    spec = importlib.util.spec_from_file_location('make_scenes', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_the_dataset_config_names_the_classes_in_order():
    from mmengine.config import Config

    cfg = Config.fromfile(ROOT / 'configs/_base_/datasets/scenes.py')
    assert (*cfg.things, *cfg.grounds) == CLASSES
    assert [tuple(colour) for colour in cfg.palette] == list(PALETTE)
