"""Everything that can be dropped on the page is a picture or one clear sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from groupvit_web.errors import PageError
from groupvit_web.limits import Limits
from groupvit_web.uploads import read_picture

from .conftest import png


def saved(image, form, **options):
    """The content of a file of a Pillow image."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def huge_jpeg(width, height):
    """A JPEG whose header claims many pixels, padded to a plausible length."""
    small = bytearray(saved(Image.new('RGB', (8, 8)), 'JPEG'))
    at = small.find(b'\xff\xc0')
    struct.pack_into('>HH', small, at + 5, height, width)
    return bytes(small[:-2]) + b'\0' * (width * height // 500) + b'\xff\xd9'


def huge_png(width, height):
    """A PNG of many pixels that is short because they are all zero."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    packer = zlib.compressobj()
    rows = b''.join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    header = struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )


JPEG = saved(Image.fromarray(np.zeros((40, 60, 3), np.uint8)), 'JPEG')
NO_PICTURES = {
    'empty': (b'', 'x is empty (0 bytes): choose the picture again.'),
    'pdf': (b'%PDF-1.7\n%\xe2\xe3', 'x is a PDF document: save the page as PNG or JPEG.'),
    'heic': (
        b'\0\0\0\x18ftypheic\0\0\0\0',
        'x is a HEIC photograph: save it as PNG or JPEG (on an iPhone: Settings, Camera, Formats).',
    ),
    'avif': (b'\0\0\0\x18ftypavif\0\0\0\0', 'x is an AVIF picture: save it as PNG or JPEG.'),
    'mp4': (
        b'\0\0\0\x18ftypisom\0\0\0\0',
        'x is a video: choose a frame of it, or use groupvit segment.',
    ),
    'svg': (
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        'x is an SVG drawing, which has no pixels: save it as PNG or JPEG.',
    ),
    'html': (
        b'\n<!doctype html><title>a</title>',
        'x is a web page or other markup: save the picture itself.',
    ),
    'text': (
        'Grüße, Jürgen'.encode(),
        'x is a text: choose a JPEG, PNG, WebP, GIF, BMP, TIFF or PPM picture.',
    ),
    'zip': (
        b'PK\x03\x04\x14\0',
        'x is an archive or an office document: take the picture out of it.',
    ),
    'psd': (b'8BPS\0\x01', 'x is a Photoshop document: save it as PNG or JPEG.'),
    'icon': (b'\0\0\x01\0\x01\0', 'x is an icon: save it as PNG or JPEG.'),
    'noise': (
        b'\x93\x01\xff\x00' * 30,
        'x cannot be used: the file has another format; images are JPEG, PNG, WebP, GIF, BMP, TIFF '
        'or PPM files.',
    ),
    'cut in its header': (JPEG[:100], 'it breaks off in its header.'),
    'truncated jpeg': (JPEG[:-12], 'truncated'),
    'truncated png': (png(50, 70)[:200], 'x cannot be used: the PNG file is truncated'),
    'broken gif': (b'GIF89a' + b'\0' * 3, 'x cannot be used: the GIF file has a damaged header.'),
    'lying tiff': (
        b'II*\0' + b'\xff' * 40,
        'x cannot be used: the TIFF file has a damaged header.',
    ),
}


@pytest.mark.parametrize('kind', NO_PICTURES)
def test_what_is_no_picture_is_one_sentence(kind):
    content, sentence = NO_PICTURES[kind]
    with pytest.raises(PageError) as error:
        read_picture(content, name='x')
    text = str(error.value)
    assert sentence in text
    assert text.startswith('x ')
    assert (text.count('\n'), text[-1]) == (0, '.')


@pytest.mark.parametrize('make', [huge_jpeg, huge_png])
@pytest.mark.parametrize('size', [(20_000, 15_000), (9_000, 6_000)])  # Pillow allows the second
def test_too_many_pixels_are_refused_before_they_are_decoded(make, size, monkeypatch):
    monkeypatch.setattr('groupvit_web.uploads.decode_image', None)
    width, height = size
    with pytest.raises(PageError) as error:
        read_picture(make(width, height), name='wall.jpg')
    assert str(error.value) == (
        f'wall.jpg has {width} x {height} pixels, more than the limit of 50 million: reduce it.'
    )


def test_pillow_s_limit_is_a_sentence_too(monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    content = saved(Image.new('P', (60, 60)), 'GIF')
    with pytest.raises(PageError, match='has more pixels than the limit of 50 million: reduce it'):
        read_picture(content, name='wall.gif')


def test_long_files_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / 'long.jpg'
    with path.open('wb') as stream:
        stream.truncate(200 * 2**20)
    with pytest.raises(PageError, match=r'long\.jpg has 200 MiB, more than the limit of 64 MiB'):
        read_picture(path)
    with pytest.raises(PageError, match='more than the limit of 1 MiB'):
        read_picture(bytes(2 * 2**20), limits=Limits(file_bytes=2**20))


def test_a_file_that_has_gone_or_changed(tmp_path):
    path = tmp_path / 'a.png'
    with pytest.raises(PageError, match=r'a\.png is not there any more'):
        read_picture(path)
    path.write_bytes(png(20, 30))
    picture = read_picture(path)
    path.write_bytes(png(21, 30))
    with pytest.raises(PageError, match='has changed: choose the picture again'):
        picture.pixels()
    path.unlink()
    with pytest.raises(PageError, match='cannot be read'):
        picture.pixels()


def test_animations_give_their_first_frame():
    frames = [Image.new('RGB', (20, 30), colour) for colour in ('red', 'blue', 'green')]
    gif = saved(frames[0], 'GIF', save_all=True, append_images=frames[1:])
    picture = read_picture(gif, name='move.gif')
    assert picture.notes == ('move.gif is an animation: its first frame is used.',)
    assert picture.pixels()[5, 5].tolist() == [255, 0, 0]
    tiff = saved(frames[0], 'TIFF', save_all=True, append_images=frames[1:])
    assert read_picture(tiff, name='a.tif').notes == (
        'a.tif has several pages: the first one is used.',
    )
    several = saved(frames[0], 'MPO', save_all=True, append_images=frames[1:])
    assert read_picture(several, name='a.jpg').notes == (
        'a.jpg has several pictures: the first one is used.',
    )
    assert read_picture(saved(frames[0], 'GIF'), name='still.gif').notes == ()


GRAY = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
PICTURES = {
    '16-bit png': saved(GRAY, 'PNG'),
    'palette png': saved(Image.new('RGB', (30, 20), 'red').quantize(4), 'PNG'),
    'transparent png': saved(Image.new('RGBA', (30, 20), (255, 0, 0, 128)), 'PNG'),
    'bilevel png': saved(Image.new('1', (30, 20)), 'PNG'),
    'cmyk jpeg': saved(Image.new('CMYK', (30, 20), (0, 255, 255, 0)), 'JPEG'),
    'gray jpeg': saved(Image.new('L', (30, 20), 128), 'JPEG'),
    'webp': saved(Image.new('RGB', (30, 20), 'red'), 'WEBP'),
    'bmp': saved(Image.new('RGB', (30, 20), 'red'), 'BMP'),
    'ppm': saved(Image.new('RGB', (30, 20), 'red'), 'PPM'),
}


@pytest.mark.parametrize('kind', PICTURES)
def test_pictures_of_every_kind_work(segmenter, kind):
    from groupvit_web.segmentation import SegmentationRequest

    picture = read_picture(PICTURES[kind], name=kind)
    assert picture.size == (20, 30)
    assert picture.pixels().shape == (20, 30, 3)
    assert segmenter.segment(picture, SegmentationRequest(('cat', 'dog'))).shares


def test_colours_are_those_of_browsers():
    assert read_picture(PICTURES['transparent png']).pixels()[0, 0].tolist() == [255, 127, 127]
    assert read_picture(PICTURES['16-bit png']).pixels()[19, 29].tolist() == [59900 >> 8] * 3


def test_small_pictures_are_enlarged_and_large_ones_reduced():
    small, large = read_picture(png(20, 30)), read_picture(png(3000, 1500))
    assert (small.factor, small.shown.shape, small.is_reduced) == (16, (320, 480, 3), False)
    assert (small.view == small.pixels()).all()
    assert (large.factor, large.shown.shape, large.is_reduced) == (1, (1024, 512, 3), True)
    thin = read_picture(png(4, 1000))
    assert (thin.factor, thin.shown.shape) == (1, (4, 1000, 3))


def test_keys_are_of_the_pixels():
    first = read_picture(png(20, 30))
    pixels = Image.fromarray(first.pixels())
    assert read_picture(saved(pixels, 'BMP'), name='other').key == first.key
    assert read_picture(png(20, 30, seed=1)).key != first.key
    turned = saved(Image.fromarray(np.zeros((30, 20, 3), np.uint8)), 'PNG')
    straight = saved(Image.fromarray(np.zeros((20, 30, 3), np.uint8)), 'PNG')
    assert read_picture(turned).key != read_picture(straight).key
