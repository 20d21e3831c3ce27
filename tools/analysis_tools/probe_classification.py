r"""Classifies by frozen image embeddings: nearest neighbours, and a linear layer on top.

python tools/analysis_tools/probe_classification.py CHECKPOINT \
    --train data/imagenet/train --test data/imagenet/val --out probe.json

Both folders hold a folder of pictures per class. The embedding is the mean of the segments, before
the projector. Pictures are embedded once, without augmentation (short side 256, centre crop 224):
the linear layer is a lower bound of what an augmented probe reaches (paper: 69.8 on ImageNet).
"""

import argparse
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.evaluation import Accuracy
from mmseg.registry import DATASETS, MODELS
from torch.utils.data import DataLoader

from groupvit_mmseg.benchmark.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_folders import read_classes
from groupvit_mmseg.evaluation.linear_probe import fit_linear, neighbour_scores, standardised
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.output_paths import check_output

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
# Those that MMPretrain takes by itself, and WebP.
EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.webp')
ERRORS = (
    AssertionError,
    ImportError,
    OSError,
    KeyError,
    RuntimeError,
    ValueError,
    pickle.UnpicklingError,
)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument('--train', type=Path, required=True, help='pictures of known class')
    parser.add_argument('--test', type=Path, required=True, help='pictures to classify')
    parser.add_argument('--config', type=Path, default=MODEL, help='of the model')
    parser.add_argument('--neighbours', type=int, default=20)
    parser.add_argument('--weight-decay', type=float, default=1e-4, help='of the linear layer')
    parser.add_argument('--steps', type=int, default=100, help='of the linear layer, at most')
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', type=Path, metavar='FILE.json')
    return parser.parse_args(argv)


def open_folder(folder, classes=None):
    """MMPretrain's data set of a folder per class."""
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
    found = list(dataset.metainfo['classes'])
    if classes is not None and found != list(classes):
        raise ValueError(
            f'{folder} has {len(found)} classes, and not the {len(classes)} of the pictures of '
            'known class: both need the same folders.'
        )
    return dataset


def count_files(folder):
    """Print how many files are used, and which are not."""
    account = Account('files')
    for image, _ in read_classes(folder, account):
        if not image.lower().endswith(EXTENSIONS):
            account.num_kept -= 1
            account.drop('an image of another format', image)
    if account.num_dropped:
        print('\n'.join([f'{folder}', *account.lines()]), file=sys.stderr)


@torch.inference_mode()
def embed(segmentor, dataset, args):
    """Pooled embeddings and labels of all pictures."""
    loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=pseudo_collate,
    )
    embeds, labels = [], []
    for batch in loader:
        data = segmentor.data_preprocessor(batch, False)
        embeds.append(segmentor.extract_feat(data['inputs']).pooled)
        labels += [int(sample.gt_label) for sample in batch['data_samples']]
    return torch.cat(embeds), torch.tensor(labels, device=args.device)


def accuracies(scores, labels):
    """Top-1 and top-5 in percent, by MMPretrain's metric."""
    top = min(5, scores.shape[1])
    ((first,), (fifth,)) = Accuracy.calculate(scores.cpu(), labels.cpu(), topk=(1, top))
    return dict(top1=float(first), top5=float(fifth))


def probe(args):
    """Both accuracies."""
    train = open_folder(args.train)
    classes = train.metainfo['classes']
    test = open_folder(args.test, classes)
    segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
    known, labels = (tensor.clone() for tensor in embed(segmentor, train, args))
    embeds, truth = embed(segmentor, test, args)
    votes = neighbour_scores(embeds, known, labels, len(classes), num_neighbours=args.neighbours)
    head = MODELS.build(
        dict(
            type='mmpretrain.LinearClsHead',
            num_classes=len(classes),
            in_channels=known.shape[1],
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        )
    ).to(args.device)
    settings = dict(weight_decay=args.weight_decay, steps=args.steps)
    fit_linear(head.fc, standardised(known, known), labels, **settings)
    with torch.no_grad():
        scores = head.fc(standardised(embeds, known))
    return dict(
        neighbours=dict(**accuracies(votes, truth), number=args.neighbours),
        linear=dict(**accuracies(scores, truth), **settings),
        images=dict(train=len(train), test=len(test), classes=len(classes)),
        checkpoint=describe_checkpoint(args.checkpoint),
        versions=versions(),
    )


def main(argv=None):
    args = parse_args(argv)
    init_default_scope('mmseg')
    try:
        check_output(args.out, reads=[args.checkpoint, args.config])
        result = probe(args)
    except ERRORS as error:
        # Of an error in a loader's worker, whose traceback is in the message, only the last line.
        *_, line = str(error).strip().splitlines() or [repr(error)]
        print(f'error: {line}', file=sys.stderr)
        return 2
    for name in ('neighbours', 'linear'):
        print(f'{name}: top-1 {result[name]["top1"]:.2f}, top-5 {result[name]["top5"]:.2f}')
    if args.out:
        write_json(result, args.out)
        print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
