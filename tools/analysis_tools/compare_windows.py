"""Shows why sliding windows give other labels than whole images.

python tools/analysis_tools/compare_windows.py CHECKPOINT --set voc21 --out DIR
python tools/analysis_tools/compare_windows.py CHECKPOINT --set my_set.py --protocol tcl --out DIR

The set is segmented in the windows of the protocol, and each image as a whole. DIR gets windows.md
and windows.json: mIoU of both, the share of pixels that differ, how much of it is windows that
disagree with each other and how much windows that agree against the whole image, the share near
borders of windows, and the classes that change most; and windows.jpg: the images that differ most,
with truth, both label maps and the pixels that differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.command_line import add_protocol_arguments
from groupvit_mmseg.benchmark.evaluation_settings import EvaluationSettings
from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.tables import markdown_table
from groupvit_mmseg.benchmark.task import EvaluationTask, make_tasks
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.evaluation.confusion import (
    Pairs,
    confusion_matrix,
    count_pairs,
    segmentation_scores,
)
from groupvit_mmseg.evaluation.window_effects import WindowEffects, window_effects
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models.windows import WindowedImage
from groupvit_mmseg.output_paths import check_folder
from groupvit_mmseg.visualization import draw_labels, enlarge, panel, save_figure

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
SIDE, CHANGES = 200, 10


class ImageComparison(NamedTuple):
    """Both segmentations of an image.

    Attributes:
        effects (WindowEffects): Where they differ, at the size of the network's input.
        pairs (tuple[Pairs, Pairs]): Counts of windows and of the whole image against the mask.
        labels (tuple): Truth and labels of both, ``(H, W)``.
        path (str): The image.
    """

    effects: WindowEffects
    pairs: tuple[Pairs, Pairs]
    labels: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
    path: str


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--set', required=True, help='name of a set, or its config file')
    parser.add_argument(
        '--data-root', type=Path, default=Path('data'), help='folder of all sets (default: data)'
    )
    parser.add_argument('--root', nargs='+', default={}, action=KeyValueAction, metavar='SET=DIR')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    parser.add_argument(
        '--limit', type=int, default=100, metavar='N', help='the first N images (default: 100)'
    )
    parser.add_argument(
        '--pictures', type=int, default=5, metavar='N', help='images to draw (default: 5)'
    )
    add_model_config_argument(parser)
    add_protocol_arguments(parser)
    add_device_argument(parser)
    return parser.parse_args(argv)


@torch.inference_mode()
def compare_image(segmentor: GroupViTSegmentor, data: dict, windows: dict) -> ImageComparison:
    """Segment one image in windows and as a whole."""
    batch = segmentor.data_preprocessor(pseudo_collate([data]), False)
    image, sample = batch['inputs'][0], batch['data_samples'][0]
    truth = sample.gt_sem_seg.get('data')[0].cpu()
    found, inputs = [], []
    for options in (windows, {**windows, 'mode': 'whole'}):
        segmentor.test_cfg = options
        (windowed,) = segmentor.segment_windows([image])
        result = SegDataSample(metainfo=sample.metainfo)
        segmentor.label_windows(windowed, image, result)
        found.append((windowed, result.pred_sem_seg.get('data')[0].cpu()))
        inputs.append(input_labels(segmentor, image, windowed))
    effects = window_effects(inputs[1], inputs[0], found[0][0], segmentor.num_classes)
    slide, whole = (labels for _, labels in found)
    pairs = [count_pairs(truth, labels, segmentor.num_classes) for labels in (slide, whole)]
    labels = (truth.numpy(), slide.numpy(), whole.numpy())
    return ImageComparison(effects, (pairs[0], pairs[1]), labels, sample.metainfo['img_path'])


def input_labels(segmentor: GroupViTSegmentor, image: Tensor, windowed: WindowedImage) -> Tensor:
    """Return the labels at the size of the network's input."""
    result = SegDataSample()
    segmentor.label_windows(windowed, image, result)
    return result.pred_sem_seg.get('data')[0]


