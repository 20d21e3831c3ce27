"""Masks mean what their files say, whatever their depth; what means something else is refused."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from groupvit_mmseg.datasets.label_maps import (
    LoadLabelMap,
    decode_label_map,
    exif_orientation,
    reading_label_maps,
)

LABELS = np.array([[0, 1, 2, 3], [3, 2, 1, 0]])


def encode(image, kind='PNG', **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def palette(labels):
    image = Image.fromarray(labels.astype(np.uint8), 'P')
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200, 9, 9, 9])
    return image


def grey_png(labels, depth):
    """A grey PNG of 1, 2 or 4 bits, made by hand: Pillow writes none."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    rows = b''
    for row in labels:
        bits = ''.join(f'{label:0{depth}b}' for label in row)
        bits += '0' * (-len(bits) % 8)
        rows += b'\0' + int(bits, 2).to_bytes(len(bits) // 8, 'big')
    header = struct.pack('>IIBBBBB', labels.shape[1], labels.shape[0], depth, 0, 0, 0, 0)
    data = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + data


READABLE = {
    'grey of 8 bits': encode(Image.fromarray(LABELS.astype(np.uint8))),
    'palette': encode(palette(LABELS)),
    'palette of 2 bits': encode(palette(LABELS), bits=2),
    'grey of 16 bits': encode(Image.fromarray(LABELS.astype(np.uint16))),
    'grey of 2 bits': grey_png(LABELS, 2),
    'grey of 4 bits': grey_png(LABELS, 4),
    'TIFF of 32 bits': encode(Image.fromarray(LABELS.astype(np.int32)), 'TIFF'),
    'TIFF of floats': encode(Image.fromarray(LABELS.astype(np.float32)), 'TIFF'),
}


@pytest.mark.parametrize('kind', READABLE)
def test_a_label_is_what_the_file_says(kind):
    labels = decode_label_map(READABLE[kind], 'mask.png')
    assert labels.dtype == np.uint8
    assert (labels == LABELS).all()


def test_one_bit_is_the_labels_0_and_1():
    expected = LABELS > 1
    assert (decode_label_map(encode(Image.fromarray(expected)), 'mask.png') == expected).all()
    assert (decode_label_map(grey_png(expected.astype(int), 1), 'mask.png') == expected).all()


def npy():
    stream = io.BytesIO()
    np.save(stream, LABELS)
    return stream.getvalue()


GREY = Image.fromarray(LABELS.astype(np.uint8))
REFUSED = [
    (encode(Image.fromarray((LABELS + 256).astype(np.uint16))), 'label 256'),
    (encode(Image.fromarray((LABELS - 1).astype(np.int32)), 'TIFF'), 'label -1'),
    (encode(Image.fromarray((LABELS / 2).astype(np.float32)), 'TIFF'), 'label 0.5'),
    (encode(Image.fromarray((LABELS * np.nan).astype(np.float32)), 'TIFF'), 'label nan'),
    (encode(GREY.convert('RGB')), r'colours instead of labels \(shape \(2, 4, 3\)'),
    (encode(GREY.convert('RGBA')), 'colours instead of labels'),
    (encode(GREY.convert('LA')), 'colours instead of labels'),
    (encode(GREY, 'JPEG'), 'JPEG changes labels'),
    (encode(GREY)[:40], 'cannot be decoded'),
    (b'', 'cannot be decoded'),
    (npy(), r'cannot be decoded .*: save it as an 8-bit PNG of labels'),
]


@pytest.mark.parametrize('data, message', REFUSED)
def test_what_is_no_map_of_labels_is_one_sentence_with_its_name(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        decode_label_map(data, 'folder/mask.png')
    assert str(caught.value).startswith('The mask folder/mask.png ')
    assert '\n' not in str(caught.value)
    assert ' at 0x' not in str(caught.value)


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 2, 1: 255, 2: 0, 7: 1}])
def test_ordinary_masks_are_read_as_mmsegmentation_reads_them(
    tmp_path, reduce_zero_label, label_map
):
    labels = np.random.randint(0, 256, (40, 30)).astype(np.uint8)
    labels.flat[:3] = 0, 254, 255
    Image.fromarray(labels).save(tmp_path / 'mask.png')
    read = [
        load(
            dict(
                seg_map_path=str(tmp_path / 'mask.png'),
                reduce_zero_label=reduce_zero_label,
                label_map=label_map,
                seg_fields=[],
            )
        )
        for load in (LoadAnnotations(), LoadLabelMap())
    ]
    assert read[0]['gt_seg_map'].dtype == read[1]['gt_seg_map'].dtype == np.uint8
    assert (read[0]['gt_seg_map'] == read[1]['gt_seg_map']).all()
    assert read[1]['seg_fields'] == ['gt_seg_map']


