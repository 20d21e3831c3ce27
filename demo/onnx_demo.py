"""Segments an image with an exported ONNX file: onnxruntime, NumPy and Pillow, no PyTorch.

python demo/onnx_demo.py IMAGE MODEL.onnx --out FILE.png

MODEL.onnx is of tools/model_converters/export_onnx.py.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('image', help='an image that Pillow reads')
    parser.add_argument('model', help='the .onnx file')
    parser.add_argument('--out', required=True, metavar='FILE.png', help='the classes in colours')
    parser.add_argument('--short-side', type=int, help='pixels; that of the export otherwise')
    return parser.parse_args(argv)


def check_out(args):
    """Raise ``ValueError`` if the result would replace the image or the model."""
    out = Path(args.out)
    for source in (args.image, args.model):
        if out.exists() and Path(source).exists() and out.samefile(source):
            raise ValueError(f'--out {out} would replace {source}: name another file.')


def read_image(path):
    """Read an image as RGB uint8 (H, W, 3), with the values that training and evaluation see."""
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no image at {path}.')
    try:
        with Image.open(path) as image:
            return on_white(ImageOps.exif_transpose(image), image.format)
    except Exception as error:  # decoders have no type of error in common
        raise ValueError(f'{path} cannot be read as an image: {error}.') from error


def on_white(image, file_format):
    """Lay a transparent image on white; of 16 bits the upper eight count."""
    key = image.info.get('transparency')
    if image.mode.startswith('I;16') or (file_format in ('PNG', 'PPM') and image.mode == 'I'):
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


def resize(image, short_side):
    """Resize bilinearly at the same aspect ratio."""
    scale = short_side / min(image.shape[:2])
    for axis in (0, 1):
        image = resize_axis(image, round(image.shape[axis] * scale), axis)
    return np.rint(image).astype(np.uint8)


def resize_axis(values, size, axis):
    """Interpolate linearly between the centres of pixels along one axis."""
    length = values.shape[axis]
    position = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, length - 1)
    weight = (position - low).reshape(-1, *[1] * (values.ndim - 1 - axis))
    return values.take(low, axis) * (1 - weight) + values.take(high, axis) * weight


def load_model(path):
    """Return an ONNX Runtime session and the metadata of the export."""
    import onnxruntime

    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no model at {path}.')
    try:
        session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime's errors have no type in common
        raise ValueError(f'{path} is not an ONNX file that onnxruntime reads.') from error
    metadata = session.get_modelmeta().custom_metadata_map
    if 'class_names' not in metadata:
        raise ValueError(f'{path} is not of export_onnx.py: it names no classes.')
    keys = ('class_names', 'short_side', 'smallest_side')
    return session, {key: json.loads(metadata[key]) for key in keys}


def segment(image, model, short_side=None):
    """Return the class map and the group map at the image's size, and the class names."""
    session, metadata = load_model(model)
    smallest = metadata['smallest_side']
    height, width = image.shape[:2]
    if 2 * min(height, width) < smallest:
        raise ValueError(f'The image has {width} x {height} pixels: too few.')
    if short_side is not None and short_side < smallest:
        raise ValueError(
            f'--short-side {short_side} is below the {smallest} pixels of two patches.'
        )
    side = max(metadata['short_side'] if short_side is None else short_side, smallest)
    maps = session.run(['class_map', 'group_map'], {'image': resize(image, side)[None]})
    class_map, group_map = (nearest(np.asarray(m)[0], height, width) for m in maps)
    return class_map, group_map, metadata['class_names']


def nearest(values, height, width):
    """Resize a map to the nearest pixels."""
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    return values[rows][:, columns]


def palette(count):
    """Return a colour per class; the first is black."""
    colours = np.random.default_rng(1).integers(60, 256, (count, 3), dtype=np.uint8)
    colours[0] = 0
    return colours


def main(argv=None):
    args = parse_args(argv)
    try:
        check_out(args)
        class_map, group_map, names = segment(read_image(args.image), args.model, args.short_side)
        Image.fromarray(palette(len(names))[class_map]).save(args.out, format='PNG')
    except (ImportError, OSError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    print(f'{len(np.unique(group_map))} groups')
    for index, count in enumerate(np.bincount(class_map.ravel(), minlength=len(names))):
        if count:
            share = count / class_map.size
            print(f'{names[index]}:', '<0.1%' if share < 0.001 else f'{share:.1%}')
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
