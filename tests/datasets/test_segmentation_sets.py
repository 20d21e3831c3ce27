"""Segmentation sets: the metric's labels against the prompts' spellings; COCO-Object."""

import numpy as np
import pytest
from mmseg.datasets import PascalContextDataset, PascalVOCDataset
from PIL import Image

from groupvit_mmseg.datasets.segmentation import COCOObjectDataset
from groupvit_mmseg.text.vocabulary import class_names

RESPELT = {
    'aeroplane': {'aeroplane', 'airplane'},
    'diningtable': {'table'},
    'pottedplant': {'plant'},
    'tvmonitor': {'monitor'},
}
PIPELINE = [{'type': 'LoadImageFromFile'}, {'type': 'LoadAnnotations'}]


@pytest.mark.parametrize(
    'dataset, name',
    [
        (PascalVOCDataset, 'pascal_voc'),
        (PascalContextDataset, 'pascal_context'),
        (COCOObjectDataset, 'coco_object'),
    ],
)
def test_prompts_are_in_the_order_of_the_labels(dataset, name):
    labels = dataset.METAINFO['classes']
    assert len(labels) == len(class_names(name))
    for label, spelling in zip(labels, class_names(name), strict=True):
        assert spelling in RESPELT.get(label, {label})


def test_palette_is_vocs_own_for_its_first_labels():
    palette = COCOObjectDataset.METAINFO['palette']
    assert palette[:21] == PascalVOCDataset.METAINFO['palette']
    assert len({tuple(colour) for colour in palette}) == 81


@pytest.fixture
def coco_root(tmp_path):
    for folder in ('images', 'masks'):
        (tmp_path / folder).mkdir()
    for index, name in enumerate(('000000000139', '000000000285')):
        Image.new('RGB', (6, 4), (index * 90, 0, 0)).save(tmp_path / f'images/{name}.jpg')
        mask = np.zeros((4, 6), np.uint8)
        mask[1:, 2:] = 80 - index
        mask[0] = 255
        Image.fromarray(mask).save(tmp_path / f'masks/{name}.png')
    return tmp_path


def build(root, **kwargs):
    prefix = {'img_path': 'images', 'seg_map_path': 'masks'}
    return COCOObjectDataset(
        data_root=str(root), data_prefix=prefix, pipeline=PIPELINE, test_mode=True, **kwargs
    )


def test_coco_object_reads_masks_as_they_are(coco_root):
    dataset = build(coco_root)
    assert len(dataset) == 2
    mask = dataset[1]['gt_seg_map']
    assert sorted(np.unique(mask)) == [0, 79, 255]
    assert (mask[0] == 255).all()
    assert (mask[1:, :2] == 0).all()
    assert (mask[1:, 2:] == 79).all()
    assert dataset.metainfo['classes'][80] == 'toothbrush'


def test_coco_object_takes_a_list_and_another_suffix(coco_root):
    (coco_root / 'masks/000000000285.png').rename(coco_root / 'masks/000000000285_things.png')
    (coco_root / 'val.txt').write_text('000000000285\n')
    dataset = build(coco_root, ann_file='val.txt', seg_map_suffix='_things.png')
    assert len(dataset) == 1
    assert dataset[0]['gt_seg_map'].max() == 255


def test_coco_object_without_its_folder_says_where(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no image folder at .*images: set data_root'):
        build(tmp_path)
