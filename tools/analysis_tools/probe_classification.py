r"""Classifies images by frozen embeddings: nearest neighbours, and a linear layer on top.

python tools/analysis_tools/probe_classification.py CHECKPOINT \
    --train data/imagenet/train --test data/imagenet/val --out probe.json

Both folders hold one folder of images per class. The embedding is the mean of the segments, before
the projector. Images are embedded once, without augmentation (short side 256, centre crop 224): the
linear layer is a lower bound of what an augmented probe reaches (paper: 69.8 on ImageNet).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CustomDataset
from mmpretrain.evaluation import Accuracy
from mmseg.registry import DATASETS, MODELS
from torch import Tensor
from torch.utils.data import DataLoader

from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    INPUT_ERRORS,
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    add_workers_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_folders import read_classes
from groupvit_mmseg.evaluation.linear_probe import fit_linear, neighbour_scores, standardised
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.output_paths import check_output

# MMPretrain's default, and WebP.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--train', type=Path, required=True, help='folder of labelled images')
    parser.add_argument('--test', type=Path, required=True, help='folder of images to classify')
    add_model_config_argument(parser)
    parser.add_argument(
        '--neighbours', type=int, default=20, help='neighbours that vote (default: 20)'
    )
    parser.add_argument(
        '--weight-decay', type=float, default=1e-4, help='for the linear layer (default: 1e-4)'
    )
    parser.add_argument(
        '--steps', type=int, default=100, help='most steps for the linear layer (default: 100)'
    )
    parser.add_argument(
        '--batch-size', type=int, default=64, help='images embedded at a time (default: 64)'
    )
    add_workers_argument(parser)
    add_device_argument(parser)
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='file to write')
    return parser.parse_args(argv)


def open_folder(folder: Path, classes: Sequence[str] | None = None) -> CustomDataset:
    """Open a folder that has a folder per class; ``classes`` are those it must have."""
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder}.')
    pipeline = [
        dict(type='mmseg.LoadImageFromFile'),
        dict(type='mmpretrain.ResizeEdge', scale=256, edge='short'),
        dict(type='mmpretrain.CenterCrop', crop_size=224),
        dict(type='mmpretrain.PackInputs'),
    ]
    dataset = DATASETS.build(
        dict(
            type='mmpretrain.CustomDataset',
            data_prefix=str(folder),
            pipeline=pipeline,
            extensions=EXTENSIONS,
        )
    )
    count_files(folder)
    names = list(dataset.metainfo['classes'])
    if classes is not None and names != list(classes):
        raise ValueError(
            f'{folder} has {len(names)} classes, and not the {len(classes)} of the images of '
            'known class: both need the same folders.'
        )
    return dataset


def count_files(folder: Path) -> None:
    """Print how many files are used, and which are not."""
    account = Account('files')
    for image, _ in read_classes(folder, account):
        if not image.lower().endswith(EXTENSIONS):
            account.num_kept -= 1
            account.drop('an image of another format', image)
    if account.num_dropped:
        print('\n'.join([f'{folder}', *account.lines()]), file=sys.stderr)


@torch.inference_mode()
def embed(
    segmentor: GroupViTSegmentor, dataset: CustomDataset, args: argparse.Namespace
) -> tuple[Tensor, Tensor]:
    """Return the pooled embeddings ``(N, C)`` and the labels ``(N,)`` of all images."""
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=pseudo_collate,
    )
    embeds: list[Tensor] = []
    labels: list[int] = []
    for batch in loader:
        data = segmentor.data_preprocessor(batch, False)
        embeds.append(segmentor.extract_feat(data['inputs']).pooled)
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
    return torch.cat(embeds), torch.tensor(labels, device=args.device)


def accuracies(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the top-1 and top-5 accuracy in percent, by MMPretrain's metric."""
    top = min(5, scores.shape[1])
    # Without a threshold, which would leave out labels with a negative score.
    ((first,), (fifth,)) = Accuracy.calculate(
        scores.cpu(), labels.cpu(), topk=(1, top), thrs=(None,)
    )
    return dict(top1=float(first), top5=float(fifth))


def probe(args: argparse.Namespace) -> dict[str, dict]:
    """Return the content of the result file."""
    check_source(args.checkpoint)
    train = open_folder(args.train)
    classes = train.metainfo['classes']
    test = open_folder(args.test, classes)
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    # Clones, because the linear layer cannot learn from tensors of inference mode.
    train_embeds, labels = (tensor.clone() for tensor in embed(segmentor, train, args))
    embeds, truth = embed(segmentor, test, args)
    votes = neighbour_scores(
        embeds, train_embeds, labels, len(classes), num_neighbours=args.neighbours
    )
    head = MODELS.build(
        dict(
            type='mmpretrain.LinearClsHead',
            num_classes=len(classes),
            in_channels=train_embeds.shape[1],
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        )
    ).to(args.device)
    settings = dict(weight_decay=args.weight_decay, steps=args.steps)
    fit_linear(head.fc, standardised(train_embeds, train_embeds), labels, **settings)
    with torch.no_grad():
        scores = head.fc(standardised(embeds, train_embeds))
    return dict(
        neighbours=dict(**accuracies(votes, truth), number=args.neighbours),
        linear=dict(**accuracies(scores, truth), **settings),
        images=dict(train=len(train), test=len(test), classes=len(classes)),
        checkpoint=dict(describe_checkpoint(args.checkpoint)),
        versions=versions(),
    )


# MMPretrain asserts that a folder has images.
@tool_main(errors=(*INPUT_ERRORS, AssertionError))
def main(argv: Sequence[str] | None = None) -> None:
    """Measure both accuracies."""
    args = parse_args(argv)
    init_default_scope('mmseg')
    check_output(args.out, reads=[args.checkpoint, args.config])
    result = probe(args)
    for name in ('neighbours', 'linear'):
        print(f'{name}: top-1 {result[name]["top1"]:.2f}, top-5 {result[name]["top5"]:.2f}')
    if args.out:
        write_json(result, args.out)
        print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