def sample(folder, orientation=1, shape=(6, 4)):
    """Results of an image of 8 x 6 pixels, turned as its EXIF tag says, and a mask."""
    image = Image.fromarray(np.zeros((8, 6, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = orientation
    image.save(folder / 'image.jpg', exif=exif)
    Image.fromarray(np.zeros(shape, np.uint8)).save(folder / 'mask.png')
    return dict(
        img_path=str(folder / 'image.jpg'),
        seg_map_path=str(folder / 'mask.png'),
        ori_shape=(6, 8) if orientation in (5, 6, 7, 8) else (8, 6),
        reduce_zero_label=False,
        seg_fields=[],
    )


def test_a_mask_of_another_size_names_both_files_and_both_sizes(tmp_path):
    with pytest.raises(
        ValueError, match=r'mask.png has 4 x 6 pixels, but its image .*image.jpg has 6 x 8'
    ):
        LoadLabelMap()(sample(tmp_path))


def test_a_turned_image_whose_mask_is_not_turned_says_so(tmp_path):
    results = sample(tmp_path, orientation=6, shape=(8, 6))
    assert exif_orientation(results['img_path']) == 6
    with pytest.raises(ValueError, match='turned by its EXIF orientation 6 and the mask is not'):
        LoadLabelMap()(results)


def test_a_turn_by_half_leaves_no_trace_and_is_warned_about_once(tmp_path):
    load = LoadLabelMap()
    with pytest.warns(UserWarning, match='EXIF orientation 3'):
        load(sample(tmp_path, orientation=3, shape=(8, 6)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load(sample(tmp_path, orientation=3, shape=(8, 6)))


@pytest.mark.filterwarnings('error')
def test_an_upright_image_and_one_turned_with_its_mask_are_read(tmp_path):
    for orientation, shape in ((1, (8, 6)), (6, (6, 8))):
        assert LoadLabelMap()(sample(tmp_path, orientation, shape))['gt_seg_map'].shape == shape


def test_another_ignored_label_becomes_255(tmp_path):
    Image.fromarray(np.array([[0, 9, 1]], np.uint8)).save(tmp_path / 'mask.png')
    results = dict(seg_map_path=str(tmp_path / 'mask.png'), reduce_zero_label=False, seg_fields=[])
    assert LoadLabelMap(ignore_index=9)(results)['gt_seg_map'].tolist() == [[0, 255, 1]]


def test_two_statements_about_label_0_are_refused(tmp_path):
    with pytest.warns(UserWarning, match='reduce_zero_label'):
        load = LoadLabelMap(reduce_zero_label=True)
    with pytest.raises(ValueError, match='reduce_zero_label=False, its pipeline True'):
        load(sample(tmp_path, shape=(8, 6)))


def test_a_pipeline_reads_by_it_wherever_the_step_stands():
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(
            type='TestTimeAug',
            transforms=[[dict(type='mmseg.LoadAnnotations')], [dict(type='Pad')]],
        ),
        dict(type='LoadAnnotations', imdecode_backend='cv2'),
        dict(type='LoadAnnotations', with_bbox=True),
    ]
    found = reading_label_maps(pipeline)
    assert found[0] == pipeline[0]
    assert found[1]['transforms'] == [[dict(type='mmseg.LoadLabelMap')], [dict(type='Pad')]]
    assert found[2] == dict(type='mmseg.LoadLabelMap', imdecode_backend='cv2')
    assert found[3] == pipeline[3]
    assert pipeline[2]['type'] == 'LoadAnnotations'


WIDE = np.array([[0, 1, 255, 256], [300, 846, 65535, 1000]], np.uint16)


def wide_labels(tmp_path, kind='PNG', reduce_zero_label=False, label_map=None, **options):
    path = tmp_path / f'mask.{kind.lower()}'
    Image.fromarray(WIDE).save(path, kind)
    results = dict(seg_map_path=str(path), reduce_zero_label=reduce_zero_label, seg_fields=[])
    return LoadLabelMap(**options)(dict(results, label_map=label_map))['gt_seg_map']


@pytest.mark.parametrize('kind', ['PNG', 'TIFF'])
@pytest.mark.parametrize('backend', ['pillow', 'cv2'])
def test_an_ignored_label_above_255_means_labels_of_16_bits(tmp_path, kind, backend):
    labels = wide_labels(tmp_path, kind, ignore_index=65535, imdecode_backend=backend)
    assert labels.dtype == np.uint16
    assert (labels == WIDE).all()  # 255 is a class
    other = wide_labels(tmp_path, kind, ignore_index=1000, imdecode_backend=backend)
    assert other.tolist() == [[0, 1, 255, 256], [300, 846, 65535, 65535]]


def test_labels_of_16_bits_are_counted_from_zero_and_renumbered(tmp_path):
    labels = wide_labels(tmp_path, reduce_zero_label=True, ignore_index=65535)
    assert labels.tolist() == [[65535, 0, 254, 255], [299, 845, 65535, 999]]
    labels = wide_labels(tmp_path, label_map={846: 2, 0: 400}, ignore_index=65535)
    assert labels.tolist() == [[400, 1, 255, 256], [300, 2, 65535, 1000]]


def test_labels_of_16_bits_are_refused_where_8_are_meant(tmp_path):
    with pytest.raises(ValueError, match=r'has label 256.*of 16 bits with ignore_index=65535'):
        wide_labels(tmp_path)
    data = encode(Image.fromarray(np.array([[65536, -1]], np.int32)), 'TIFF')
    with pytest.raises(ValueError, match=r'has label 65536: .* from 0 to 65534, and 65535'):
        decode_label_map(data, 'mask.tif', bits=16)
    with pytest.raises(ValueError, match='ignore_index = 65536 is above 65535'):
        LoadLabelMap(ignore_index=65536)
