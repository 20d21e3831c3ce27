"""Small files that claim to be large, and short texts that take long: written by hand."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib

import torch
from PIL import Image

GIB = 2**30


def header(name: str, size: int, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header of a tar without its content."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def compressed_zeros(make, mib: int) -> bytes:
    """Return a compressed tar of one member of zeros."""
    packed, zeros = [make.compress(header('a.jpg', mib * 2**20))], bytes(2**20)
    packed += [make.compress(zeros) for _ in range(mib)]
    return b''.join(packed) + make.flush()


def sparse() -> bytes:
    """Return a tar with a member of 10 GiB of which nothing is stored."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w', format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo('a.jpg')
        info.pax_headers = {
            'GNU.sparse.major': '1',
            'GNU.sparse.minor': '0',
            'GNU.sparse.name': 'a.jpg',
            'GNU.sparse.realsize': str(10 * GIB),
        }
        content = b'1\n0\n0\n'.ljust(512, b'\0')
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def extended(records: bytes) -> bytes:
    """Return a tar whose member has extended records."""
    return (
        header('x', len(records), kind=tarfile.XHDTYPE)
        + records.ljust(-(-len(records) // 512) * 512, b'\0')
        + header('a.jpg', 0)
        + bytes(1024)
    )


def old_sparse() -> bytes:
    """Return a tar in GNU's old form whose map of a sparse file covers no byte."""
    data = bytearray(header('a.jpg', 0, kind=tarfile.GNUTYPE_SPARSE))
    data[386:410] = b'%011o\0%011o\0' % (0, 0)
    data[483:495] = b'%011o\0' % (8 * GIB - 1)
    data[148:156] = b' ' * 8
    data[148:156] = b'%06o\0 ' % sum(data)
    return bytes(data) + bytes(1024)


def png_chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """Return a chunk of a PNG file, of a claimed length."""
    size = len(content) if length is None else length
    return struct.pack('>I', size) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b'') -> bytes:
    """Return a PNG file of grey pixels with further chunks."""
    head = png_chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 0, 0, 0, 0))
    data = png_chunk(b'IDAT', zlib.compress(pixels or bytes(height * (width + 1)), 9))
    return b'\x89PNG\r\n\x1a\n' + head + b''.join(chunks) + data + png_chunk(b'IEND', b'')


def small(form: str, **options: object) -> bytes:
    """Return a small image."""
    stream = io.BytesIO()
    Image.new('RGB', (16, 16), 'red').save(stream, form, **options)
    return stream.getvalue()


def patched(data: bytes, place: int, form: str, *values: int) -> bytes:
    """Return data with numbers written over a part."""
    changed = bytearray(data)
    struct.pack_into(form, changed, place, *values)
    return bytes(changed)


def tiff(entries: dict[int, tuple[int, int, int]]) -> bytes:
    """Return a TIFF file whose tags have a type, a count and a value."""
    head = b'II*\0' + struct.pack('<I', 8) + struct.pack('<H', len(entries))
    tags = [struct.pack('<HHII', tag, *entries[tag]) for tag in sorted(entries)]
    return head + b''.join(tags) + bytes(4) + bytes(64)


TIFF_TAGS = {256: (4, 1, 16), 257: (4, 1, 16), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
TIFF_TAGS |= {273: (4, 1, 8), 277: (3, 1, 1), 278: (4, 1, 16), 279: (4, 1, 256)}


def torch_zip(pickled: bytes, storage: bytes = bytes(16), *, deflate: bool = False) -> bytes:
    """Return a zip file of ``torch.save`` with a pickle written by hand."""
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, 'w', kind) as archive:
        archive.writestr('x/data.pkl', pickled)
        archive.writestr('x/byteorder', 'little')
        archive.writestr('x/data/0', storage)
        archive.writestr('x/version', '3\n')
    return stream.getvalue()


class _Storage:
    """Stands for the storage of a tensor in a pickle."""


class _Pickler(pickle._Pickler):
    """Writes tensors of any claimed shape."""

    def persistent_id(self, value: object) -> object:
        if isinstance(value, _Storage):
            return ('storage', torch.FloatStorage, '0', 'cpu', 4)
        return None


