"""Measures how many labels a precision changes: it and fp32 on the same images, pixel by pixel.

python tools/benchmarks/compare_precision.py CHECKPOINT --set voc21 --data-root data
python tools/benchmarks/compare_precision.py CHECKPOINT --precision int8 --set voc21

--set, --config, --protocol and --change are those of tools/evaluate.py; the mIoU is that of the
compared images.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from groupvit_mmseg.benchmark.command_line import add_protocol_arguments
from groupvit_mmseg.benchmark.option_checks import check_options_are_used
from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.benchmark.sets import select_sets
from groupvit_mmseg.benchmark.task import EvaluationSettings, EvaluationTask
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.evaluation.confusion import (
    Pairs,
    confusion_matrix,
    count_pairs,
    segmentation_scores,
)
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
EXACT = 'fp32'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--set', default='voc21', help='a set of tools/evaluate.py (default: voc21)'
    )
    parser.add_argument(
        '--data-root', type=Path, default=Path('data'), help='folder of all sets (default: data)'
    )
    parser.add_argument('--root', help='folder of the set (default: its own below --data-root)')
    add_model_config_argument(parser)
    add_protocol_arguments(parser)
    parser.add_argument(
        '--images', type=int, metavar='N', help='use N images, evenly spread over the set'
    )
    parser.add_argument(
        '--precision',
        choices=[each for each in PRECISIONS if each not in (EXACT, 'auto')],
        default='bf16',
        help='precision that is compared with fp32 (default: bf16)',
    )
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='file to write')
    return parser.parse_args(argv)


def open_task(args: argparse.Namespace, out: Path) -> EvaluationTask:
    """Open the set under its protocol."""
    if args.set in ('all', 'imagenet'):
        raise ValueError(f'{args.set} is no set to segment: name one with --set.')
    if args.images is not None and args.images < 1:
        raise ValueError(f'--images {args.images} must be at least 1.')
    check_source(args.checkpoint)
    (benchmark,) = benchmarks = select_sets([args.set])
    settings = EvaluationSettings(
        out=out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots={benchmark.name: args.root} if args.root else {},
        protocol=args.protocol,
        changes=args.change,
    )
    check_options_are_used(benchmarks, settings)
    return EvaluationTask(benchmark, settings)


def spread_indices(count: int, limit: int | None) -> list[int]:
    """Return the indices of ``limit`` images, evenly spread over ``count``."""
    size = min(limit or count, count)
    return [index * count // size for index in range(size)]


@torch.inference_mode()
def compare(
    segmentor: GroupViTSegmentor, task: EvaluationTask, indices: Sequence[int], precision: str
) -> tuple[float, dict[str, list[Pairs]]]:
    """Return the share of equal labels, and each precision's (label, prediction) pairs."""
    equal, total = 0, 0
    pairs: dict[str, list[Pairs]] = {EXACT: [], precision: []}
    for index in indices:
        labels = {}
        for name in pairs:
            segmentor.test_cfg.precision = name
            (sample,) = segmentor.test_step(pseudo_collate([task.dataset[index]]))
            labels[name] = sample.pred_sem_seg.get('data')[0].cpu()
            truth = sample.gt_sem_seg.get('data')[0].cpu()
            pairs[name].append(count_pairs(truth, labels[name], len(task.names)))
        equal += int((labels[EXACT] == labels[precision]).sum())
        total += truth.numel()
    return equal / total, pairs


def measure(args: argparse.Namespace) -> dict:
    """Return the content of the result file."""
    with tempfile.TemporaryDirectory() as out:
        task = open_task(args, Path(out))
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    task.set_up(segmentor, segmentor.decode_head.logit_scale.exp().item())
    indices = spread_indices(len(task.dataset), args.images)
    equal, pairs = compare(segmentor, task, indices, args.precision)
    if not any(pairs[EXACT]):
        raise ValueError(f'No pixel of the {len(indices)} masks counts: all are ignored.')
    return dict(
        set=task.name,
        images=len(indices),
        same_labels=100 * equal,
        mIoU={
            name: segmentation_scores(confusion_matrix(own_pairs, len(task.names))).miou
            for name, own_pairs in pairs.items()
        },
        protocol=task.protocol.fields(),
        checkpoint=task.settings.weights,
        versions=versions(),
    )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print and write."""
    args = parse_args(argv)
    init_default_scope('mmseg')
    check_output(args.out, reads=[args.checkpoint, args.config, args.set])
    result = measure(args)
    miou = ', '.join(f'{name} {value:.2f}' for name, value in result['mIoU'].items())
    print(
        f'{result["set"]}, {result["images"]} images: {result["same_labels"]:.3f} % of the pixels '
        f'have the same label; mIoU {miou}'
    )
    if args.out:
        write_json(result, args.out)
        print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
