r"""Chooses a background threshold on images that are not the test images.

python tools/analysis_tools/calibrate_threshold.py CHECKPOINT --set voc21 \
    --split ImageSets/Segmentation/train.txt --out threshold.json

Each crop is passed through the model once; every threshold is then tried on the stored affinities,
group maps and label counts. The file records the split, the weights and the whole curve, which is
also drawn beside it (threshold.png). Evaluate with
tools/evaluate.py ... --change bg_thresh=THRESHOLD.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from matplotlib.figure import Figure
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, Subset

from groupvit_mmseg.benchmark.apply_protocol import apply_protocol
from groupvit_mmseg.benchmark.command_line import add_protocol_arguments
from groupvit_mmseg.benchmark.protocols import Protocol, has_background, protocol
from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.benchmark.run_set import build_dataset, digest, ignored_of
from groupvit_mmseg.benchmark.sets import BENCHMARKS, Benchmark, select_sets
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    add_workers_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.segmentation_checks import check_class_count, check_set
from groupvit_mmseg.evaluation import calibrate_segmentor
from groupvit_mmseg.evaluation.calibration import ThresholdCalibration
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SETS = [name for name, one in BENCHMARKS.items() if has_background(one.class_set)]


class Split(NamedTuple):
    """The images to choose a threshold on.

    Attributes:
        images (Subset): The images.
        names (list[str]): Their file names.
        classes (tuple[str, ...]): The classes of the data set.
        on_test_images (bool): Whether any of them is a test image.
        ignored (int): Label of the masks that does not count.
    """

    images: Subset
    names: list[str]
    classes: tuple[str, ...]
    on_test_images: bool
    ignored: int


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--set', default='voc21', help=f'{", ".join(SETS)}, or the config file of a set of your own'
    )
    parser.add_argument(
        '--split', required=True, help='list of images, relative to the folder of the set'
    )
    parser.add_argument(
        '--root', type=Path, help='folder of the set (default: its own below data/)'
    )
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE.json', help='file to write'
    )
    add_model_config_argument(parser)
    add_protocol_arguments(parser)
    parser.add_argument(
        '--images', type=int, metavar='N', help='use N images, evenly spread over the split'
    )
    parser.add_argument(
        '--on-test-split', action='store_true', help='allow test images, and record it in FILE.json'
    )
    add_device_argument(parser)
    add_workers_argument(parser)
    return parser.parse_args(argv)


def check_outputs(args: argparse.Namespace) -> None:
    """Check that the result and the curve beside it are two files, neither of them an input."""
    curve = args.out.with_suffix('.png')
    if curve == args.out:
        raise ValueError(f'--out {args.out} must end in .json: the curve is drawn to {curve}.')
    for path in (args.out, curve):
        root = args.root or Path()
        check_output(path, reads=[args.checkpoint, args.config, args.set, root / args.split])


def find_set(name: str) -> Benchmark:
    """Return the set of that name; it must have a background."""
    if name == 'all':
        raise ValueError('A threshold is chosen for one set: name it with --set.')
    if name == 'imagenet':
        raise ValueError('imagenet is classified, not segmented: choose another --set.')
    (benchmark,) = select_sets([name])
    if not has_background(benchmark.class_set):
        raise ValueError(
            f'{benchmark.title} has no background to tell: choose a threshold for '
            f'{", ".join(SETS)}, or for a set of your own whose first class is called background.'
        )
    return benchmark


def open_split(args: argparse.Namespace, benchmark: Benchmark, setting: Protocol) -> Split:
    """Open the images to choose on; refuse test images unless the command line allows them."""
    root = args.root or benchmark.folder('data')
    test = build_dataset(benchmark, root, setting, configs=CONFIGS)
    if not (Path(root) / args.split).is_file():
        raise FileNotFoundError(f'There is no list of images {Path(root) / args.split}.')
    dataset = build_dataset(benchmark, root, setting, configs=CONFIGS, ann_file=args.split)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    classes = tuple(dataset.metainfo['classes'])
    check_set(dataset, len(classes))
    test_paths = {test.get_data_info(index)['img_path'] for index in range(len(test))}
    shared = sum(info['img_path'] in test_paths for info in infos)
    if shared and not args.on_test_split:
        raise ValueError(
            f'{shared} of the {len(infos)} images of {args.split} are test images of {args.set}, '
            'and a threshold chosen on them makes its number worthless: give another --split, or '
            '--on-test-split to have it said in the file.'
        )
    indices = list(range(len(dataset)))
    if args.images is not None and args.images < len(dataset):
        indices = [index * len(dataset) // args.images for index in range(args.images)]
    names = [Path(infos[index]['img_path']).name for index in indices]
    return Split(Subset(dataset, indices), names, classes, bool(shared), ignored_of(dataset))


def calibrate(
    args: argparse.Namespace, benchmark: Benchmark, setting: Protocol, split: Split
) -> ThresholdCalibration:
    """Calibrate the threshold of the checkpoint on the images."""
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    scale = segmentor.decode_head.logit_scale.exp().item()
    apply_protocol(segmentor, setting, benchmark.class_set, scale)
    check_class_count(segmentor.num_classes, split.classes, benchmark.name)
    batches = DataLoader(
        split.images,
        batch_size=1,
        num_workers=args.workers,
        collate_fn=pseudo_collate,
        shuffle=False,
    )
    return calibrate_segmentor(segmentor, batches, ignore_index=split.ignored)


def draw_curve(calibration: ThresholdCalibration, path: Path) -> None:
    """Draw mIoU against the threshold, and mark the best."""
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


def provenance(
    args: argparse.Namespace,
    setting: Protocol,
    calibration: ThresholdCalibration,
    split: Split,
) -> dict[str, object]:
    """Return the content of the file: the threshold and what determined it."""
    return dict(
        threshold=calibration.threshold,
        miou_there=calibration.miou,
        source=calibration.provenance,
        on_test_images=split.on_test_images,
        set=Path(args.set).stem,
        split=args.split,
        images=dict(count=len(split.names), digest=digest(split.names)),
        crops=calibration.num_crops,
        protocol=dict(
            name=setting.name,
            fields=setting.fields(),
        ),
        checkpoint=describe_checkpoint(args.checkpoint),
        curve=[list(point) for point in calibration.curve],
        versions=versions(),
    )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Choose the threshold, write it, and draw the curve."""
    args = parse_args(argv)
    init_default_scope('mmseg')
    check_source(args.checkpoint)
    check_outputs(args)
    if 'bg_thresh' in args.change:
        raise ValueError('The threshold is what is chosen: leave bg_thresh out of --change.')
    benchmark = find_set(args.set)
    # No background words, unless they are named: the threshold decides. Its value is not used.
    fields = dict(background_words=(), bg_thresh=0.5) | args.change
    setting = protocol(args.protocol, benchmark.class_set, **fields)
    if setting.affinity == 'contrast' and not setting.background_words:
        raise ValueError(
            'affinity=contrast compares with words of the background: name some after --change, '
            'such as background_words=grass,water,sky.'
        )
    split = open_split(args, benchmark, setting)
    calibration = calibrate(args, benchmark, setting, split)
    write_json(provenance(args, setting, calibration, split), args.out)
    draw_curve(calibration, args.out.with_suffix('.png'))
    print(f'threshold {calibration.threshold:.4f}, {calibration.provenance}')
    if split.on_test_images:
        print('It was chosen on test images: no number measured with it can be compared.')
    print(f'wrote {args.out} and {args.out.with_suffix(".png")}')


if __name__ == '__main__':
    sys.exit(main())
