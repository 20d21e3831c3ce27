"""Measures segmentation against the official procedure, side by side in one process, as a ratio.

python tools/benchmarks/benchmark_inference.py [CONFIG] [--classes 21 171] [--threads 1]

The official procedure goes window by window, encodes each window twice (once for its segments, once
for its assignments), gives every class a score at every pixel and resizes all of them. Both see the
same images and random weights; rounds alternate, and the fastest of each counts. Once with oneDNN
in the place of PyTorch's own float32 products, as the plugin segments on CPUs, and once without.
"""

import argparse
import time
from pathlib import Path
from unittest import mock

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.models import onednn as onednn_module

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
)
WAYS = {'fp32, own products': {}, 'fp32': {}, 'bf16': dict(precision='bf16')}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='?', default=CONFIG, type=Path)
    parser.add_argument('--classes', nargs='+', type=int, default=[21, 81, 171])
    parser.add_argument('--size', nargs=2, type=int, default=[448, 597], metavar=('H', 'W'))
    parser.add_argument('--original', nargs=2, type=int, default=[375, 500], metavar=('H', 'W'))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args(argv)


def build(config, num_classes, device):
    """The segmentor of a config with made-up classes, random weights and no threshold."""
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
def spread_weights(model):
    """Make segments and classes differ, which initial weights leave alike."""
    for name, parameter in model.named_parameters():
        if 'group_token' in name or 'embed' in name.rsplit('.', 1)[-1]:
            parameter.normal_()
        elif parameter.ndim > 1:
            parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)


def official(segmentor, image, sample):
    """Window by window, encoded twice, all classes at all pixels; the label map."""
    head, extract = segmentor.decode_head, segmentor.backbone.encode

    def encode_decode(crop, metas):
        scores = head.segment_scores(head.segment_affinity(extract(crop)))
        group_map = extract(crop).group_map()
        return scores[0].T[:, group_map[0]][None]

    segmentor.encode_decode = encode_decode
    scores = EncoderDecoder.slide_inference(segmentor, image[None], [dict(sample.metainfo)])
    del segmentor.encode_decode
    return segmentor.postprocess_result(scores, [sample])[0].pred_sem_seg.data


def ours(segmentor, image, sample, *, onednn=True, **test_cfg):
    """The plugin's way; the label map."""
    before = dict(segmentor.test_cfg)
    segmentor.test_cfg.update(with_scores=False, **test_cfg)
    with mock.patch.object(onednn_module, 'AVAILABLE', onednn and onednn_module.AVAILABLE):
        (result,) = segmentor.predict([image], [sample])
    segmentor.test_cfg = type(segmentor.test_cfg)(before)
    return result.pred_sem_seg.data


def seconds(function, device):
    """Wall-clock time of one call, and what it returns."""
    start = time.perf_counter()
    result = function()
    if device.startswith('cuda'):
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


@torch.inference_mode()
def compare(segmentor, args):
    """Best times of the official procedure and of ours; share of equal labels; labels seen."""
    image = torch.nn.functional.interpolate(
        torch.randn(1, 3, 16, 16, device=args.device), args.size, mode='bicubic'
    )[0]
    meta = dict(ori_shape=tuple(args.original))
    ways = {'official': lambda sample: official(segmentor, image, sample)}
    for name, settings in WAYS.items():
        ways[name] = lambda sample, n=name, s=settings: ours(
            segmentor, image, sample, onednn='own' not in n, **s
        )
    times, labels = {name: [] for name in ways}, {}
    for _ in range(args.rounds + 1):
        for name, way in ways.items():
            sample = SegDataSample(metainfo=dict(meta))
            spent, labels[name] = seconds(lambda way=way, s=sample: way(s), args.device)
            times[name].append(spent)
    best = {name: min(spent[1:]) for name, spent in times.items()}  # the first warms up
    equal = {n: (labels[n] == labels['official']).float().mean().item() for n in WAYS}
    return best, equal, len(labels['official'].unique())


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    print(f'{args.device}, {args.threads} threads, input {args.size}, picture {args.original}')
    columns = [f'{name} | equal labels' for name in WAYS]
    print(f'| classes | of which seen | official s/image | {" | ".join(columns)} |')
    print('|---' * (3 + 2 * len(WAYS)) + '|')
    for num_classes in args.classes:
        best, equal, seen = compare(build(args.config, num_classes, args.device), args)
        cells = [f'{best["official"] / best[n]:.2f}x | {equal[n]:.2%}' for n in WAYS]
        print(
            f'| {num_classes} | {seen} | {best["official"]:.3f} | {" | ".join(cells)} |', flush=True
        )
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
