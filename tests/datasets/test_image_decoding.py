"""The one reader of images: what every kind of file means, pixel by pixel."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmseg.registry import TRANSFORMS
from PIL import Image

from groupvit_mmseg.datasets import LoadImageFromFile, LoadImageText
from groupvit_mmseg.datasets.image_decoding import decode_image, load_image
from groupvit_mmseg.inference import GroupViTInferencer

from loading import load_file

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / 'shared' / 'data'


def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, depth, colour, rows, *extra):
    """A PNG of raw rows; ``extra`` chunks come before the pixels."""
    header = struct.pack('>IIBBBBB', width, len(rows), depth, colour, 0, 0, 0)
    pixels = zlib.compress(b''.join(b'\0' + row for row in rows))
    parts = (chunk(b'IHDR', header), *extra, chunk(b'IDAT', pixels), chunk(b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def encode(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def animation(kind, **options):
    frames = [Image.new('RGB', (8, 8), colour) for colour in ((200, 100, 50), (0, 0, 0))]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)


def gray(*values):
    return [[value] * 3 for value in values]


GRAY_16 = struct.pack('>HH', 32768, 511)
PALETTE = chunk(b'PLTE', bytes([1, 2, 3, 200, 100, 50]))
HALF = Image.new('RGBA', (1, 1), (10, 20, 30, 128))
# The first row as red, green, blue. Behind transparency lies white: 10 at 128 / 255 is
# (10 * 128 + 255 * 127 + 127) // 255 = 132.
FILES = {
    'png-gray-1': (png(2, 1, 0, [b'\x40']), gray(0, 255)),
    'png-gray-2': (png(4, 2, 0, [b'\x1b']), gray(0, 85, 170, 255)),
    'png-gray-4': (png(2, 4, 0, [b'\x3a']), gray(51, 170)),
    'png-gray-8': (png(2, 8, 0, [b'\x03\xc8']), gray(3, 200)),
    'png-gray-16': (png(2, 16, 0, [GRAY_16]), gray(128, 1)),
    'png-rgb-16': (png(1, 16, 2, [struct.pack('>HHH', 65535, 32768, 511)]), [[255, 128, 1]]),
    'png-palette': (png(2, 8, 3, [b'\0\1'], PALETTE), [[1, 2, 3], [200, 100, 50]]),
    'png-palette-1-bit': (png(2, 1, 3, [b'\x40'], PALETTE), [[1, 2, 3], [200, 100, 50]]),
    'png-palette-transparent': (
        png(2, 8, 3, [b'\0\1'], PALETTE, chunk(b'tRNS', b'\0\x80')),
        [[255, 255, 255], [227, 177, 152]],
    ),
    'png-gray-2-transparent': (
        png(4, 2, 0, [b'\x1b'], chunk(b'tRNS', b'\0\1')),
        gray(0, 255, 170, 255),
    ),
    'png-gray-16-transparent': (
        png(2, 16, 0, [GRAY_16], chunk(b'tRNS', struct.pack('>H', 511))),
        gray(128, 255),
    ),
    'png-rgb-transparent': (
        png(2, 8, 2, [bytes([1, 2, 3, 4, 5, 6])], chunk(b'tRNS', bytes([0, 1, 0, 2, 0, 3]))),
        [[255, 255, 255], [4, 5, 6]],
    ),
    'png-gray-alpha': (png(2, 8, 4, [bytes([10, 0, 10, 128])]), gray(255, 132)),
    'png-gray-alpha-16': (png(1, 16, 4, [struct.pack('>HH', 32768, 32768)]), gray(191)),
    'png-rgba': (
        png(3, 8, 6, [bytes([10, 20, 30, 0, 10, 20, 30, 128, 10, 20, 30, 255])]),
        [[255, 255, 255], [132, 137, 142], [10, 20, 30]],
    ),
    'png-rgba-16': (
        png(1, 16, 6, [struct.pack('>HHHH', 65535, 32768, 511, 65535)]),
        [[255, 128, 1]],
    ),
    'webp-rgba': (encode(HALF, 'WEBP', lossless=True, exact=True), [[132, 137, 142]]),
    'webp-animation': (animation('WEBP', lossless=True), [[200, 100, 50]] * 8),
    'gif-animation': (animation('GIF'), [[200, 100, 50]] * 8),
    'png-animation': (animation('PNG'), [[200, 100, 50]] * 8),
    'gif-transparent': (
        encode(Image.new('P', (2, 1), 3), 'GIF', transparency=3),
        [[255, 255, 255]] * 2,
    ),
    'bmp': (encode(Image.new('RGB', (1, 1), (1, 2, 3)), 'BMP'), [[1, 2, 3]]),
    'tiff': (encode(Image.new('RGB', (1, 1), (1, 2, 3)), 'TIFF'), [[1, 2, 3]]),
    'tiff-rgba': (encode(HALF, 'TIFF'), [[132, 137, 142]]),
    'tiff-gray-16': (
        encode(Image.fromarray(np.array([[32768, 511]], np.uint16)), 'TIFF'),
        gray(128, 1),
    ),
    'ppm': (b'P6\n1 1\n255\n\1\2\3', [[1, 2, 3]]),
    'pgm-16': (b'P5\n2 1\n65535\n' + GRAY_16, gray(128, 1)),
}


@pytest.mark.parametrize('name', FILES)
def test_every_kind_of_file_has_the_values_worked_out_by_hand(name, tmp_path):
    data, expected = FILES[name]
    path = tmp_path / f'{name}.{name.partition("-")[0]}'
    path.write_bytes(data)
    assert load_image(path)[0].tolist() == expected
    loaded = TRANSFORMS.build(dict(type='LoadImageFromFile'))(dict(img_path=str(path)))
    assert loaded['img'][0, :, ::-1].tolist() == expected
    assert loaded['img_shape'] == loaded['ori_shape'] == loaded['img'].shape[:2]
    members = {'jpg': data, 'txt': b'a'}  # names on the web often lie
    sample = LoadImageText()({'key': 'k', 'members': members, 'error': None})
    assert np.array_equal(sample['img'], loaded['img'])


def test_lossy_files_have_the_colours_put_in():
    for kind in ('JPEG', 'WEBP'):
        for mode, colour in (('RGB', (200, 100, 50)), ('L', 90)):
            data = encode(Image.new(mode, (16, 16), colour), kind, quality=100)
            expected = np.broadcast_to(colour, 3).astype(int)
            difference = decode_image(data).pixels[..., ::-1].astype(int) - expected
            assert abs(difference).max() <= 2, (kind, mode)


def test_inverted_cmyk_as_adobe_and_browsers_have_it():
    # Pillow writes inverted CMYK: 255 - ink. Red is (255 - 10) * (255 - 50) / 255 = 197.
    data = encode(Image.new('CMYK', (16, 16), (10, 100, 200, 50)), 'JPEG', quality=100)
    assert abs(decode_image(data).pixels[8, 8, ::-1].astype(int) - [197, 125, 44]).max() <= 2


# Where the white corner of 8 x 8 pixels, at the top left as stored, has to be; the stored image is
# 24 wide and 16 high.
CORNERS = {
    1: (0, 0),
    2: (0, 16),
    3: (8, 16),
    4: (8, 0),
    5: (0, 0),
    6: (0, 8),
    7: (16, 8),
    8: (16, 0),
}


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('orientation', CORNERS)
def test_orientations(kind, orientation):
    stored = np.zeros((16, 24, 3), np.uint8)
    stored[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'WEBP': dict(lossless=True), 'JPEG': dict(quality=100)}.get(kind, {})
    data = encode(Image.fromarray(stored), kind, exif=exif, **options)
    rows, columns = np.nonzero(decode_image(data).pixels[..., 0] > 128)
    assert decode_image(data).pixels.shape[:2] == ((24, 16) if orientation > 4 else (16, 24))
    assert (rows.min(), columns.min()) == CORNERS[orientation]
    assert len(rows) == 64


@pytest.mark.parametrize(
    'kind, options',
    [
        ('JPEG', dict(quality=90)),
        ('JPEG', dict(quality=75, progressive=True)),
        ('JPEG', dict(quality=95, subsampling=0)),
        ('WEBP', dict(quality=80)),
        ('PNG', {}),
    ],
)
def test_ordinary_files_are_bit_for_bit_what_mmseg_reads(kind, options):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    data = encode(Image.fromarray(pixels).resize((125, 94), Image.BICUBIC), kind, **options)
    theirs = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decode_image(data).pixels, theirs)


def test_real_photographs_are_bit_for_bit_what_mmseg_reads():
    files = sorted(SHARED.glob('VOCdevkit/**/JPEGImages/*.jpg'))[:3]
    if not files:
        pytest.skip('needs photographs of ../shared/data')
    for file in files:
        theirs = cv2.imread(str(file), cv2.IMREAD_COLOR)
        assert np.array_equal(decode_image(file.read_bytes()).pixels, theirs)


def photo(kind='JPEG', **options):
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encode(Image.fromarray(pixels), kind, **options)


def patched(data, place, content):
    return data[:place] + content + data[place + len(content) :]


def damaged_avif():
    data = photo('AVIF')
    return patched(data, len(data) // 3, b'\xff' * 60)


def short_webp():
    data = photo('WEBP')[:900]
    return patched(patched(data, 4, struct.pack('<I', 892)), 16, struct.pack('<I', 880))


def with_segments(count, *, place, kind=b'\xe1', **options):
    """A JPEG with many small EXIF segments before or after its pixels."""
    data = photo(**options)
    place = {'before': 2, 'after': len(data) - 2}[place]
    return data[:place] + (b'\xff' + kind + b'\0\x08Exif\0\0') * count + data[place:]


DAMAGED = {
    'empty': (lambda: b'', 'the file is empty'),
    'web-page': (lambda: b'<html>not found</html>', 'a web page'),
    'text': (lambda: b'hello', 'another format'),
    'avif': (damaged_avif, 'AVIF or HEIC: convert it'),
    'jpeg-cut': (lambda: photo()[:900], 'truncated'),
    'jpeg-cut-in-header': (lambda: photo()[:300], 'breaks off in its header'),
    'jpeg-without-pixels': (lambda: b'\xff\xd8\xff\xd9', 'truncated'),
    'jpeg-size-cut': (lambda: b'\xff\xd8\xff\xc0\0\2\x11', 'breaks off in its size'),
    'jpeg-of-many-scans': (
        lambda: photo(progressive=True)[:-2] + b'\xff\xda\0\2' * 300 + b'\xff\xd9',
        'more than 200 scans',
    ),
    'jpeg-of-many-exif-segments': (
        lambda: with_segments(60_000, place='before'),
        'more than 1,000 segments beside its pixels',
    ),
    'jpeg-of-exif-segments-after-its-pixels': (
        lambda: with_segments(60_000, place='after'),
        'more than 1,000 segments beside its pixels',
    ),
    'progressive-jpeg-of-exif-segments': (
        lambda: with_segments(1001, place='after', progressive=True),
        'more than 1,000 segments beside its pixels',
    ),
    'png-cut': (lambda: photo('PNG')[:900], 'truncated'),
    'png-checksum': (lambda: patched(photo('PNG'), 600, b'\0\0\0'), 'damaged'),
    'png-without-pixels': (lambda: photo('PNG')[:33] + chunk(b'IEND', b''), 'no pixels'),
    'png-of-no-size': (lambda: png(0, 8, 0, [b'']), '0 x 1 pixels'),
    'webp-cut': (lambda: photo('WEBP')[:900], '900 of'),
    'webp-cut-and-patched': (short_webp, 'damaged'),
    'gif-cut': (lambda: photo('GIF')[:2000], 'truncated'),
    'tiff-cut': (lambda: photo('TIFF')[:900], 'truncated'),
    'bmp-header': (lambda: b'BMW is no image', 'the BMP file has a damaged header'),
    'jpeg-of-fill-bytes': (lambda: b'\xff\xd8' + b'\xff' * 300_000, 'no end of its header'),
    'png-of-empty-chunks': (
        lambda: photo('PNG')[:33] + chunk(b'tEXt', b'') * 200_000,
        'more than 200000 chunks',
    ),
    'bmp-cut': (lambda: photo('BMP')[:900], 'truncated'),
    'tiff-float': (
        lambda: encode(Image.fromarray(np.ones((2, 2), np.float32)), 'TIFF'),
        'save it with 8 or 16',
    ),
}


@pytest.mark.parametrize('name', DAMAGED)
def test_a_damaged_file_is_one_sentence_with_its_name(name, tmp_path, capfd):
    make, reason = DAMAGED[name]
    path = tmp_path / 'photo.jpg'
    path.write_bytes(make())
    for load in (load_image, lambda path: LoadImageFromFile()(dict(img_path=str(path)))):
        with pytest.raises(ValueError, match=r'photo\.jpg cannot be read as an image') as error:
            load(path)
        assert reason in str(error.value)
        assert '\n' not in str(error.value)
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize('kind', [b'\xe1', b'\xe2', b'\xfe'])
def test_a_photograph_may_have_hundreds_of_segments(kind):
    data = with_segments(900, place='before', kind=kind)
    data = data[:-2] + b'\xff\xe1\0\x02' * 900 + data[-2:]
    assert (decode_image(data).pixels == decode_image(photo()).pixels).all()
    large = encode(
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (900, 900, 3), np.uint8)), 'JPEG'
    )
    assert large.count(b'\xe1') > 1000  # as pixels, which are no segments
    assert decode_image(large).pixels.shape == (900, 900, 3)


def test_a_decoder_that_runs_out_of_memory_is_a_bad_image(monkeypatch):
    def imdecode(*_):
        raise MemoryError

    monkeypatch.setattr(cv2, 'imdecode', imdecode)
    with pytest.raises(ValueError, match='not enough memory'):
        decode_image(photo())


def test_what_decoders_print_is_handed_over_and_not_printed(capfd):
    data = photo()
    image = decode_image(data[:900] + b'\xff\xd9')  # ends too early, which libjpeg fills with grey
    assert image.pixels.shape == (64, 64, 3)
    assert image.complaints == ['Corrupt JPEG data: premature end of data segment']
    assert decode_image(data).complaints == []
    assert capfd.readouterr() == ('', '')


def test_the_log_names_a_damaged_file_that_was_read(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.image_decoding.print_log', lambda text, **_: lines.append(text)
    )
    path = tmp_path / 'photo.jpg'
    path.write_bytes(photo()[:900] + b'\xff\xd9')
    load_image(path)
    LoadImageFromFile()(dict(img_path=str(path)))
    expected = 'photo.jpg is damaged but could be read: Corrupt JPEG data: premature end of data '
    assert [text.partition('/photo')[2] for text in lines] == [f'{expected[5:]}segment'] * 2


def test_other_options_of_the_transform_are_those_of_mmcv(tmp_path):
    path = tmp_path / 'rgba.png'
    path.write_bytes(FILES['png-rgba'][0])
    load = dict(type='LoadImageFromFile')
    unchanged = TRANSFORMS.build(load | dict(color_type='unchanged'))(dict(img_path=str(path)))
    assert unchanged['img'].shape == (1, 3, 4)
    assert TRANSFORMS.build(load | dict(to_float32=True))(dict(img_path=str(path)))[
        'img'
    ].dtype == (np.float32)
    missing = dict(img_path=str(tmp_path / 'none.png'))
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        TRANSFORMS.build(load)(dict(missing))
    assert TRANSFORMS.build(load | dict(ignore_empty=True))(dict(missing)) is None


def test_the_onnx_demo_reads_the_same_pixels(tmp_path):
    demo = load_file('demo/onnx_demo.py')
    files = {name: data for name, (data, _) in FILES.items() if name != 'png-gray-2-transparent'}
    files |= {'jpeg-photo': photo(), 'jpeg-progressive': photo(progressive=True)}
    for name, data in files.items():
        path = tmp_path / f'{name}.{name.partition("-")[0]}'
        path.write_bytes(data)
        assert np.array_equal(demo.read_image(path), load_image(path)), name
    path.write_bytes(b'hello')
    with pytest.raises(ValueError, match='cannot be read as an image'):
        demo.read_image(path)


@pytest.mark.parametrize('size', [(1, 1), (5000, 1), (7, 3000)])
def test_pictures_below_a_patch_are_one_sentence(size):
    inferencer = GroupViTInferencer(ROOT / 'tests/data/configs/tiny_zeroshot.py')
    with pytest.raises(ValueError, match=f'has {size[1]} x {size[0]} pixels: each side needs at'):
        inferencer(np.zeros((*size, 3), np.uint8))


def test_a_long_strip_that_resizing_makes_too_thin_is_one_sentence(tmp_path):
    inferencer = GroupViTInferencer(ROOT / 'tests/data/configs/tiny_zeroshot.py')
    path = tmp_path / 'strip.png'
    for length, reason in ((9000, 'resized, has 2048 x 2 pixels'), (60000, 'too long and thin')):
        Image.new('L', (length, 8)).save(path)
        with pytest.raises(ValueError, match=rf'strip\.png.*{reason}'):
            inferencer(path)
