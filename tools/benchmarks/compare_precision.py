"""How much bf16 changes a model's labels: both precisions on the same images, pixel by pixel.

python tools/benchmarks/compare_precision.py CHECKPOINT --set voc21 --data-root data

--set, --config, --protocol and --change are those of tools/evaluate.py; the mIoU is of the images
that were compared.
"""

import argparse
import pickle
import sys
import tempfile
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope

from groupvit_mmseg.benchmark.option_checks import check_options_are_used
from groupvit_mmseg.benchmark.protocols import PRESETS
from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.benchmark.sets import chosen_sets
from groupvit_mmseg.benchmark.task import EvaluationSettings, EvaluationTask
from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.evaluation.confusion import confusion_matrix, count_pairs, segmentation_scores
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
ERRORS = (ImportError, OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)
PRECISIONS = ('fp32', 'bf16')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument('--set', default='voc21', help='a set of tools/evaluate.py')
    parser.add_argument('--data-root', type=Path, default=Path('data'), help='holds the sets')
    parser.add_argument('--root', help='folder of the set, if elsewhere')
    parser.add_argument('--config', type=Path, default=MODEL, help='of the model')
    parser.add_argument('--protocol', default='official', choices=PRESETS)
    parser.add_argument(
        '--change',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='FIELD=VALUE',
        help='of it',
    )
    parser.add_argument('--images', type=int, help='of the set, evenly spread; all otherwise')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', type=Path, metavar='FILE.json')
    return parser.parse_args(argv)


def open_task(args, out):
    """The set and its protocol."""
    if args.set in ('all', 'imagenet'):
        raise ValueError(f'{args.set} is no set to segment: name one with --set.')
    if args.images is not None and args.images < 1:
        raise ValueError(f'--images {args.images} must be at least 1.')
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint at {args.checkpoint}.')
    (benchmark,) = chosen = chosen_sets([args.set])
    settings = EvaluationSettings(
        out=out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots={benchmark.name: args.root} if args.root else {},
        protocol=args.protocol,
        changes=args.change,
    )
    check_options_are_used(chosen, settings)
    return EvaluationTask(benchmark, settings)


def indices(count, wanted):
    """Images to compare on."""
    if wanted is not None and wanted < 1:
        raise ValueError(f'--images {wanted} leaves no image to compare on.')
    wanted = min(wanted or count, count)
    return [index * count // wanted for index in range(wanted)]


@torch.inference_mode()
def compare(segmentor, task, chosen):
    """Pixels, those labelled alike, and the pairs of (label, prediction) in each precision."""
    alike, total, pairs = 0, 0, {precision: [] for precision in PRECISIONS}
    for index in chosen:
        labels = {}
        for precision in PRECISIONS:
            segmentor.test_cfg.precision = precision
            (sample,) = segmentor.test_step(pseudo_collate([task.dataset[index]]))
            labels[precision] = sample.pred_sem_seg.data[0].cpu()
            truth = sample.gt_sem_seg.data[0].cpu()
            pairs[precision].append(count_pairs(truth, labels[precision], len(task.names)))
        alike += int((labels['fp32'] == labels['bf16']).sum())
        total += truth.numel()
    return alike, total, pairs


def measure(args):
    """The result file's content."""
    with tempfile.TemporaryDirectory() as out:
        task = open_task(args, Path(out))
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    task.set_up(segmentor, segmentor.decode_head.logit_scale.exp().item())
    chosen = indices(len(task.dataset), args.images)
    alike, total, pairs = compare(segmentor, task, chosen)
    if not any(pairs[PRECISIONS[0]]):
        raise ValueError(f'No pixel of the {len(chosen)} masks counts: all are ignored.')
    return dict(
        set=task.name,
        images=len(chosen),
        same_labels=100 * alike / total,
        mIoU={
            name: segmentation_scores(confusion_matrix(found, len(task.names))).miou
            for name, found in pairs.items()
        },
        protocol=task.protocol.fields(),
        checkpoint=task.settings.weights,
        versions=versions(),
    )


def main(argv=None):
    args = parse_args(argv)
    init_default_scope('mmseg')
    try:
        check_output(args.out, reads=[args.checkpoint, args.config, args.set])
        result = measure(args)
    except ERRORS as error:
        print(f'error: {error_text(error)}', file=sys.stderr)
        return 2
    miou = ', '.join(f'{name} {value:.2f}' for name, value in result['mIoU'].items())
    print(
        f'{result["set"]}, {result["images"]} images: {result["same_labels"]:.3f} % of the pixels '
        f'have the same label; mIoU {miou}'
    )
    if args.out:
        write_json(result, args.out)
        print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
