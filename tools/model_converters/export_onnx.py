r"""Exports a segmentor with its words frozen in: picture in, class map and group map out.

python tools/model_converters/export_onnx.py CONFIG CHECKPOINT --whole \
    --classes "a cat, a dog" --out F.onnx

The file takes an RGB uint8 picture (1, H, W, 3) of any size and gives int64 maps (1, H, W); class
names, threshold and the size to resize pictures to are in its metadata. --out FILE.pt2 writes a
torch.export program instead. Before anything is written, the graph is compared with PyTorch on
pictures: those of --check, or a generated one.
"""

import argparse
import io
import pickle
import sys
import warnings
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.export import (
    FrozenSegmentor,
    difference,
    export_program,
    metadata_of,
    onnx_maps,
    to_onnx,
    to_pt2,
)
from groupvit_mmseg.inference import GroupViTInferencer, load_image, segmentation_config
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.vocabulary import parse_class_names

ERRORS = (ImportError, KeyError, OSError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='segmentation or pretraining config')
    parser.add_argument('checkpoint', help='checkpoint of a pretrainer or a segmentor')
    parser.add_argument('--classes', help='"a cat, a dog"; the classes of the config otherwise')
    parser.add_argument('--bg-thresh', type=float, help='in [0, 1]')
    parser.add_argument('--out', required=True, metavar='FILE.onnx', help='or FILE.pt2')
    parser.add_argument(
        '--whole',
        action='store_true',
        help='segment pictures whole where the config slides windows, which a graph does not',
    )
    parser.add_argument('--check', nargs='+', default=[], metavar='IMAGE', help='to compare on')
    parser.add_argument('--no-check', action='store_true', help='write without comparing')
    return parser.parse_args(argv)


def build(args):
    """The inferencer with its segmentor."""
    if not Path(args.config).is_file():
        raise FileNotFoundError(f'There is no config at {args.config}.')
    if Path(args.out).suffix not in ('.onnx', '.pt2'):
        raise ValueError(f'--out {args.out} must end in .onnx or .pt2.')
    if args.check and args.no_check:
        raise ValueError('--check IMAGE and --no-check exclude each other: give one of them.')
    check_output(args.out, reads=[args.config, args.checkpoint, *args.check])
    names = None if args.classes is None else parse_class_names(args.classes)
    inferencer = GroupViTInferencer(
        args.config, args.checkpoint, class_names=names, bg_thresh=args.bg_thresh
    )
    segmentor = inferencer.segmentor
    if segmentor.test_cfg.get('mode') == 'slide':
        if not args.whole:
            raise ValueError(
                f'{args.config} slides windows over pictures, and the exported graph takes them '
                'whole, which gives other labels: say --whole to have that.'
            )
        segmentor.test_cfg = {**segmentor.test_cfg, 'mode': 'whole'}
    return inferencer


def short_side(config, backbone):
    """Pixels to which the config resizes the shorter side of a picture.

    Where it resizes none, the side of the pictures that the backbone learnt from.

    Raises:
        ValueError: If the config does something else to pictures.
    """
    side = min(backbone.grid_shape) * backbone.patch_size
    for step in segmentation_config(config).test_dataloader.dataset.pipeline:
        kind = step['type'].rpartition('.')[-1]
        if kind == 'Resize' and step.get('keep_ratio'):
            scale = step['scale']
            side = min(scale) if isinstance(scale, (tuple, list)) else scale
        elif not kind.startswith(('Load', 'Pack')):
            raise ValueError(
                f'The test pipeline has a {kind} that an export does not carry: use a Resize with '
                'keep_ratio=True alone.'
            )
    return side


def generated_picture(side):
    """A picture of rectangles in random colours, neither square nor of whole patches."""
    rng = np.random.default_rng(0)
    picture = np.zeros((side + 5, side + side // 3, 3), np.uint8)
    for _ in range(12):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 8, side, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return picture


def check(model, content, suffix, pictures):
    """Compare the exported graph with PyTorch.

    Raises:
        RuntimeError: If maps differ where the margin does not explain it.
    """
    for name, picture in pictures.items():
        maps = onnx_maps(content, picture) if suffix == '.onnx' else pt2_maps(content, picture)
        found = difference(model, picture, maps)
        print(f'{name}: {found.pixels} of {maps[0].size} pixels differ from PyTorch', end=', ')
        print(f'{found.unexplained} of them with a margin of 1e-4 or more')
        if found.unexplained:
            raise RuntimeError(f'The exported graph differs on {name}; nothing was written.')


def pt2_maps(content, picture):
    """Class map and group map of a ``.pt2`` file's content."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch about buffers that it itself reads
        program = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        return tuple(m.numpy() for m in program(torch.from_numpy(picture)[None]))


def export(args):
    inferencer = build(args)
    side = short_side(read_config(args.config), inferencer.segmentor.backbone)
    pictures = {name: load_image(name) for name in args.check}
    pictures = pictures or {'a generated picture': generated_picture(side)}
    model = FrozenSegmentor(inferencer.segmentor)
    metadata = metadata_of(inferencer.segmentor, side)
    suffix = Path(args.out).suffix
    content = (to_onnx if suffix == '.onnx' else to_pt2)(export_program(model), metadata)
    if not args.no_check:
        check(model, content, suffix, pictures)
    write_atomically(args.out, lambda stream: stream.write(content))
    print(f'wrote {args.out}: {len(metadata.class_names)} classes, {len(content) / 2**20:.0f} MiB')


def main(argv=None):
    args = parse_args(argv)
    try:
        export(args)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
