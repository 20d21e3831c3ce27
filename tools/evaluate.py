"""Evaluates a checkpoint on benchmark sets: one model load, one table with the published numbers.

python tools/evaluate.py CHECKPOINT --sets voc21 context60 --data-root data --out DIR
python tools/evaluate.py CHECKPOINT --sets all --protocol tcl --out DIR --processes 4

DIR receives table.md and table.csv, and for each set its result (SET.json), pictures of the best,
the worst and some random images, and which classes are taken for which. Interrupted, the same
command goes on at the image where it was. The numbers are the same for any number of workers and
processes.
"""

import argparse
import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.config import DictAction
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpretrain.datasets.categories import IMAGENET_SIMPLE_CATEGORIES
from mmpretrain.evaluation import Accuracy

from groupvit_mmseg.checkpoints.writing import write_atomically
from groupvit_mmseg.evaluation.benchmarks import BENCHMARKS, chosen_sets
from groupvit_mmseg.evaluation.confusion import confusion_matrix, segmentation_scores
from groupvit_mmseg.evaluation.journal import Journal
from groupvit_mmseg.evaluation.pictures import draw_confusion
from groupvit_mmseg.evaluation.protocols import PRESETS, protocol
from groupvit_mmseg.evaluation.report import describe_checkpoint, versions, write_json
from groupvit_mmseg.evaluation.running import (
    apply_protocol,
    build_dataset,
    digest,
    run_classification,
    run_segmentation,
)
from groupvit_mmseg.evaluation.tables import csv_table, markdown_table, result_notes, table_rows
from groupvit_mmseg.inference import load_image, load_segmentor
from groupvit_mmseg.text.class_list import read_class_file
from groupvit_mmseg.visualization import draw_labels, enlarge, panel, save_picture

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
# What a wrong checkpoint, folder or option raises, and what a wrong file raises on the way.
ERRORS = (OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)
IMAGENET_TEMPLATES = {'imagenet_7': 'subset', 'imagenet_80': 'full'}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument('--sets', nargs='+', default=['all'], help=f'all, {", ".join(BENCHMARKS)}')
    parser.add_argument('--data-root', type=Path, default=Path('data'), help='holds the sets')
    parser.add_argument(
        '--root',
        nargs='+',
        default={},
        action=DictAction,
        metavar='SET=FOLDER',
        help='other places',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--config', type=Path, default=MODEL, help='of the model')
    parser.add_argument('--protocol', default='official', choices=PRESETS)
    parser.add_argument(
        '--change', nargs='+', default={}, action=DictAction, metavar='FIELD=VALUE', help='of it'
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        default={},
        action=DictAction,
        metavar='SET=FILE',
        help='class files',
    )
    parser.add_argument('--precision', default='fp32', choices=['fp32', 'bf16'])
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--processes', type=int, default=1)
    parser.add_argument('--rank', type=int, help='do the part of one process only, on any machine')
    parser.add_argument('--workers', type=int, default=2, help='loading images, per process')
    parser.add_argument(
        '--batch-size', type=int, default=1, help='images that share batches of windows'
    )
    parser.add_argument('--limit', type=int, help='images per set, for a try')
    parser.add_argument('--pictures', type=int, default=3, help='best, worst and random, of each')
    return parser.parse_args(argv)


def load_model(args):
    """The segmentor with the checkpoint's weights."""
    device = args.device
    if device == 'cuda' and args.rank is not None:
        device = f'cuda:{args.rank % torch.cuda.device_count()}'
    return load_segmentor(args.config, args.checkpoint, precision=args.precision).to(device)


class Task:
    """One row of the table: a set, its protocol and what its journal depends on."""

    def __init__(self, name, set_name, args, weights, templates=None):
        self.name, self.set_name = name, set_name
        self.benchmark = BENCHMARKS[set_name]
        changes = {} if templates is None else dict(templates=templates)
        class_set = self.benchmark.class_set
        self.preset = protocol(args.protocol, class_set, **changes, **self._threshold(args))
        self.protocol = self.preset.changed(**args.change)
        root = args.root.get(set_name, args.data_root / self.benchmark.root)
        self.dataset = build_dataset(set_name, root, self.protocol, configs=CONFIGS)
        file = args.classes.get(set_name)
        self.classes = read_class_file(file) if file else None
        self.num_images = min(len(self.dataset), args.limit or len(self.dataset))
        files = [str(self.dataset.get_data_info(i)['img_path']) for i in range(len(self.dataset))]
        self.settings = dict(
            set=name,
            protocol=self.protocol.fields(),
            weights=weights['sha256'],
            precision=args.precision,
            device=args.device.partition(':')[0],
            batch_size=args.batch_size,
            classes=digest([*self.names, json.dumps(self.classes)]),
            images=digest([Path(file).name for file in files]),
        )
        self.journal = Journal(args.out / 'journal', name=name, settings=self.settings)

    def _threshold(self, args):
        """A threshold given where the preset has none is part of the preset asked for."""
        given = args.change.get('bg_thresh')
        missing = self.benchmark.class_set not in PRESETS[args.protocol].thresholds
        return dict(bg_thresh=given) if missing and given is not None else {}

    @property
    def names(self):
        """What the metric calls the classes."""
        return self.dataset.metainfo['classes']

    def run(self, segmentor, logit_scale, args):
        """Does this process's images."""
        share = dict(rank=args.rank or 0, world=args.processes)
        share.update(num_workers=args.workers, batch_size=args.batch_size, limit=args.limit)
        if self.set_name == 'imagenet':
            templates = self.protocol.templates
            yield from run_classification(
                segmentor, self.dataset, self.journal, names=IMAGENET_SIMPLE_CATEGORIES,
                templates=templates, **share,
            )  # fmt: skip
            return
        apply_protocol(
            segmentor, self.protocol, self.benchmark.class_set, logit_scale, self.classes
        )
        yield from run_segmentation(segmentor, self.dataset, self.journal, **share)

    def result(self, weights, args):
        """The result file's content."""
        images = [line for index, line in self.journal.results().items() if index < self.num_images]
        if len(images) != self.num_images:
            raise RuntimeError(
                f'{self.name} has {len(images)} of {self.num_images} images: a process ended '
                'early; the same command goes on.'
            )
        scores = self._classification(images) if self.set_name == 'imagenet' else self._iou(images)
        return dict(
            set=self.set_name,
            **scores,
            protocol=dict(
                name=self.protocol.name,
                source=self.protocol.source,
                caveat=self.protocol.caveat,
                changes=self.protocol.changes_from(self.preset),
                fields=self.protocol.fields(),
            ),
            images=dict(
                evaluated=self.num_images, files=len(self.dataset), digest=self.settings['images']
            ),
            classes=dict(
                count=len(self.names), digest=self.settings['classes'], changed=self.classes
            ),
            checkpoint=weights,
            precision=args.precision,
            batch_size=args.batch_size,
            versions=versions(),
        )

    def _iou(self, images):
        """IoU and accuracies in percent, and the IoU of each class."""
        matrix = confusion_matrix((line['pairs'] for line in images), len(self.names))
        scores = segmentation_scores(matrix)
        metrics = dict(mIoU=scores.miou, aAcc=scores.pixel_accuracy, mAcc=scores.mean_accuracy)
        return dict(metrics=metrics, class_iou=dict(zip(self.names, scores.class_iou, strict=True)))

    def _classification(self, images):
        """Top-1 and top-5 accuracy in percent, by MMPretrain's metric."""
        scores = torch.zeros(len(images), len(self.names))
        best = torch.tensor([line['best'] for line in images])
        scores.scatter_(1, best, torch.arange(best.shape[1], 0, -1.0).expand_as(best))
        labels = torch.tensor([line['label'] for line in images])
        ((top1,), (top5,)) = Accuracy.calculate(scores, labels, topk=(1, best.shape[1]))
        return dict(metrics=dict(top1=float(top1), top5=float(top5)), class_iou={})


def make_tasks(args, weights):
    """All rows, and a note on each set of ``all`` that is not there.

    Whatever else is wrong with a folder comes up before the first image.
    """
    tasks, missing = [], []
    for name in chosen_sets(args.sets):
        root = Path(args.root.get(name, args.data_root / BENCHMARKS[name].root))
        if 'all' in args.sets and not root.is_dir():
            missing.append(f'{BENCHMARKS[name].title}: left out, there is no {root}.')
            continue
        rows = IMAGENET_TEMPLATES if name == 'imagenet' else {name: None}
        tasks += [Task(row, name, args, weights, templates) for row, templates in rows.items()]
    if not tasks:
        raise FileNotFoundError(
            f'{args.data_root} holds none of the sets: name the folder that does with --data-root.'
        )
    return tasks, missing


def run_tasks(tasks, args):
    """Runs what is pending of one process's part."""
    segmentor = load_model(args)
    logit_scale = segmentor.decode_head.logit_scale.exp().item()
    for task in tasks:
        before = len(task.journal.results())
        for count, _ in enumerate(task.run(segmentor, logit_scale, args), start=1):
            if count % 50 == 0:
                print(f'{task.name}: {before + count} of {task.num_images} images', flush=True)
    return segmentor, logit_scale


def run_processes(args, argv):
    """Runs every process's part at once."""
    command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv)]
    threads = max(1, (os.cpu_count() or 1) // args.processes)
    environment = dict(os.environ)
    environment.setdefault('OMP_NUM_THREADS', str(threads))
    children = [
        subprocess.Popen([*command, '--rank', str(rank)], env=environment)
        for rank in range(args.processes)
    ]
    codes = [child.wait() for child in children]
    if any(codes):
        raise RuntimeError('A process failed, as said above; the same command goes on.')


def draw(task, segmentor, logit_scale, args):
    """The confusion picture, and the best, worst and some random images of a set."""
    images = task.journal.results()
    folder = args.out / 'pictures'
    matrix = confusion_matrix((line['pairs'] for line in images.values()), len(task.names))
    draw_confusion(matrix, task.names, folder / f'{task.name}_confusion.png')
    apply_protocol(segmentor, task.protocol, task.benchmark.class_set, logit_scale, task.classes)
    for kind, indices in chosen_images(images, len(task.names), args.pictures).items():
        rows = [picture_row(task, segmentor, index) for index in indices]
        titles = ('image', 'truth', 'prediction')
        save_picture(panel(rows, titles), folder / f'{task.name}_{kind}.jpg')


def chosen_images(images, num_classes, count):
    """Indices of the best, the worst and some random images by their own mIoU."""
    own = {
        index: segmentation_scores(confusion_matrix([line['pairs']], num_classes)).miou
        for index, line in images.items()
        if line['pairs']
    }
    ordered = sorted(own, key=lambda index: (-own[index], index))
    drawn = random.Random(0).sample(ordered, min(count, len(ordered)))
    return dict(best=ordered[:count], worst=ordered[::-1][:count], random=drawn)


@torch.inference_mode()
def picture_row(task, segmentor, index):
    """Image, truth and prediction."""
    (sample,) = segmentor.test_step(pseudo_collate([task.dataset[index]]))
    image = load_image(sample.img_path)
    truth = sample.gt_sem_seg.data[0].cpu().numpy()
    predicted = sample.pred_sem_seg.data[0].cpu().numpy()
    image, truth, predicted = (enlarge(array, 240) for array in (image, truth, predicted))
    names = segmentor.decode_head.class_names
    return [image, *(draw_labels(image, labels, names) for labels in (truth, predicted))]


def write_results(tasks, weights, args, missing):
    """Result files and tables."""
    results = [task.result(weights, args) for task in tasks]
    for task, result in zip(tasks, results, strict=True):
        write_json(result, args.out / f'{task.name}.json')
    rows, notes = table_rows(results), [*result_notes(results), *missing]
    tables = {'table.md': markdown_table(rows, notes), 'table.csv': csv_table(rows)}
    for name, text in tables.items():
        write_atomically(args.out / name, lambda stream, text=text: stream.write(text.encode()))
    print(tables['table.md'])


def main(argv=None):
    args = parse_args(argv)
    init_default_scope('mmseg')
    try:
        if not Path(args.checkpoint).is_file():
            raise FileNotFoundError(f'There is no checkpoint at {args.checkpoint}.')
        weights = describe_checkpoint(args.checkpoint)
        tasks, missing = make_tasks(args, weights)
        if args.rank is not None:
            run_tasks(tasks, args)
            return 0
        if args.processes > 1:
            run_processes(args, argv)
        args.processes = 1
        segmentor, logit_scale = run_tasks(tasks, args)
        write_results(tasks, weights, args, missing)
        for task in tasks:
            if args.pictures and task.set_name != 'imagenet':
                draw(task, segmentor, logit_scale, args)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Interrupted: the same command goes on at the next image.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
