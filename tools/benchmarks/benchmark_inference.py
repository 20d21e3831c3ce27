"""Measures how much faster this plugin segments than the official procedure, in one process.

python tools/benchmarks/benchmark_inference.py [CONFIG] [--classes 21 171] [--threads 1]

The official procedure goes window by window, encodes each window twice (once for its segments, once
for its assignments), gives every class a score at every pixel and resizes all of them. Both get the
same images and random weights; rounds alternate, and the fastest round of each counts. Float32 is
measured with oneDNN's matrix products, which the plugin uses on CPUs, and with PyTorch's own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.command_line import add_device_argument, tool_main, tool_parser
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models import onednn as onednn_module

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
)
# Column of the table: whether oneDNN is used, and the precision.
VARIANTS = {'fp32, own products': (False, 'fp32'), 'fp32': (True, 'fp32'), 'bf16': (True, 'bf16')}


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


def plugin(
    segmentor: GroupViTSegmentor,
    image: Tensor,
    sample: SegDataSample,
    *,
    onednn: bool,
    precision: str,
) -> Tensor:
    """Return the label map of this plugin."""
    before = dict(segmentor.test_cfg)
    segmentor.test_cfg.update(with_scores=False, precision=precision)
    with mock.patch.object(onednn_module, 'AVAILABLE', onednn and onednn_module.AVAILABLE):
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
    image = torch.nn.functional.interpolate(
        torch.randn(1, 3, 16, 16, device=args.device), args.size, mode='bicubic'
    )[0]
    meta = dict(ori_shape=tuple(args.original))
    procedures: dict[str, Callable[[SegDataSample], Tensor]] = {
        'official': partial(official, segmentor, image)
    }
    for name, (onednn, precision) in VARIANTS.items():
        procedures[name] = partial(plugin, segmentor, image, onednn=onednn, precision=precision)
    times: dict[str, list[float]] = {name: [] for name in procedures}
    labels: dict[str, Tensor] = {}
    for _ in range(args.rounds + 1):
        for name, procedure in procedures.items():
            sample = SegDataSample(metainfo=dict(meta))
            seconds, labels[name] = measure(partial(procedure, sample), args.device)
            times[name].append(seconds)
    best = {name: min(seconds[1:]) for name, seconds in times.items()}  # the first warms up
    equal = {n: (labels[n] == labels['official']).float().mean().item() for n in VARIANTS}
    return best, equal, len(labels['official'].unique())


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    print(f'{args.device}, {args.threads} threads, input {args.size}, label map {args.original}')
    columns = [f'{name} | equal labels' for name in VARIANTS]
    print(f'| classes | of which seen | official s/image | {" | ".join(columns)} |')
    print('|---' * (3 + 2 * len(VARIANTS)) + '|')
    for num_classes in args.classes:
        best, equal, num_labels = compare(build(args.config, num_classes, args.device), args)
        cells = [f'{best["official"] / best[n]:.2f}x | {equal[n]:.2%}' for n in VARIANTS]
        print(
            f'| {num_classes} | {num_labels} | {best["official"]:.3f} | {" | ".join(cells)} |',
            flush=True,
        )


if __name__ == '__main__':
    sys.exit(main())
