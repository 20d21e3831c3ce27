"""Sets beside the benchmarks: layouts of generated files, lists, the sets of MESS."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.benchmark.further_sets import FURTHER_SETS
from groupvit_mmseg.benchmark.sets import BENCHMARKS, KNOWN_SETS, read_benchmark, select_sets

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
# Image and mask of each set.
LAYOUTS = {
    'bdd100k': ('images/10k/val/{}.jpg', 'labels/sem_seg/masks/val/{}.png'),
    'mapillary66': ('validation/images/{}.jpg', 'validation/v1.2/labels/{}.png'),
    'mapillary124': ('validation/images/{}.jpg', 'validation/v2.0/labels/{}.png'),
    'acdc': (
        'rgb_anon/fog/val/GOPR0476/{}_rgb_anon.png',
        'gt/fog/val/GOPR0476/{}_gt_labelTrainIds.png',
    ),
    'dark_zurich': (
        'rgb_anon/val/night/GOPR0356/{}_rgb_anon.png',
        'gt/val/night/GOPR0356/{}_gt_labelTrainIds.png',
    ),
    'night_driving': (
        'leftImg8bit/test/night/{}_leftImg8bit.png',
        'gtCoarse_daytime_trainvaltest/test/night/{}_gtCoarse_labelTrainIds.png',
    ),
}


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make_files(root, image, mask, num_classes):
    rng = np.random.default_rng(0)
    for index in range(2):
        pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        save(pixels, root / image.format(f'p{index}'))
        labels = rng.integers(0, num_classes, (4, 5), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        save(labels, root / mask.format(f'p{index}'))


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    path = tmp_path_factory.mktemp('weights') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def evaluate(weights, sets, out, *options):
    windows = ['short_side=40', 'crop_size=32', 'stride=16']
    arguments = [str(weights), f'--config={CONFIG}', f'--out={out}', '--device=cpu']
    arguments += ['--workers=0', '--pictures=0', '--sets', *map(str, sets), *options]
    return load_file('tools/evaluate.py').main([*arguments, '--change', *windows])


def test_every_further_set_is_evaluated_on_its_layout(weights, tmp_path):
    assert set(LAYOUTS) == set(FURTHER_SETS)
    for name, files in LAYOUTS.items():
        each = KNOWN_SETS[name]
        make_files(tmp_path / 'data' / each.root, *files, len(each.class_set))
    save(np.zeros((8, 8, 3), np.uint8), tmp_path / 'data/acdc/rgb_anon/fog/train/x_rgb_anon.png')
    lists = load_file('tools/dataset_converters/list_images.py')
    folder = tmp_path / 'data/acdc'
    options = ['--suffix', '_rgb_anon.png', '--only', '*/val/*/*', '--out', str(folder / 'val.txt')]
    assert lists.main([str(folder / 'rgb_anon'), *options]) == 0
    assert (folder / 'val.txt').read_text().split() == [
        'fog/val/GOPR0476/p0',
        'fog/val/GOPR0476/p1',
    ]
    out = tmp_path / 'out'
    assert evaluate(weights, LAYOUTS, out, f'--data-root={tmp_path / "data"}') == 0
    table = (out / 'table.md').read_text()
    for name in LAYOUTS:
        result = json.loads((out / f'{name}.json').read_text())
        assert result['images']['evaluated'] == 2
        assert len(result['class_iou']) == len(KNOWN_SETS[name].class_set)
        title = FURTHER_SETS[name].title
        assert f'| {title} |' in table
        assert f'{title}: 2 images, not the split of {FURTHER_SETS[name].num_images}' in table


def test_they_are_no_part_of_all():
    assert select_sets(['all']) == tuple(BENCHMARKS.values())
    assert [len(KNOWN_SETS[name].class_set) for name in FURTHER_SETS] == [19, 66, 124, 19, 19, 19]
    assert all(value is None for value in KNOWN_SETS['acdc'].published)


def test_lists_of_nothing_are_refused(tmp_path, capsys):
    lists = load_file('tools/dataset_converters/list_images.py')
    options = ['--suffix=.jpg', f'--out={tmp_path / "val.txt"}']
    assert lists.main([str(tmp_path / 'none'), *options]) == 2
    assert lists.main([str(tmp_path), *options]) == 2
    assert 'has no image that ends in .jpg' in capsys.readouterr().err
    assert not (tmp_path / 'val.txt').exists()


CATALOG = """
import os
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(os.environ['DETECTRON2_DATASETS'])

