"""Evaluates a checkpoint on benchmark sets: one model load, one table with the published numbers.

python tools/evaluate.py CHECKPOINT --sets voc21 context60 --data-root data --out DIR
python tools/evaluate.py CHECKPOINT --sets all --protocol tcl --out DIR --processes 4
python tools/evaluate.py CHECKPOINT --sets my_set.py --change bg_thresh=0.5 --out DIR

DIR receives table.md and table.csv, and for each set its result (SET.json), pictures of the best,
the worst and some random images, and which classes are taken for which. Interrupted, the same
command goes on at the image where it was. The numbers are the same for any number of workers and
processes.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.benchmark.pictures import chosen_images, draw_confusion, draw_images
from groupvit_mmseg.benchmark.protocols import PRESETS
from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.run_set import digest
from groupvit_mmseg.benchmark.sets import BENCHMARKS, chosen_sets
from groupvit_mmseg.benchmark.tables import csv_table, markdown_table, result_notes, table_rows
from groupvit_mmseg.benchmark.task import EvaluationSettings, make_tasks
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.evaluation.confusion import confusion_matrix
from groupvit_mmseg.inference import check_device, load_segmentor, segmentation_config
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.output_paths import check_folder, check_output

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
# What a wrong checkpoint, folder or option raises, and what a wrong file raises on the way.
ERRORS = (ImportError, OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument(
        '--sets',
        nargs='+',
        default=['all'],
        help=f'all, {", ".join(BENCHMARKS)}, or the config file of a set of your own',
    )
    parser.add_argument('--data-root', type=Path, default=Path('data'), help='holds the sets')
    parser.add_argument(
        '--root',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='SET=FOLDER',
        help='other places',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
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
    parser.add_argument(
        '--classes',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='SET=FILE',
        help='class files',
    )
    parser.add_argument(
        '--precision', default='fp32', choices=PRECISIONS, help='whatever the config says'
    )
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


def check_options(args):
    """Refuse what would be passed over: numbers out of their range, sets that are not chosen."""
    least = dict(processes=1, workers=0, batch_size=1, limit=1, pictures=0)
    for name, number in least.items():
        given = getattr(args, name)
        if given is not None and given < number:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} {given} must be at least {number}.')
    if args.rank is not None and not 0 <= args.rank < args.processes:
        raise ValueError(
            f'--rank {args.rank} is no process of --processes {args.processes}: they are counted '
            'from 0.'
        )
    names = [benchmark.name for benchmark in chosen_sets(args.sets)]
    for option in ('root', 'classes'):
        unknown = sorted(set(getattr(args, option)) - set(names))
        if unknown:
            raise ValueError(
                f'--{option} names {", ".join(unknown)}, which --sets does not: use '
                f'{", ".join(names)}.'
            )
    check_device(args.device)


def describe_model(config):
    """What tells configs of the model apart."""
    if not Path(config).is_file():
        raise FileNotFoundError(f'There is no config at {config}.')
    model = segmentation_config(read_config(config)).model.to_dict()
    return digest([json.dumps(model, sort_keys=True, default=str)])


def read_settings(args):
    """What all rows of the table share."""
    if not Path(args.checkpoint).is_file():
        raise FileNotFoundError(f'There is no checkpoint at {args.checkpoint}.')
    return EvaluationSettings(
        out=args.out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots=args.root,
        protocol=args.protocol,
        changes=args.change,
        class_files=args.classes,
        model=describe_model(args.config),
        precision=args.precision,
        device=args.device,
        batch_size=args.batch_size,
        limit=args.limit,
    )


def check_outputs(tasks, args):
    """No file of the results replaces one that this command reads."""
    reads = [args.checkpoint, args.config, *args.sets, *args.classes.values()]
    names = ['table.md', 'table.csv', *(f'{task.name}.json' for task in tasks)]
    for name in names:
        check_output(args.out / name, reads=reads)


def load_model(args):
    """The segmentor with the checkpoint's weights."""
    device = args.device
    if device == 'cuda' and args.rank is not None:
        device = f'cuda:{args.rank % torch.cuda.device_count()}'
    return load_segmentor(args.config, args.checkpoint, device=device, precision=args.precision)


def run_tasks(tasks, args):
    """Run what is pending of one process's part."""
    segmentor = load_model(args)
    logit_scale = segmentor.decode_head.logit_scale.exp().item()
    share = dict(rank=args.rank or 0, world=args.processes, num_workers=args.workers)
    for task in tasks:
        before = len(task.journal.results())
        for count, _ in enumerate(task.run(segmentor, logit_scale, **share), start=1):
            if count % 50 == 0:
                print(f'{task.name}: {before + count} of {task.num_images} images', flush=True)
    return segmentor, logit_scale


def run_processes(args, argv):
    """Run every process's part at once."""
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
    task.set_up(segmentor, logit_scale)
    for kind, indices in chosen_images(images, len(task.names), args.pictures).items():
        draw_images(segmentor, task.dataset, indices, folder / f'{task.name}_{kind}.jpg')


def write_results(tasks, missing, out):
    """Result files and tables."""
    results = [task.result() for task in tasks]
    for task, result in zip(tasks, results, strict=True):
        write_json(result, out / f'{task.name}.json')
    rows, notes = table_rows(results), [*result_notes(results), *missing]
    tables = {'table.md': markdown_table(rows, notes), 'table.csv': csv_table(rows)}
    for name, text in tables.items():
        write_atomically(out / name, lambda stream, text=text: stream.write(text.encode()))
    print(tables['table.md'])


def main(argv=None):
    args = parse_args(argv)
    init_default_scope('mmseg')
    try:
        check_options(args)
        check_folder(args.out)
        tasks, missing = make_tasks(args.sets, read_settings(args))
        check_outputs(tasks, args)
        if args.rank is not None:
            run_tasks(tasks, args)
            return 0
        if args.processes > 1:
            run_processes(args, argv)
        args.processes = 1
        segmentor, logit_scale = run_tasks(tasks, args)
        write_results(tasks, missing, args.out)
        for task in tasks:
            if args.pictures and not task.is_classification:
                draw(task, segmentor, logit_scale, args)
    except ERRORS as error:
        print(f'error: {error_text(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('Interrupted: the same command goes on at the next image.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
