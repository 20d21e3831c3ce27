r"""Exports a segmentor with fixed classes as a graph from an image to class map and group map.

python tools/model_converters/export_onnx.py CONFIG CHECKPOINT --whole \
    --classes "a cat, a dog" --out F.onnx
python tools/model_converters/export_onnx.py CHECKPOINT --whole --classes "a cat" --out F.onnx

The input is an RGB uint8 image (1, H, W, 3) of any size, the outputs are int64 maps (1, H, W);
class names, threshold and the size to resize images to are in the metadata. --out FILE.pt2 writes a
torch.export program instead. Before anything is written, the graph is compared with PyTorch on the
images of --check, or a generated one.
"""

import argparse
import io
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.command_line import (
    add_config_and_checkpoint_arguments,
    check_config_and_checkpoint,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.export import (
    FrozenSegmentor,
    difference,
    export_program,
    metadata_of,
    onnx_maps,
    to_onnx,
    to_pt2,
)
from groupvit_mmseg.inference import GroupViTInferencer, load_image
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.vocabulary import parse_class_names


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add_config_and_checkpoint_arguments(parser)
    parser.add_argument('--classes', help='"a cat, a dog"; default: the classes of the config')
    parser.add_argument('--bg-thresh', type=float, help='in [0, 1]')
    parser.add_argument('--thresholds', help='of single classes, in [0, 1]: "cat=0.6, dog=0.4"')
    parser.add_argument('--out', required=True, metavar='FILE.onnx', help='or FILE.pt2')
    parser.add_argument(
        '--whole',
        action='store_true',
        help='segment whole images, although the config slides windows, which a graph does not',
    )
    parser.add_argument('--check', nargs='+', default=[], metavar='IMAGE', help='to compare on')
    parser.add_argument('--no-check', action='store_true', help='write without comparing')
    return parser.parse_intermixed_args(argv)  # an optional argument before another needs it


def build(args: argparse.Namespace) -> GroupViTInferencer:
    """Check the options and build the inferencer with its segmentor."""
    check_config_and_checkpoint(args.config, args.checkpoint)
    if Path(args.out).suffix not in ('.onnx', '.pt2'):
        raise ValueError(f'--out {args.out} must end in .onnx or .pt2.')
    if args.check and args.no_check:
        raise ValueError('--check IMAGE and --no-check exclude each other: give one of them.')
    check_output(args.out, reads=[args.config or '', args.checkpoint, *args.check])
    names = None if args.classes is None else parse_class_names(args.classes)
    inferencer = GroupViTInferencer.from_pretrained(
        args.checkpoint,
        config=args.config,
        class_names=names,
        bg_thresh=args.bg_thresh,
        class_thresholds=args.thresholds,
    )
    segmentor = inferencer.segmentor
    if segmentor.test_cfg.get('mode') == 'slide':
        if not args.whole:
            raise ValueError(
                f'{args.config or "The default protocol"} slides windows over images, and the '
                'exported graph segments whole images, which gives other labels: give --whole to '
                'accept that.'
            )
        segmentor.test_cfg = {**segmentor.test_cfg, 'mode': 'whole'}
    return inferencer


def generated_image(side: int) -> NDArray[np.uint8]:
    """Return an image of random rectangles, neither square nor a multiple of the patch size."""
    rng = np.random.default_rng(0)
    image = np.zeros((side + 5, side + side // 3, 3), np.uint8)
    for _ in range(12):
        top, left = rng.integers(0, side, 2)
        height, width = rng.integers(side // 8, side, 2)
        image[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return image


def check(
    model: FrozenSegmentor, content: bytes, suffix: str, images: Mapping[str, NDArray[np.uint8]]
) -> None:
    """Compare the exported graph with PyTorch.

    Args:
        model (FrozenSegmentor): The model.
        content (bytes): The exported file.
        suffix (str): Its suffix.
        images (Mapping[str, NDArray]): Images ``(H, W, 3)`` by name.

    Raises:
        RuntimeError: If maps differ at pixels with a margin.
    """
    for name, image in images.items():
        maps = onnx_maps(content, image) if suffix == '.onnx' else pt2_maps(content, image)
        result = difference(model, image, maps)
        print(f'{name}: {result.pixels} of {maps[0].size} pixels differ from PyTorch', end=', ')
        print(f'{result.unexplained} of them with a margin of 1e-4 or more')
        if result.unexplained:
            raise RuntimeError(f'The exported graph differs on {name}; nothing was written.')


def pt2_maps(content: bytes, image: NDArray[np.uint8]) -> tuple[NDArray, NDArray]:
    """Return class map and group map that a ``.pt2`` file computes of an image."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # torch, about buffers that it reads itself
        program = torch.export.load(io.BytesIO(content)).module()
    with torch.no_grad():
        class_map, group_map = program(torch.from_numpy(image)[None])
    return class_map.numpy(), group_map.numpy()


def export(args: argparse.Namespace) -> None:
    inferencer = build(args)
    side = inferencer.short_side()
    images = {name: load_image(name) for name in args.check}
    images = images or {'a generated image': generated_image(side)}
    model = FrozenSegmentor(inferencer.segmentor)
    metadata = metadata_of(inferencer.segmentor, side)
    suffix = Path(args.out).suffix
    content = (to_onnx if suffix == '.onnx' else to_pt2)(export_program(model), metadata)
    if not args.no_check:
        check(model, content, suffix, images)
    write_atomically(args.out, lambda stream: stream.write(content))
    print(f'wrote {args.out}: {len(metadata.class_names)} classes, {len(content) / 2**20:.0f} MiB')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    export(parse_args(argv))


if __name__ == '__main__':
    sys.exit(main())
