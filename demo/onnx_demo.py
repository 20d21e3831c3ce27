"""Segments a picture with an exported ONNX file: onnxruntime and NumPy alone, no PyTorch.

python demo/onnx_demo.py IMAGE MODEL.onnx --out FILE.png

MODEL.onnx is of tools/model_converters/export_onnx.py. IMAGE is a .npy (RGB uint8 (H, W, 3)) or a
binary .ppm; other formats are read with Pillow, if that is installed.
"""

import argparse
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image', help='.npy, .ppm, or what Pillow reads')
    parser.add_argument('model', help='the .onnx file')
    parser.add_argument('--out', required=True, metavar='FILE.png', help='the classes in colours')
    parser.add_argument('--short-side', type=int, help='pixels; that of the export otherwise')
    return parser.parse_args(argv)


def check_out(args):
    """The result replaces neither the picture nor the model."""
    out = Path(args.out)
    for source in (args.image, args.model):
        if out.exists() and Path(source).exists() and out.samefile(source):
            raise ValueError(f'--out {out} would replace {source}: name another file.')


def read_picture(path):
    """RGB uint8 (H, W, 3)."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no picture at {path}.')
    if path.suffix == '.npy':
        picture = np.load(path, allow_pickle=False)
    elif path.suffix == '.ppm':
        picture = parse_ppm(path.read_bytes())
    else:
        picture = read_with_pillow(path)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f'{path} must hold RGB (H, W, 3) uint8, not {picture.shape}.')
    return np.ascontiguousarray(picture)


def parse_ppm(data):
    """A binary PPM: P6, width, height, 255, then the pixels."""
    fields = data.split(maxsplit=4)[:4]
    if len(fields) < 4 or fields[0] != b'P6' or fields[3] != b'255':
        raise ValueError('The .ppm must be binary (P6), of 8 bits and without comments.')
    width, height = int(fields[1]), int(fields[2])
    if not 0 < 3 * width * height < len(data):
        raise ValueError(f'The .ppm says {width} x {height} pixels, but has {len(data)} bytes.')
    pixels = np.frombuffer(data[-3 * width * height :], np.uint8)
    return pixels.reshape(height, width, 3)


def read_with_pillow(path):
    """Any other format, with the values that training and evaluation give it."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError(f'Reading {path} needs Pillow: install it, or give a .ppm.') from None
    try:
        with Image.open(path) as image:
            return on_white(ImageOps.exif_transpose(image), image.format)
    except Exception as error:  # decoders have no type of error in common
        raise ValueError(f'{path} cannot be read as a picture: {error}.') from error


def on_white(image, kind):
    """Red-green-blue; transparency shows white, and of 16 bits the upper eight count."""
    key = image.info.get('transparency')
    if image.mode.startswith('I;16') or (kind in ('PNG', 'PPM') and image.mode == 'I'):
        values = np.asarray(image)
        gray = np.where(values == key, 255, values >> 8) if isinstance(key, int) else values >> 8
        return np.repeat(gray.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ('I', 'F'):
        raise ValueError('its pixels have 32 bits: save it with 8 or 16')
    if 'transparency' not in image.info and image.mode not in ('LA', 'La', 'PA', 'RGBA', 'RGBa'):
        return np.asarray(image.convert('RGB'))
    values = np.asarray(image.convert('RGBA')).astype(np.uint16)
    colours, alpha = values[..., :3], values[..., 3:]
    return ((colours * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resize(picture, short_side):
    """Bilinear, aspect kept."""
    scale = short_side / min(picture.shape[:2])
    for axis in (0, 1):
        picture = resize_axis(picture, round(picture.shape[axis] * scale), axis)
    return np.rint(picture).astype(np.uint8)


def resize_axis(values, size, axis):
    """Linear interpolation between the centres of pixels along one axis."""
    length = values.shape[axis]
    place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, length - 1)
    shape = [1] * values.ndim
    shape[axis] = size
    weight = (place - low).reshape(shape)
    return values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight


def segment(picture, model, short_side=None):
    """Class map and group map of the picture's size, and the class names."""
    import onnxruntime

    if not Path(model).is_file():
        raise FileNotFoundError(f'There is no model at {model}.')
    try:
        session = onnxruntime.InferenceSession(str(model), providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime's errors have no type in common
        raise ValueError(f'{model} is not an ONNX file that onnxruntime reads.') from error
    metadata = session.get_modelmeta().custom_metadata_map
    if 'class_names' not in metadata:
        raise ValueError(f'{model} is not of export_onnx.py: it names no classes.')
    smallest, trained = (json.loads(metadata[key]) for key in ('smallest_side', 'short_side'))
    if 2 * min(picture.shape[:2]) < smallest:
        raise ValueError(
            f'The picture has {picture.shape[1]} x {picture.shape[0]} pixels: too few.'
        )
    if short_side is not None and short_side < smallest:
        raise ValueError(
            f'--short-side {short_side} is below the {smallest} pixels of two patches.'
        )
    side = max(trained if short_side is None else short_side, smallest)
    maps = session.run(['class_map', 'group_map'], {'image': resize(picture, side)[None]})
    height, width = picture.shape[:2]
    class_map, group_map = (nearest(np.asarray(m)[0], height, width) for m in maps)
    return class_map, group_map, json.loads(metadata['class_names'])


def nearest(values, height, width):
    """A map of another size."""
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    return values[rows][:, columns]


def palette(count):
    """A colour per class; the first is black."""
    colours = np.random.default_rng(1).integers(60, 256, (count, 3), dtype=np.uint8)
    colours[0] = 0
    return colours


def write_png(path, picture):
    """RGB uint8 (H, W, 3) as a PNG file."""
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter, none
    rows[:, 1:] = picture.reshape(height, -1)
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(rows.tobytes())), (b'IEND', b''))
    with open(path, 'wb') as stream:
        stream.write(b'\x89PNG\r\n\x1a\n')
        for kind, data in chunks:
            stream.write(struct.pack('>I', len(data)) + kind + data)
            stream.write(struct.pack('>I', zlib.crc32(kind + data)))


def main(argv=None):
    args = parse_args(argv)
    try:
        check_out(args)
        class_map, group_map, names = segment(read_picture(args.image), args.model, args.short_side)
        write_png(args.out, palette(len(names))[class_map])
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{len(np.unique(group_map))} groups')
    for index, count in enumerate(np.bincount(class_map.ravel(), minlength=len(names))):
        if count:
            print(f'{names[index]}: {count / class_map.size:.1%}')
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
