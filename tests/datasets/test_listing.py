"""Lists and folders of images that do not fit, told before a data set is built."""

import pytest
from mmengine.config import ConfigDict

from groupvit_mmseg.datasets.listing import check_listing, checked_loader


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'images').mkdir()
    return tmp_path


def config(folder, **changes):
    return dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        **changes,
    )


def fill(folder, *names):
    for name in names:
        (folder / 'images' / name).touch()


@pytest.mark.parametrize(
    'names, suffix, message',
    [
        ((), '.jpg', "No image of .*images ends in '.jpg': put the images there"),
        (('a.PNG', 'b.PNG'), '.png', "there are 2 that end in '.PNG': set img_suffix='.PNG'"),
        (('a.jpeg',), '.jpg', "set img_suffix='.jpeg'"),
        (('a.jpg', 'b.JPG', 'c.jpeg'), '.jpg', '2 images of .* would be left out'),
    ],
)
def test_endings_that_do_not_fit_name_the_one_that_does(folder, names, suffix, message):
    fill(folder, *names)
    with pytest.raises(ValueError, match=message):
        check_listing(config(folder, img_suffix=suffix))


@pytest.mark.parametrize(
    'content, message',
    [
        (b'\xef\xbb\xbfa\nb\n', 'begins with a byte-order mark'),
        (b'a.jpg\nb.jpg\n', r"Line 1 of the list .* is 'a.jpg': leave out .jpg"),
        (b'a\n\nb\n', 'Line 2 of the list .* is empty'),
        (b'a\nsub\\b\n', r'Line 2 of the list .* with / instead of'),
        (b'', 'names no image'),
        (b' \r\n', 'names no image'),
        ('ä\n'.encode('latin-1'), 'is not UTF-8'),
    ],
)
def test_lists_that_would_be_misread_are_refused(folder, content, message):
    fill(folder, 'a.jpg', 'b.jpg')
    (folder / 'val.txt').write_bytes(content)
    with pytest.raises(ValueError, match=message):
        check_listing(config(folder, ann_file='val.txt'))


@pytest.mark.parametrize('content', [b'a\r\nb\r\n', b'a \nb', b'frame.01\n'])
def test_lists_that_are_read_right_are_left_alone(folder, content):
    (folder / 'val.txt').write_bytes(content)
    check_listing(config(folder, ann_file='val.txt'))
    check_listing(config(folder, ann_file='val.txt', img_suffix=''))


def test_missing_places_are_one_sentence(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no list of images .*none\.txt'):
        check_listing(config(folder, ann_file='none.txt'))
    with pytest.raises(FileNotFoundError, match=r'BaseSegDataset finds no .*nowhere/images'):
        check_listing(config(tmp_path / 'nowhere'))


def test_sets_use_their_own_ending(folder):
    fill(folder, 'a_leftImg8bit.png')
    check_listing(dict(config(folder), type='CityscapesDataset'))
    with pytest.raises(ValueError, match=r"set img_suffix='\.png'"):
        check_listing(config(folder))


def test_sets_of_other_kinds_and_other_machines_are_left_alone(folder):
    check_listing(dict(type='ImageTextDataset', sources=[]))
    check_listing(dict(type='NoSuchDataset', data_root='nowhere'))
    check_listing(config('s3://bucket/set'))


def test_wrapped_sets_are_checked_too(folder):
    wrapped = dict(
        type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[config(folder)])
    )
    with pytest.raises(ValueError, match='put the images there'):
        checked_loader(dict(dataset=wrapped))


def test_a_loader_reads_masks_exactly_and_its_config_is_not_changed(folder):
    fill(folder, 'a.jpg')
    loader = ConfigDict(
        batch_size=1, dataset=config(folder, pipeline=[dict(type='LoadAnnotations')])
    )
    changed = checked_loader(loader)
    assert changed.dataset.pipeline[0].type == 'mmseg.LoadLabelMap'
    assert loader.dataset.pipeline[0].type == 'LoadAnnotations'
    assert checked_loader('a loader that is built') == 'a loader that is built'


def test_a_set_of_16_bit_labels_is_read_as_such(folder):
    fill(folder, 'a.jpg')
    narrow = config(folder, pipeline=[dict(type='LoadAnnotations')])
    wide = dict(narrow, ignore_index=65535)
    assert checked_loader(dict(dataset=wide))['dataset']['pipeline'] == [
        dict(type='mmseg.LoadLabelMap', ignore_index=65535)
    ]
    assert 'ignore_index' not in checked_loader(dict(dataset=narrow))['dataset']['pipeline'][0]
    both = dict(type='ConcatDataset', datasets=[wide, narrow])
    with pytest.raises(ValueError, match=r'ignore_index=\[255, 65535\]'):
        checked_loader(dict(dataset=both))
