"""Measures how much faster this plugin segments than the official procedure, in one process.

python tools/benchmarks/benchmark_inference.py [CONFIG] [--classes 21 171] [--threads 1]

The official procedure goes window by window, encodes each window twice (once for its segments, once
for its assignments), gives every class a score at every pixel and resizes all of them. Both get the
same images and random weights; rounds alternate, and the fastest round of each counts. --precisions
names those of the plugin. --exported adds runtimes of the exported model, in float32; as that takes
a whole image, all procedures then take one window. Its labels are those of the input's pixels,
resized to the label map, which moves borders between classes.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.command_line import add_device_argument, tool_main, tool_parser
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.export import FrozenSegmentor, export_program, metadata_of, to_onnx
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models.backbone_precision import precisions_of
from groupvit_mmseg.models.inference_options import PRECISIONS

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        'config',
        nargs='?',
        default=CONFIG,
        type=Path,
        help=f'segmentation or pretraining config (default: {CONFIG.name})',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        type=int,
        default=[21, 81, 171],
        metavar='K',
        help='numbers of classes, a row of the table each (default: 21 81 171)',
    )
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        default=[448, 597],
        metavar=('H', 'W'),
        help='pixels of the model input (default: 448 597)',
    )
    parser.add_argument(
        '--original',
        nargs=2,
        type=int,
        default=[375, 500],
        metavar=('H', 'W'),
        help='pixels of the label map (default: 375 500)',
    )
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=PRECISIONS,
        help='precisions of the plugin (default: fp32-plain fp32, and bf16 unless it is emulated)',
    )
    parser.add_argument(
        '--exported',
        nargs='+',
        choices=RUNTIMES,
        default=[],
        metavar='RUNTIME',
        help=f'runtimes of the exported model too: {", ".join(RUNTIMES)}',
    )
    parser.add_argument(
        '--rounds', type=int, default=3, help='rounds after a first that warms up (default: 3)'
    )
    parser.add_argument(
        '--threads', type=int, default=torch.get_num_threads(), help='threads of the CPU'
    )
    add_device_argument(parser)
    return parser.parse_args(argv)


def build(config: Path, num_classes: int, device: str) -> GroupViTSegmentor:
    """Build the segmentor of a config with made-up classes, random weights and no threshold."""
    cfg = segmentation_config(read_config(config))
    init_default_scope('mmseg')
    names = [f'thing {index}' for index in range(num_classes)]
    cfg.model.decode_head.update(class_names=names, with_background=False, bg_thresh=None)
    torch.manual_seed(0)
    segmentor = MODELS.build(cfg.model).to(device).eval()
    spread_weights(segmentor)
    segmentor.decode_head.encode_classes()
    return segmentor


@torch.no_grad()
def spread_weights(model: torch.nn.Module) -> None:
    """Make segments and classes differ, which initial weights leave alike."""
    for name, parameter in model.named_parameters():
        if 'group_token' in name or 'embed' in name.rsplit('.', 1)[-1]:
            parameter.normal_()
        elif parameter.ndim > 1:
            parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)


def official(segmentor: GroupViTSegmentor, image: Tensor, sample: SegDataSample) -> Tensor:
    """Return the label map of the official procedure."""
    head, extract = segmentor.decode_head, segmentor.backbone.encode

    def encode_decode(crop: Tensor, metas: list[dict]) -> Tensor:
        scores = head.segment_scores(head.segment_affinity(extract(crop)))
        group_map = extract(crop).group_map()
        return scores[0].T[:, group_map[0]][None]

    with mock.patch.object(segmentor, 'encode_decode', encode_decode):
        scores = EncoderDecoder.slide_inference(segmentor, image[None], [dict(sample.metainfo)])
    return segmentor.postprocess_result(scores, [sample])[0].pred_sem_seg.get('data')


def make_image(segmentor: GroupViTSegmentor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return smooth noise as pixels, RGB uint8 ``(H, W, 3)``, and normalised, ``(3, H, W)``."""
    noise = torch.nn.functional.interpolate(torch.randn(1, 3, 16, 16), tuple(size), mode='bicubic')
    pixels = (127 + 60 * noise[0]).clamp(0, 255).to(torch.uint8)  # (3, H, W)
    preprocessor = segmentor.data_preprocessor
    assert isinstance(preprocessor.mean, Tensor)
    assert isinstance(preprocessor.std, Tensor)
    mean, std = preprocessor.mean.cpu(), preprocessor.std.cpu()  # (3, 1, 1) each
    device = next(segmentor.parameters()).device
    return pixels.permute(1, 2, 0).contiguous(), ((pixels - mean) / std).to(device)


Runner = Callable[[NDArray[np.uint8]], NDArray[np.int64]]