class DatasetCatalog:
    @staticmethod
    def list():
        return ['pets_sem_seg_val', 'lungs_sem_seg_test']

    @staticmethod
    def get(name):
        folder = ROOT / name.partition('_')[0]
        masks = sorted(path for path in (folder / 'annotations_detectron2/val').iterdir())
        return [
            dict(file_name=str(folder / f'images_detectron2/val/{mask.stem}.jpg'),
                 sem_seg_file_name=str(mask)) for mask in masks
        ]

class MetadataCatalog:
    @staticmethod
    def get(name):
        return SimpleNamespace(stuff_classes=('cat', 'dog', 'others'), ignore_label=254)
"""


def test_sets_of_mess_get_configs(weights, tmp_path, monkeypatch, capsys):
    package = tmp_path / 'package/mess'
    for folder in ('datasets', 'utils'):
        (package / folder).mkdir(parents=True)
        (package / folder / '__init__.py').write_text('')
    (package / '__init__.py').write_text('')
    (package / 'utils/catalog.py').write_text(CATALOG)
    monkeypatch.syspath_prepend(str(tmp_path / 'package'))
    monkeypatch.setenv('DETECTRON2_DATASETS', 'elsewhere')
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mess']:
        monkeypatch.delitem(sys.modules, name)
    layout = ('images_detectron2/val/{}.jpg', 'annotations_detectron2/val/{}.png')
    make_files(tmp_path / 'data/pets', *layout, 3)
    tool = load_file('tools/dataset_converters/mess_sets.py')
    out = tmp_path / 'configs'
    assert tool.main([f'--data={tmp_path / "data"}', f'--out={out}']) == 0
    assert 'Not below' in (printed := capsys.readouterr().out)
    assert 'lungs_sem_seg_test.' in printed
    assert [path.name for path in sorted(out.glob('*'))] == [
        'mess_pets_val.py',
        'mess_pets_val.txt',
    ]
    assert read_benchmark(out / 'mess_pets_val.py').class_set == ('cat', 'dog', 'others')
    assert evaluate(weights, [out / 'mess_pets_val.py'], tmp_path / 'out') == 0
    result = json.loads((tmp_path / 'out/mess_pets_val.json').read_text())
    assert result['images']['evaluated'] == 2
    for name in [name for name in sys.modules if name.partition('.')[0] == 'mess']:
        monkeypatch.delitem(sys.modules, name)


def test_suffixes_of_masks_that_have_other_names():
    tool = load_file('tools/dataset_converters/mess_sets.py')
    assert tool.suffixes(Path('a/p0.jpg'), Path('b/p0.png')) == ('.jpg', '.png')
    assert tool.suffixes(Path('a/p0.png'), Path('b/p0.png')) == ('.png', '.png')
    assert tool.suffixes(Path('a/p0_rgb.png'), Path('b/p0_gt.png')) == ('rgb.png', 'gt.png')


def test_mess_without_its_package_is_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'mess', None)
    monkeypatch.setenv('DETECTRON2_DATASETS', 'elsewhere')
    tool = load_file('tools/dataset_converters/mess_sets.py')
    assert tool.main([f'--data={tmp_path}', f'--out={tmp_path / "configs"}']) == 2
    assert 'pip install mess-benchmark iopath' in capsys.readouterr().err