def tensor_pickle(offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """Return the pickle of a state dict with one tensor on a storage of four numbers."""

    class Claim:
        def __reduce__(self) -> tuple:
            args = (_Storage(), offset, shape, stride, False, {})
            return torch._utils._rebuild_tensor_v2, args

    stream = io.BytesIO()
    _Pickler(stream, 2).dump({'state_dict': {'w': Claim()}})
    return stream.getvalue()


def laughs() -> bytes:
    """Return a pickle of lists in lists that mean 2 ** 200 values."""
    value: object = ['ha', 'ha']
    for _ in range(200):
        value = [value, value]
    return pickle.dumps({'state_dict': {}, 'config': value}, 2)


def safetensors(header: object, length: int | None = None, content: bytes = bytes(16)) -> bytes:
    """Return a safetensors file of a claimed header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(text) if length is None else length
    return struct.pack('<Q', size) + text + content


def tensor_entry(*offsets: int, shape: tuple[int, ...] = (2,)) -> dict:
    """Return the entry of a tensor in a safetensors header."""
    return dict(dtype='F32', shape=shape, data_offsets=offsets)


def coco(**changes: object) -> bytes:
    """Return an instances file of one image and one annotation with parts changed."""
    from groupvit_mmseg.text.vocabulary import class_names

    image = dict(id=1, file_name='a.jpg', height=10, width=12)
    item = dict(id=1, image_id=1, category_id=1, segmentation=[[1, 1, 5, 1, 5, 5]], area=8)
    for name, value in changes.items():
        (image if name in image and name != 'id' else item)[name] = value
    names = class_names('coco_object')[1:]
    categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
    return json.dumps(dict(images=[image], annotations=[item], categories=categories)).encode()


def anchors() -> bytes:
    """Return YAML whose aliases mean 9 ** 9 words."""
    lines = ['- &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]']
    lines += [f'- &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]' for i in range(1, 10)]
    return '\n'.join(lines).encode()


SHARDS = {
    'gzip': lambda: compressed_zeros(zlib.compressobj(9, wbits=31), 300),
    'bzip2': lambda: compressed_zeros(bz2.BZ2Compressor(9), 300),
    'xz': lambda: compressed_zeros(lzma.LZMACompressor(preset=1), 300),
    'sparse': sparse,
    'old sparse': old_sparse,
    'a member of 8 GiB': lambda: header('a.jpg', 8 * GIB - 1) + bytes(2048),
    'a member of 200 MiB': lambda: header('a.jpg', 200 * 2**20) + bytes(2048),
    'a name of 300 MiB': lambda: gzip.compress(
        header('a.jpg', 300 * 2**20, kind=tarfile.GNUTYPE_LONGNAME) + bytes(300 * 2**20), 1
    ),
    'a record of 300 MiB': lambda: gzip.compress(
        header('x', 300 * 2**20, kind=tarfile.XHDTYPE) + bytes(300 * 2**20), 1
    ),
    'a negative size': lambda: extended(b'18 size=-1000000\n\n'),
    'a size of 2 ** 80': lambda: extended(b'35 size=1208925819614629174706176\n'),
    'a size of 2 ** 50, compressed': lambda: gzip.compress(extended(b'25 size=1125899906842624\n')),
    'headers of headers': lambda: extended(b'')[:512] * 5000 + header('a.jpg', 0) + bytes(1024),
    '5,000 empty members of one sample': lambda: gzip.compress(
        b''.join(header(f'a.{i}', 0) for i in range(5_000)) + bytes(1024), 1
    ),
    'links': lambda: (
        header('a.jpg', 0, kind=tarfile.SYMTYPE)
        + header('a.txt', 0, kind=tarfile.LNKTYPE)
        + bytes(1024)
    ),
}

IMAGES = {
    'PNG of 60,000 x 60,000': lambda: png(60_000, 60_000, pixels=b'\0'),
    'PNG chunk of 3.6 GB': lambda: png(9, 9, png_chunk(b'tEXt', b'x', 3_600_000_000)),
    'PNG with a colour profile of 300 MiB': lambda: png(
        9, 9, png_chunk(b'iCCP', b'x\0\0' + zlib.compress(bytes(300 * 2**20), 9))
    ),
    'PNG with a text of 300 MiB': lambda: png(
        9, 9, png_chunk(b'zTXt', b'x\0\0' + zlib.compress(bytes(300 * 2**20), 9))
    ),
    'PNG whose pixels are 300 MiB too long': lambda: png(9, 9, pixels=bytes(300 * 2**20)),
    'PNG of 100,000 chunks': lambda: png(9, 9, png_chunk(b'tIME', b'') * 100_000),
    'JPEG of 65,000 x 65,000': lambda: patched(
        small('JPEG'), small('JPEG').index(b'\xff\xc0') + 5, '>HH', 65_000, 65_000
    ),
    'JPEG of 60,000 EXIF segments': lambda: (
        b'\xff\xd8' + b'\xff\xe1\0\x08Exif\0\0' * 60_000 + small('JPEG')[2:]
    ),
    'JPEG whose EXIF claims 4 GiB': lambda: small(
        'JPEG',
        exif=b'Exif\0\0II*\0\x08\0\0\0\x01\0\x0e\x01\x02\0\xff\xff\xff\xff\x1a\0\0\0' + bytes(9),
    ),
    'WebP canvas of 16,384 x 16,384': lambda: patched(
        small('WEBP', save_all=True, append_images=[Image.new('RGB', (16, 16))]),
        24,
        '<IH',
        0x3FFF | 0x3F << 24,
        0x3FFF >> 8,
    ),
    'GIF of 65,535 x 65,535': lambda: patched(small('GIF'), 6, '<HH', 65535, 65535),
    'GIF of 500 frames': lambda: small(
        'GIF',
        save_all=True,
        append_images=[Image.new('RGB', (16, 16), (i % 256, 0, 9)) for i in range(500)],
    ),
    'BMP of 2 ** 31 x 2': lambda: patched(small('BMP'), 18, '<ii', 2**31 - 1, 2),
    'BMP of negative height': lambda: patched(small('BMP'), 18, '<ii', 16, -(2**31)),
    'PPM of 99,999 x 99,999': lambda: b'P6 99999 99999 255\n' + bytes(99),
    'PPM with a comment of 100 kB': lambda: b'P6 #' + b'x' * 100_000 + b'\n9 9 255\n' + bytes(300),
    'TIFF of 2 ** 30 x 2 ** 30': lambda: tiff(TIFF_TAGS | {256: (4, 1, 2**30), 257: (4, 1, 2**30)}),
    'TIFF of a tile of 2 ** 30': lambda: tiff(
        TIFF_TAGS | {322: (4, 1, 2**15), 323: (4, 1, 2**15), 324: (4, 1, 8), 325: (4, 1, 256)}
    ),
    'TIFF of 2 ** 31 values': lambda: tiff(TIFF_TAGS | {270: (2, 2**31, 8), 258: (3, 2**31, 8)}),
}

CHECKPOINTS = {
    'zip bomb': lambda: torch_zip(b'\x80\x02}.', bytes(100 * 2**20), deflate=True),
    'a tensor of 10 ** 18 numbers': lambda: torch_zip(tensor_pickle(0, (10**9, 10**9), (0, 0))),
    'a tensor beyond its storage': lambda: torch_zip(tensor_pickle(0, (10**6,), (1,))),
    'a tensor before its storage': lambda: torch_zip(tensor_pickle(-8, (4,), (1,))),
    'a negative stride': lambda: torch_zip(tensor_pickle(3, (4,), (-1,))),
    'overlapping tensors': lambda: torch_zip(tensor_pickle(0, (3, 3), (1, 0))),
    'lists in lists': lambda: torch_zip(laughs()),
    'a text of 2 GiB': lambda: torch_zip(b'\x80\x02X' + struct.pack('<I', 2**31 - 1) + b'a.'),
    'a legacy text of 2 GiB': lambda: b'\x80\x02X' + struct.pack('<I', 2**31 - 1) + b'a.',
    'bytes of 2 ** 62': lambda: torch_zip(b'\x80\x04\x8e' + struct.pack('<Q', 2**62) + b'a.'),
    'an entry 2 ** 31 of the memory': lambda: torch_zip(
        b'\x80\x02]r' + struct.pack('<I', 2**31 - 1) + b'.'
    ),
    'a list of depth 100,000': lambda: torch_zip(
        b'\x80\x02}X\x01\0\0\0a' + b']' * 100_000 + b'a' * 99_999 + b's.'
    ),
    'a call': lambda: torch_zip(b"cos\nsystem\n(S'touch /tmp/faults-were-run'\ntR."),
}

SAFETENSORS = {
    'a header of 2 ** 63': lambda: safetensors(b'{', 2**63),
    'a header of 2 ** 40': lambda: safetensors(b'{', 2**40),
    'a deep header': lambda: safetensors(b'{"a":' * 5000),
    'a tensor beyond the file': lambda: safetensors({'w': tensor_entry(0, 2**40)}),
    'a shape of 2 ** 80': lambda: safetensors({'w': tensor_entry(0, 16, shape=(2**40, 2**40))}),
    'two tensors of the same bytes': lambda: safetensors(
        {'a': tensor_entry(0, 8), 'b': tensor_entry(0, 8)}
    ),
    'offsets backwards': lambda: safetensors({'w': tensor_entry(16, 0)}),
}

INSTANCES = {
    'an image of 10 ** 9 x 10 ** 9': lambda: coco(height=10**9, width=10**9),
    'an open polygon': lambda: coco(segmentation=[[1, 1, 5]]),
    'a polygon of a point': lambda: coco(segmentation=[[1, 1]]),
    'a corner at infinity': lambda: coco(segmentation=[[1, 1, 1e300, 1, 5, 5]]),
    'no number as a corner': lambda: coco(segmentation=[['a', 1, 5, 1, 5, 5]]),
    'run lengths of another size': lambda: coco(segmentation=dict(size=[9, 9], counts=[81])),
    'run lengths too long': lambda: coco(segmentation=dict(size=[10, 12], counts=[2**62])),
    'run lengths of 8 GiB': lambda: coco(segmentation=dict(size=[10, 12], counts=[2**33])),
    'compressed run lengths of 5 * 2 ** 30': lambda: coco(
        segmentation=dict(size=[10, 12], counts='oooooo4')
    ),
    'negative run lengths': lambda: coco(segmentation=dict(size=[10, 12], counts=[240, -120])),
    'compressed run lengths too long': lambda: coco(
        segmentation=dict(size=[10, 12], counts='ooooooooo0')
    ),
    'an unknown category': lambda: coco(category_id=999),
    'an unknown image': lambda: coco(image_id=7),
    'a deep list': lambda: b'[' * 100_000,
}

YAML = {
    'aliases': anchors,
    'an object': lambda: b'!!python/object/apply:os.system ["touch /tmp/faults-were-run"]',
    'a deep list': lambda: b'[' * 100_000,
    'a merge': lambda: b'a: &a {b: 1}\nc:\n  <<: *a\n',
    '20 kB of names': lambda: b'- ab\n' * 4_000,
    'a key of 200 kB': lambda: b'"' + b'classs' * 33_000 + b'": 1\n',
    'a number of 100,000 digits': lambda: b'- ' + b'9' * 100_000,
}

JSON = {
    'a deep list': lambda: b'[' * 100_000,
    'a number of 100,000 digits': lambda: b'[' + b'9' * 100_000 + b']',
    'half a character': lambda: b'["\\ud800"]',
    'no number': lambda: b'{"classes": ["background", "a"], "bg_thresh": NaN}',
    'a key of 1 MB': lambda: b'{"' + b'classs' * 160_000 + b'": 1}',
    '10,000 names': lambda: json.dumps([f'w{i}' for i in range(10_000)]).encode(),
}

TEXT = {
    'a line of 1 MB': lambda: b'a' * 1_000_000,
    'spaces of 1 MB': lambda: b'a' + b' ' * 1_000_000 + b'b',
    'commas': lambda: b',' * 1_000_000,
    '50,000 names': lambda: '\n'.join(f'word{i}' for i in range(50_000)).encode(),
    'tabs and signs': lambda: b'\t#' * 300_000,
}

OPTIONS = {
    'brackets': lambda: b'a=' + b'[' * 100_000,
    'pairs of brackets': lambda: b'a=' + b'[' * 5_000 + b']' * 5_000,
    'commas': lambda: b'a=' + b'1,' * 3_000 + b'1',
    'a key of 10,000 names': lambda: b'a.' * 10_000 + b'b=1',
    'an index of 10 ** 30': lambda: b'a.' + b'9' * 30 + b'.b=1',
}

TABLES = {
    'open quotes': lambda: b'image,caption\n' + b'x.jpg,"a\n' * 20_000,
    'quotes in quotes': lambda: b'image,caption\n' + b'x.jpg,"a"b"\n' * 20_000,
    'no line ends': lambda: b'image,caption\n' + b'a,' * 1_000_000,
}

ANY_JSON = {
    'a deep list': lambda: b'[' * 100_000,
    'a deep object': lambda: b'{"a":' * 100_000,
    'a number of 100,000 digits': lambda: b'[' + b'9' * 100_000 + b']',
}

JOURNALS = {
    name: lambda make=make: b'{"set": "pets", "weights": "0"}\n' + make() + b'\n'
    for name, make in ANY_JSON.items()
}

BOMBS = {
    'shard': SHARDS,
    'image': IMAGES,
    'upload': IMAGES,
    'label map': IMAGES,
    'checkpoint': CHECKPOINTS,
    'safetensors': SAFETENSORS,
    'instances': INSTANCES,
    'class file, YAML': YAML,
    'class file, JSON': JSON,
    'class file, text': TEXT,
    'cfg-options': OPTIONS,
    'captions, table.csv': TABLES,
    'captions, flickr.txt': TEXT,
    'captions, coco.json': ANY_JSON,
    'captions, lines.jsonl': ANY_JSON,
    'sizes.json': ANY_JSON,
    'results of the page': ANY_JSON,
    'training log of the page': ANY_JSON,
    'caption': ANY_JSON,
    'journal': JOURNALS,
}