def onnx_runner(content: bytes, threads: int) -> Runner:
    """Return ONNX Runtime on a model: a function from an image ``(1, H, W, 3)`` to class map."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return lambda image: np.asarray(session.run(['class_map'], {'image': image})[0])


def openvino_runner(content: bytes, threads: int) -> Runner:
    """Return OpenVINO on a model, as :func:`onnx_runner`."""
    import openvino

    core = openvino.Core()  # type: ignore[attr-defined]
    settings = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': threads}
    compiled = core.compile_model(core.read_model(model=content, weights=b''), 'CPU', settings)
    return lambda image: np.asarray(compiled([image])['class_map'])


RUNTIMES: dict[str, Callable[[bytes, int], Runner]] = {
    'onnxruntime': onnx_runner,
    'openvino': openvino_runner,
}


def exported_procedures(
    segmentor: GroupViTSegmentor, pixels: Tensor, args: argparse.Namespace
) -> dict[str, Callable[[SegDataSample], Tensor]]:
    """Export the model and return each runtime on it."""
    if not args.exported:
        return {}
    whole = copy.deepcopy(segmentor)
    whole.cpu()
    whole.test_cfg = dict(mode='whole')
    metadata = metadata_of(whole, short_side=min(args.size))
    with torch.inference_mode(False):
        content = to_onnx(export_program(FrozenSegmentor(whole)), metadata)
    image = pixels[None].numpy()

    def run(runner: Runner, sample: SegDataSample) -> Tensor:
        labels = torch.from_numpy(runner(image))[None].float()  # (1, 1, H, W)
        return torch.nn.functional.interpolate(labels, sample.metainfo['ori_shape'])[0].long()

    return {name: partial(run, RUNTIMES[name](content, args.threads)) for name in args.exported}


def plugin(
    segmentor: GroupViTSegmentor, image: Tensor, sample: SegDataSample, *, precision: str
) -> Tensor:
    """Return the label map of this plugin."""
    before = dict(segmentor.test_cfg)
    segmentor.test_cfg.update(with_scores=False, precision=precision)
    (result,) = segmentor.predict([image], [sample])
    segmentor.test_cfg = type(segmentor.test_cfg)(before)
    return result.pred_sem_seg.get('data')


def measure(function: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    """Return the seconds of one call by the clock, and its result."""
    start = time.perf_counter()
    result = function()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


@torch.inference_mode()
def compare(
    segmentor: GroupViTSegmentor, args: argparse.Namespace
) -> tuple[dict[str, float], dict[str, float], int]:
    """Measure the official procedure and every variant.

    Returns:
        tuple: Best seconds by name, share of labels equal to the official ones by variant, and how
        many classes the official labels have.
    """
    pixels, image = make_image(segmentor, args.size)
    if args.exported:
        segmentor.test_cfg = dict(mode='slide', crop_size=args.size, stride=args.size)
    meta = dict(ori_shape=tuple(args.original))
    procedures: dict[str, Callable[[SegDataSample], Tensor]] = {
        'official': partial(official, segmentor, image)
    }
    for precision in args.precisions:
        procedures[precision] = partial(plugin, segmentor, image, precision=precision)
    procedures |= exported_procedures(segmentor, pixels, args)
    times: dict[str, list[float]] = {name: [] for name in procedures}
    labels: dict[str, Tensor] = {}
    for _ in range(args.rounds + 1):
        for name, procedure in procedures.items():
            sample = SegDataSample(metainfo=dict(meta))
            seconds, labels[name] = measure(partial(procedure, sample), args.device)
            times[name].append(seconds)
    best = {name: min(seconds[1:]) for name, seconds in times.items()}  # the first warms up
    names = [name for name in procedures if name != 'official']
    equal = {n: (labels[n] == labels['official']).float().mean().item() for n in names}
    return best, equal, len(labels['official'].unique())


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    args.precisions = args.precisions or precisions_of(args.device)
    torch.set_num_threads(args.threads)
    print(f'{args.device}, {args.threads} threads, input {args.size}, label map {args.original}')
    variants = [*args.precisions, *args.exported]
    columns = [f'{name} | equal labels' for name in variants]
    print(f'| classes | of which seen | official s/image | {" | ".join(columns)} |')
    print('|---' * (3 + 2 * len(variants)) + '|')
    for num_classes in args.classes:
        best, equal, num_labels = compare(build(args.config, num_classes, args.device), args)
        cells = [f'{best["official"] / best[n]:.2f}x | {equal[n]:.2%}' for n in variants]
        print(
            f'| {num_classes} | {num_labels} | {best["official"]:.3f} | {" | ".join(cells)} |',
            flush=True,
        )


if __name__ == '__main__':
    sys.exit(main())
