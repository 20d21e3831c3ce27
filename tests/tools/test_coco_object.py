"""COCO's instances to masks, on annotations made by hand and on the real ones where they are."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from groupvit_mmseg.text.vocabulary import class_names

ROOT = Path(__file__).parents[2]
REAL = sorted(ROOT.parent.glob('shared/data/coco/annotations/instances*.json'))
IDS = [label + label // 11 for label in range(1, 81)]  # with gaps, as COCO's


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/dataset_converters/coco_object.py'
    spec = importlib.util.spec_from_file_location('coco_object_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def box(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def thing(label, segmentation, area, iscrowd=0):
    return dict(
        image_id=7,
        category_id=IDS[label - 1],
        segmentation=segmentation,
        area=area,
        iscrowd=iscrowd,
    )


def annotations(things):
    names = class_names('coco_object')[1:]
    categories = [dict(id=i, name=name) for i, name in zip(IDS, names, strict=True)]
    images = [dict(id=index, file_name=f'{index:012d}.jpg', height=8, width=10) for index in (7, 9)]
    return dict(images=images, annotations=things, categories=categories[::-1])


def run(tool, tmp_path, content, *options):
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    return tool.main([str(tmp_path / 'instances.json'), str(tmp_path / 'masks'), *options])


def test_smaller_things_are_in_front_and_crowds_behind(tool, tmp_path, capsys):
    small = thing(80, box(2, 2, 3, 3), 9)
    large = thing(12, box(1, 1, 6, 6), 36)
    crowd = thing(1, dict(size=[8, 10], counts=[0, 80]), 1, iscrowd=1)
    assert run(tool, tmp_path, annotations([small, crowd, large])) == 0
    assert 'wrote 2 masks' in capsys.readouterr().out
    mask = cv2.imread(str(tmp_path / 'masks/000000000007.png'), cv2.IMREAD_UNCHANGED)
    expected = np.ones((8, 10), np.uint8)
    expected[1:7, 1:7] = 12
    expected[2:5, 2:5] = 80
    assert mask.tolist() == expected.tolist()


def test_run_lengths_go_down_the_columns(tool):
    mask = tool.decode(dict(size=[3, 2], counts=[1, 2, 1, 1, 1]), 3, 2)
    assert mask.tolist() == [[False, False], [True, True], [True, False]]


def test_an_image_without_things_is_background(tool, tmp_path):
    assert run(tool, tmp_path, annotations([])) == 0
    mask = cv2.imread(str(tmp_path / 'masks/000000000009.png'), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (8, 10)
    assert mask.max() == 0


def test_a_dry_run_writes_nothing(tool, tmp_path, capsys):
    assert run(tool, tmp_path, annotations([thing(3, box(1, 1, 6, 6), 36)]), '--dry-run') == 0
    assert 'would write 2 masks' in capsys.readouterr().out
    assert not (tmp_path / 'masks').exists()


def test_what_is_wrong_is_said_in_one_sentence(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'none.json'), str(tmp_path)]) == 2
    assert 'There are no annotations at' in capsys.readouterr().err
    assert run(tool, tmp_path, dict(images=[])) == 2
    assert 'has no annotations, categories' in capsys.readouterr().err
    content = annotations([])
    content['categories'][0]['name'] = 'ghost'
    assert run(tool, tmp_path, content) == 2
    assert 'not the 80 things of COCO 2017' in capsys.readouterr().err


@pytest.mark.skipif(not REAL, reason='no COCO annotations in ../shared/data/coco')
def test_areas_of_real_things_are_those_that_coco_states(tool):
    content = tool.read(REAL[0])
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    # What COCO states of crowds is not the number of their pixels.
    things = [
        item for item in content['annotations'] if not item['iscrowd'] and item['area'] > 2000
    ]
    assert things
    for item in things:
        pixels = tool.decode(item['segmentation'], *sizes[item['image_id']]).sum()
        assert pixels == pytest.approx(item['area'], rel=0.05)
