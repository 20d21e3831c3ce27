"""Data sets that cannot be evaluated are refused with the file's name, before the forward pass."""

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.structures import SegDataSample
from PIL import Image

from groupvit_mmseg.datasets.segmentation_checks import check_masks, check_set
from groupvit_mmseg.error_messages import error_text


def make_set(root, masks, classes=('wall', 'cat', 'dog'), **changes):
    """A data set of images with these masks."""
    for folder in ('images', 'masks'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for index, mask in enumerate(masks):
        Image.fromarray(np.zeros((*np.shape(mask), 3), np.uint8)).save(
            root / f'images/p{index}.png'
        )
        values = np.array(mask, np.uint16 if np.max(mask) > 255 else np.uint8)
        Image.fromarray(values).save(root / f'masks/p{index}.png')
    return BaseSegDataset(
        data_root=str(root),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        metainfo=dict(classes=classes),
        pipeline=[dict(type='LoadLabelMap', ignore_index=changes.get('ignore_index', 255))],
        **changes,
    )


BINARY, IGNORED, EMPTY = [[0, 255]], [[255, 255]], [[0, 0]]


@pytest.mark.parametrize(
    'masks, message',
    [
        ([BINARY, BINARY], r'labels in all 2 masks .* are 0 and 255 only.*0 and 1'),
        ([EMPTY, BINARY], 'are 0 and 255 only'),
        ([IGNORED, IGNORED], 'In all 2 masks .* every pixel has the label 255'),
    ],
)
def test_masks_that_show_nothing_are_refused(tmp_path, masks, message):
    with pytest.raises(ValueError, match=message):
        check_set(make_set(tmp_path, masks), 3)


@pytest.mark.parametrize('masks', [[BINARY, [[2, 255]]], [EMPTY, EMPTY]])
def test_masks_that_show_something_pass(tmp_path, masks):
    check_set(make_set(tmp_path, masks), 3)


def test_one_mask_is_read_where_the_first_shows_a_class(tmp_path, monkeypatch):
    dataset = make_set(tmp_path, [[[1, 255]]] * 4)
    load, read = dataset.pipeline.transforms[0], []
    monkeypatch.setattr(dataset.pipeline, 'transforms', [load])
    monkeypatch.setattr(load, '_load_seg_map', _counting(load._load_seg_map, read))
    check_set(dataset, 3)
    assert len(read) == 1


def _counting(function, calls):
    return lambda *arguments: calls.append(1) or function(*arguments)


def test_label_0_of_a_set_that_leaves_it_out_is_ignored(tmp_path):
    dataset = make_set(tmp_path, [[[0, 255]]], reduce_zero_label=True)
    with pytest.raises(ValueError, match='every pixel has the label 255'):
        check_set(dataset, 3)


@pytest.mark.parametrize(
    'missing, there, message',
    [
        ('masks/p1.png', 'masks/P1.png', 'no mask .*p1.png .1 of 2 are missing., but P1.png is'),
        ('masks/p1.png', 'masks/p1.tif', 'but p1.tif is there: endings and case must agree'),
        ('masks/p0.png', None, 'no mask .*p0.png .1 of 2 are missing.: complete'),
    ],
)
def test_a_missing_mask_names_what_is_there_instead(tmp_path, missing, there, message):
    dataset = make_set(tmp_path, [[[1]], [[1]]])
    (tmp_path / missing).rename(tmp_path / (there or 'elsewhere.png'))
    with pytest.raises(FileNotFoundError, match=message):
        check_set(dataset, 3)


def test_masks_without_images_are_counted_and_named(tmp_path, monkeypatch):
    dataset = make_set(tmp_path, [[[1]]])
    (tmp_path / 'masks/stray.png').touch()
    messages = []
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.segmentation_checks.print_log',
        lambda text, **_: messages.append(text),
    )
    check_set(dataset, 3)
    assert messages == [
        f'1 masks have no image and are left out, the first is {tmp_path}/masks/stray.png.'
    ]


