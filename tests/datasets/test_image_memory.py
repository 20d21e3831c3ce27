"""No decoder allocates what a header merely claims."""

import io
import multiprocessing
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.image_decoding import MAX_TRAINING_PIXELS, decode_image

STATUS = Path('/proc/self/status')
NOISE = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def encode(kind, **options):
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, kind, **options)
    return stream.getvalue()


def patched(data, place, content):
    return data[:place] + content + data[place + len(content) :]


def chunk(kind, data, length=None):
    length = len(data) if length is None else length
    return struct.pack('>I', length) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, *chunks):
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0))
    return b'\x89PNG\r\n\x1a\n' + header + b''.join(chunks) + chunk(b'IEND', b'')


def jpeg_of(width, height):
    data = encode('JPEG')
    return patched(data, data.index(b'\xff\xc0') + 5, struct.pack('>HH', height, width))


def webp_of(side):
    """A canvas of another size than its image."""
    vp8 = encode('WEBP', quality=80)[12:]
    canvas = (side - 1).to_bytes(3, 'little')
    body = b'WEBP' + b'VP8X' + struct.pack('<I', 10) + b'\0\0\0\0' + canvas * 2 + vp8
    return b'RIFF' + struct.pack('<I', len(body)) + body


def tiff(**tags):
    """A TIFF of 16 x 16 grey pixels with other tags, each ``number: (type, count, value)``."""
    entries = {256: (4, 1, 16), 257: (4, 1, 16), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    entries |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, 16), 279: (4, 1, 256)}
    entries |= {int(number[1:]): entry for number, entry in tags.items()}
    rows = b''.join(struct.pack('<HHII', n, *entries[n]) for n in sorted(entries))
    directory = struct.pack('<H', len(entries)) + rows + b'\0' * 4
    return b'II*\0' + struct.pack('<I', 264) + b'\x80' * 256 + directory


LIES = {
    'png-chunk': (
        png(16, 16, chunk(b'IDAT', b'x' * 1300, length=3_600_000_000)),
        'longer than it',
    ),
    'png-text-chunk': (png(16, 16, chunk(b'tEXt', b'x' * 13, length=2**31)), 'longer than it'),
    'png-size': (png(60_000, 60_000, chunk(b'IDAT', bytes(9))), 'too short for 60000'),
    'png-size-within-the-limit': (
        png(7_000, 7_000, chunk(b'IDAT', zlib.compress(bytes(9)))),
        'too short for 7000 x 7000 pixels',
    ),
    'jpeg-size': (jpeg_of(65_500, 65_500), 'too short for 65500 x 65500 pixels'),
    'jpeg-size-within-the-limit': (jpeg_of(7_000, 7_000), 'too short for 7000 x 7000 pixels'),
    'jpeg-segment': (patched(encode('JPEG')[:60], 4, b'\xff\xff'), 'truncated'),
    'webp-canvas': (webp_of(16_384), 'max_pixels'),
    'webp-frame': (patched(encode('WEBP'), 26, b'\xff\x3f\xff\x3f'), 'max_pixels'),
    'webp-lossless': (
        patched(encode('WEBP', lossless=True), 21, b'\xff\xff\xff\x0f'),
        'max_pixels',
    ),
    'webp-chunk': (patched(encode('WEBP'), 16, b'\xff\xff\xff\xef'), 'longer than it'),
    'gif-screen': (patched(encode('GIF'), 6, b'\xff\xff\xff\xff'), 'limit'),
    'bmp-size': (patched(encode('BMP'), 18, struct.pack('<ii', 60_000, 60_000)), 'limit'),
    'tiff-size': (tiff(t256=(4, 1, 60_000), t257=(4, 1, 60_000)), 'limit'),
    'tiff-tile': (
        tiff(t322=(4, 1, 60_000), t323=(4, 1, 60_000), t324=(4, 1, 8), t325=(4, 1, 256)),
        'max_pixels',
    ),
    'tiff-strips': (tiff(t273=(4, 2**30, 8)), None),
    'ppm-size': (b'P6\n90000 90000\n255\n' + b'x' * 99, 'limit'),
    'gif-frame': (
        encode('GIF').replace(struct.pack('<HH', 16, 16), struct.pack('<HH', 9000, 9000)),
        'max_pixels',
    ),
    'avif': (b'\0\0\0\x20ftypavif' + b'\0' * 99, 'AVIF'),
}


def test_images_of_one_colour_are_not_taken_for_lies():
    """They are as short as files can be."""
    image = Image.new('RGB', (900, 600), (9, 9, 9))
    for kind, options in (
        ('PNG', dict(compress_level=9)),
        ('JPEG', dict(quality=10, optimize=True)),
        ('JPEG', dict(quality=10, progressive=True)),
        ('WEBP', dict(lossless=True)),
        ('WEBP', dict(quality=1)),
    ):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        pixels = decode_image(stream.getvalue()).pixels
        assert pixels.shape == (600, 900, 3)
        assert abs(pixels.astype(int) - 9).max() <= 3


def peak():
    """Most address space so far, in MB."""
    return int(re.search(r'VmPeak:\s+(\d+)', STATUS.read_text())[1]) / 1024


def decode_all(connection):
    for name, (data, _) in LIES.items():
        before, said = peak(), 'nothing'
        try:
            decode_image(data, max_pixels=MAX_TRAINING_PIXELS)
        except ValueError as error:
            said = str(error)
        connection.send((name, said, peak() - before))
    connection.close()


@pytest.mark.skipif(not STATUS.exists(), reason='reads the address space from /proc')
def test_memory_of_every_format_stays_small():
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context('fork').Process(target=decode_all, args=(theirs,))
    child.start()
    found = {}
    for _ in LIES:
        assert ours.poll(60), 'the child ended early'
        name, said, grown = ours.recv()
        found[name] = (said, grown)
    child.join()
    assert {name: grown for name, (_, grown) in found.items() if grown > 50} == {}
    for name, (_, reason) in LIES.items():
        assert reason is None or reason in found[name][0], (name, found[name])
