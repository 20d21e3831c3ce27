r"""Chooses a background threshold on pictures that are not the test pictures.

python tools/analysis_tools/calibrate_threshold.py CHECKPOINT --set voc21 \
    --split ImageSets/Segmentation/train.txt --out threshold.json

One forward pass per crop: affinities, group maps and counts of labels are kept, and every threshold
is tried on them afterwards. The file names the split, the weights and the whole curve; the curve is
drawn beside it (threshold.png). Evaluate with
tools/evaluate.py ... --change bg_thresh=THRESHOLD.
"""

import argparse
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Subset

from groupvit_mmseg.benchmark.protocols import PRESETS, has_background, protocol
from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.benchmark.run_set import apply_protocol, build_dataset, digest
from groupvit_mmseg.benchmark.sets import BENCHMARKS, chosen_sets
from groupvit_mmseg.datasets.segmentation_checks import check_class_count, check_set
from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.evaluation import calibrate_threshold, collect_predictions
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
SETS = [name for name, one in BENCHMARKS.items() if has_background(one.class_set)]
ERRORS = (ImportError, OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument(
        '--set', default='voc21', help=f'{", ".join(SETS)}, or the config file of a set of your own'
    )
    parser.add_argument('--split', required=True, help='list of images, below the set')
    parser.add_argument('--root', type=Path, help='folder of the set; in data/ otherwise')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.json')
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
    parser.add_argument('--images', type=int, help='of the split, evenly spread; all otherwise')
    parser.add_argument('--on-test-split', action='store_true', help='allow it, and say so')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--workers', type=int, default=2)
    return parser.parse_args(argv)


def check_outputs(args):
    """The result and the curve beside it are two files, neither of them an input."""
    curve = args.out.with_suffix('.png')
    if curve == args.out:
        raise ValueError(f'--out {args.out} must end in .json: the curve is drawn to {curve}.')
    for path in (args.out, curve):
        root = args.root or Path()
        check_output(path, reads=[args.checkpoint, args.config, args.set, root / args.split])


def find_set(name):
    """A set with a background."""
    if name == 'all':
        raise ValueError('A threshold is chosen for one set: name it with --set.')
    if name == 'imagenet':
        raise ValueError('imagenet is classified, not segmented: choose another --set.')
    (found,) = chosen_sets([name])
    if not has_background(found.class_set):
        raise ValueError(
            f'{found.title} has no background to tell: choose a threshold for {", ".join(SETS)}, '
            'or for a set of your own whose first class is called background.'
        )
    return found


def open_split(args, benchmark, chosen):
    """The images to choose on, and whether any is a test image."""
    root = args.root or benchmark.folder('data')
    test = build_dataset(benchmark, root, chosen, configs=CONFIGS)
    if not (Path(root) / args.split).is_file():
        raise FileNotFoundError(f'There is no list of images {Path(root) / args.split}.')
    dataset = build_dataset(benchmark, root, chosen, configs=CONFIGS, ann_file=args.split)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    check_set(dataset, len(dataset.metainfo['classes']))
    tested = {test.get_data_info(index)['img_path'] for index in range(len(test))}
    shared = sum(info['img_path'] in tested for info in infos)
    if shared and not args.on_test_split:
        raise ValueError(
            f'{shared} of the {len(infos)} images of {args.split} are test images of {args.set}, '
            'and a threshold chosen on them makes its number worthless: give another --split, or '
            '--on-test-split to have it said in the file.'
        )
    indices = range(len(dataset))
    if args.images is not None and args.images < len(dataset):
        indices = [index * len(dataset) // args.images for index in range(args.images)]
    names = [Path(infos[index]['img_path']).name for index in indices]
    return Subset(dataset, list(indices)), names, bool(shared)


def calibrate(args, benchmark, chosen, images):
    """The calibration of the checkpoint on the images."""
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    scale = segmentor.decode_head.logit_scale.exp().item()
    apply_protocol(segmentor, chosen, benchmark.class_set, scale)
    check_class_count(segmentor.num_classes, images.dataset.metainfo['classes'], benchmark.name)
    batches = DataLoader(
        images, batch_size=1, num_workers=args.workers, collate_fn=pseudo_collate, shuffle=False
    )
    return calibrate_threshold(collect_predictions(segmentor, batches))


def draw_curve(calibration, path):
    """MIoU over the threshold, the choice marked."""
    figure = Figure(figsize=(5, 3.2), layout='constrained')
    axes = figure.add_subplot()
    axes.plot(*zip(*calibration.curve, strict=True), linewidth=1)
    axes.plot(calibration.threshold, calibration.miou, 'o')
    axes.annotate(
        f'{calibration.threshold:.3f}: {calibration.miou:.1f}',
        (calibration.threshold, calibration.miou),
        xytext=(6, -12),
        textcoords='offset points',
    )
    axes.set_xlabel('background threshold')
    axes.set_ylabel('mIoU on the calibration crops')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def provenance(args, chosen, calibration, names, on_test_images):
    """The file's content: the choice and where it comes from."""
    return dict(
        threshold=calibration.threshold,
        miou_there=calibration.miou,
        source=calibration.provenance,
        on_test_images=on_test_images,
        set=Path(args.set).stem,
        split=args.split,
        images=dict(count=len(names), digest=digest(names)),
        crops=calibration.num_crops,
        protocol=dict(
            name=chosen.name,
            fields=chosen.fields(),
        ),
        checkpoint=describe_checkpoint(args.checkpoint),
        curve=[list(point) for point in calibration.curve],
        versions=versions(),
    )


def main(argv=None):
    args = parse_args(argv)
    init_default_scope('mmseg')
    try:
        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f'There is no checkpoint at {args.checkpoint}.')
        check_outputs(args)
        words = dict(background_words=(), bg_thresh=0.5)  # the threshold alone tells, any will do
        if 'bg_thresh' in args.change:
            raise ValueError('The threshold is what is chosen: leave bg_thresh out of --change.')
        benchmark = find_set(args.set)
        chosen = protocol(args.protocol, benchmark.class_set, **(words | args.change))
        images, names, on_test_images = open_split(args, benchmark, chosen)
        calibration = calibrate(args, benchmark, chosen, images)
        write_json(provenance(args, chosen, calibration, names, on_test_images), args.out)
        draw_curve(calibration, args.out.with_suffix('.png'))
    except ERRORS as error:
        print(f'error: {error_text(error)}', file=sys.stderr)
        return 2
    print(f'threshold {calibration.threshold:.4f}, {calibration.provenance}')
    if on_test_images:
        print('It was chosen on test images: no number measured with it can be compared.')
    print(f'wrote {args.out} and {args.out.with_suffix(".png")}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