def test_images_listed_twice_count_twice_and_are_refused_unless_learnt_from(tmp_path):
    make_set(tmp_path, [[[1]]])
    (tmp_path / 'val.txt').write_text('p0\np0\n')
    dataset = make_set(tmp_path, [[[1]]], ann_file='val.txt')
    with pytest.raises(ValueError, match=r'p0\.png is listed 2 times'):
        check_set(dataset, 3)
    check_set(dataset, 3, for_training=True)


@pytest.mark.parametrize(
    'classes, message',
    [
        ('cat', "are the text 'cat'"),
        (('cat', 3, 'dog'), 'not by words'),
        (('cat', 'dog'), 'has 2 classes, but the class list has 3'),
    ],
)
def test_classes_that_are_no_list_of_names_are_refused(tmp_path, classes, message):
    dataset = make_set(tmp_path, [[[1]]], classes=classes)
    with pytest.raises(ValueError, match=message):
        check_set(dataset, 3)


def test_a_set_without_masks_says_where_to_name_them(tmp_path):
    make_set(tmp_path, [[[1]]])
    dataset = BaseSegDataset(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images'),
        img_suffix='.png',
        metainfo=dict(classes=('cat',)),
    )
    with pytest.raises(ValueError, match='names no folder of masks'):
        check_set(dataset, 1)


def sample(mask, **meta):
    result = SegDataSample(metainfo=dict(seg_map_path='m.png', img_path='i.png', **meta))
    result.gt_sem_seg = PixelData(data=torch.as_tensor(mask)[None])
    return result


def test_a_mask_of_another_size_than_its_image_is_refused():
    mask = torch.zeros(4, 6, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r'm.png has 6 x 4 pixels, but its image i.png has 4 x 6'):
        check_masks([sample(mask, ori_shape=(6, 4))], 2)
    check_masks([sample(mask, ori_shape=(6, 4))], 2, at_original_size=False)
    check_masks([sample(mask, ori_shape=(4, 6)), sample(mask)], 2)


def test_a_label_without_a_class_is_told_as_it_is_in_the_file():
    mask = torch.tensor([[0, 1, 255, 7]])
    with pytest.raises(ValueError, match=r'm\.png has label 7, but there are only 2 classes'):
        check_masks([sample(mask)], 2)
    with pytest.raises(ValueError, match=r'label 7 \(8 in the file, by reduce_zero_label\)'):
        check_masks([sample(mask, reduce_zero_label=True)], 2)
    with pytest.raises(ValueError, match=r'label -1, .* only 2 classes'):
        check_masks([sample(torch.tensor([[-1, 0]]))], 2)
    check_masks([sample(mask)], 8)
    check_masks([sample(torch.tensor([[0, 1, 7]]))], 2, ignore_index=7)


def test_the_sentence_of_a_loaders_process_is_without_its_traceback():
    loader = torch.utils.data.DataLoader(Broken(), num_workers=1)
    with pytest.raises(ValueError, match='Traceback') as caught:
        next(iter(loader))
    assert error_text(caught.value) == 'm.png is broken: mend it.'
    assert error_text(KeyError('no key')) == 'no key'


class Broken(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise OSError('inner')
        except OSError as error:
            raise ValueError('m.png is broken: mend it.') from error


def test_masks_of_16_bits_ignore_65535_and_show_255(tmp_path):
    check_set(make_set(tmp_path / 'class', [[[255, 65535]]], ignore_index=65535), 3)
    masks = [[[0, 65535]]]
    with pytest.raises(ValueError, match='are 0 and 65535 only, and 65535 is ignored'):
        check_set(make_set(tmp_path / 'nothing', masks, ignore_index=65535), 3)


@pytest.mark.parametrize('ignored, label', [(65535, 255), (255, 65535)])
def test_a_stated_ignored_label_is_the_only_one(ignored, label):
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.tensor([[[0, label, ignored]]])))
    check_masks([sample], 3)  # a model does not know which masks are of 16 bits
    with pytest.raises(ValueError, match=f'has label {label}.* and {ignored} for pixels to ignore'):
        check_masks([sample], 3, ignored)