def draw(comparisons: Sequence[ImageComparison], names: Sequence[str], path: Path) -> None:
    """Draw the images that differ most."""
    rows = []
    for each in comparisons:
        image = enlarge(load_image(each.path), SIDE)
        truth, slide, whole = (enlarge(labels, SIDE) for labels in each.labels)
        differs = np.where((slide != whole)[..., None], np.array([255, 0, 80]), image // 3)
        painted = [draw_labels(image, labels, names) for labels in (truth, slide, whole)]
        rows.append([image, *painted, differs.astype(np.uint8)])
    save_figure(panel(rows, ('image', 'truth', 'windows', 'whole', 'different')), path)


def summarise(
    comparisons: Sequence[ImageComparison], names: Sequence[str]
) -> tuple[dict[str, object], str]:
    """Return the numbers, and the page in Markdown."""
    total = comparisons[0].effects
    for each in comparisons[1:]:
        total = total.plus(each.effects)
    mious = [
        segmentation_scores(
            confusion_matrix((each.pairs[index] for each in comparisons), len(names))
        ).miou
        for index in (0, 1)
    ]
    elsewhere = total.pixels - total.near
    shares = {
        'mIoU of windows': mious[0],
        'mIoU of whole images': mious[1],
        'pixels that differ': 100 * total.differing / total.pixels,
        'of these, windows disagree': 100 * total.split / max(total.differing, 1),
        'of these, windows agree': 100 * total.united / max(total.differing, 1),
        'near borders of windows, differ': 100 * total.near_differing / max(total.near, 1),
        'elsewhere, differ': 100 * (total.differing - total.near_differing) / max(elsewhere, 1),
    }
    rows = [{'': name, '%': f'{value:.2f}'} for name, value in shares.items()]
    changes = total.changes.clone().fill_diagonal_(0)
    top = changes.flatten().topk(min(CHANGES, changes.numel()))
    classes = [
        {
            'whole image': names[index // len(names)],
            'windows': names[index % len(names)],
            '% of all pixels': f'{100 * count / total.pixels:.2f}',
        }
        for count, index in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        if count
    ]
    note = f'{len(comparisons)} images.'
    page = markdown_table(rows, [note]) + ('\n' + markdown_table(classes) if classes else '')
    return dict(percent=shares, changes=classes, images=len(comparisons)), page


def open_task(args: argparse.Namespace) -> EvaluationTask:
    """Return the set under the protocol; its journal is not used.

    Raises:
        ValueError: If the set is classified, or the protocol has no windows.
    """
    settings = EvaluationSettings(
        out=args.out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots=args.root,
        protocol=args.protocol,
        changes=args.change,
        device=args.device,
    )
    (task, *_), _ = make_tasks([args.set], settings)
    if task.is_classification:
        raise ValueError(f'{args.set} is classified: name a set with masks.')
    if not task.protocol.crop_size:
        raise ValueError('The protocol has no windows: give --change crop_size=... stride=...')
    return task


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Compare, then write and print."""
    args = parse_args(argv)
    if args.limit < 1 or args.pictures < 0:
        raise ValueError('--limit must be at least 1, --pictures at least 0.')
    init_default_scope('mmseg')
    check_folder(args.out)
    task = open_task(args)
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    task.set_up(segmentor, segmentor.decode_head.logit_scale.exp().item())
    windows = {**segmentor.test_cfg}
    count = min(args.limit, len(task.dataset))
    comparisons = [compare_image(segmentor, task.dataset[i], windows) for i in range(count)]
    content, page = summarise(comparisons, task.names)
    write_json(content, args.out / 'windows.json')
    write_text(args.out / 'windows.md', page)
    print(page)
    most = sorted(comparisons, key=lambda each: -each.effects.differing / each.effects.pixels)
    if args.pictures:
        draw(most[: args.pictures], segmentor.class_names, args.out / 'windows.jpg')


if __name__ == '__main__':
    sys.exit(main())
