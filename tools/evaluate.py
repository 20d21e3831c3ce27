"""Evaluates a checkpoint on benchmark sets: one table, beside the published numbers.

python tools/evaluate.py CHECKPOINT --sets voc21 context60 --data-root data --out DIR
python tools/evaluate.py CHECKPOINT --sets all --protocol tcl --out DIR --processes 4
python tools/evaluate.py CHECKPOINT --sets my_set.py --change bg_thresh=0.5 --out DIR
python tools/evaluate.py CHECKPOINT --images IMAGES --masks MASKS --classes FILE --out DIR

DIR gets table.md and table.csv, and for each set its result (SET.json), figures of the best, the
worst and some random images, and the confusion matrix of its classes. After an interruption the
same command continues at the next image. The numbers are the same for any number of workers and
processes.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.command_line import add_protocol_arguments
from groupvit_mmseg.benchmark.figures import draw_confusion, draw_images, select_images
from groupvit_mmseg.benchmark.own_set import NAME, write_set_config
from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.run_set import digest
from groupvit_mmseg.benchmark.sets import BENCHMARKS, select_sets
from groupvit_mmseg.benchmark.tables import csv_table, markdown_table, result_notes, table_rows
from groupvit_mmseg.benchmark.task import EvaluationSettings, EvaluationTask, make_tasks
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_device_argument,
    add_model_config_argument,
    add_workers_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.evaluation.confusion import confusion_matrix
from groupvit_mmseg.inference import check_device, load_segmentor, segmentation_config
from groupvit_mmseg.inference.config import read_model_config
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.output_paths import check_folder, check_output

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--sets',
        nargs='+',
        metavar='SET',
        help=f'all, {", ".join(BENCHMARKS)}, or the config file of a set of your own '
        '(default: all, or none with --images)',
    )
    parser.add_argument('--images', type=Path, metavar='DIR', help='images of a set of your own')
    parser.add_argument('--masks', type=Path, metavar='DIR', help='its masks, by the same names')
    parser.add_argument(
        '--data-root', type=Path, default=Path('data'), help='folder of all sets (default: data)'
    )
    parser.add_argument(
        '--root',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='SET=FOLDER',
        help='folders of single sets elsewhere',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    add_model_config_argument(parser)
    add_protocol_arguments(parser)
    parser.add_argument(
        '--classes',
        nargs='+',
        default=[],
        metavar='SET=FILE',
        help='class files of single sets; FILE alone is that of --images',
    )
    parser.add_argument(
        '--precision',
        default='fp32',
        choices=PRECISIONS,
        help='precision of the model; that of the config is ignored (default: fp32)',
    )
    add_device_argument(parser)
    parser.add_argument(
        '--processes', type=int, default=1, metavar='N', help='processes (default: 1)'
    )
    parser.add_argument(
        '--rank',
        type=int,
        help='evaluate only the images of this one of --processes, from 0, on any machine',
    )
    add_workers_argument(parser)
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        metavar='N',
        help='images that share batches of windows (default: 1)',
    )
    parser.add_argument(
        '--limit', type=int, metavar='N', help='evaluate the first N images of a set only'
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=3,
        metavar='N',
        help='draw the N best, the N worst and N random images of a set (default: 3)',
    )
    return own_set(parser, parser.parse_args(argv))


def own_set(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """Let ``--classes`` be a dict, with the file of a set of two folders under its name."""
    files, args.classes = args.classes, {}
    texts = [text if '=' in text else f'{NAME}={text}' for text in files]
    KeyValueAction(['--classes'], 'classes')(parser, args, texts, '--classes')
    has_own = args.images or args.masks or any('=' not in text for text in files)
    if has_own and not (args.images and args.masks and NAME in args.classes):
        parser.error('a set of your own takes --images DIR --masks DIR --classes FILE.')
    args.sets = args.sets or ([] if args.images else ['all'])
    return args


def check_options(args: argparse.Namespace) -> None:
    """Refuse numbers out of their range, and options of sets that are not evaluated."""
    least = dict(processes=1, workers=0, batch_size=1, limit=1, pictures=0)
    for name, minimum in least.items():
        value = getattr(args, name)
        if value is not None and value < minimum:
            option = name.replace('_', '-')
            raise ValueError(f'--{option} {value} must be at least {minimum}.')
    if args.rank is not None and not 0 <= args.rank < args.processes:
        raise ValueError(
            f'--rank {args.rank} is no process of --processes {args.processes}: they are counted '
            'from 0.'
        )
    names = [benchmark.name for benchmark in select_sets(args.sets)]
    for option in ('root', 'classes'):
        unknown = sorted(set(getattr(args, option)) - set(names))
        if unknown:
            raise ValueError(
                f'--{option} names {", ".join(unknown)}, which --sets does not: use '
                f'{", ".join(names)}.'
            )
    check_device(args.device)


def describe_model(config: Path | None, checkpoint: str) -> str:
    """Return a digest of the model section of a config, or of what is read off the weights."""
    if config is not None and not config.is_file():
        raise FileNotFoundError(f'There is no config at {config}.')
    model = segmentation_config(read_model_config(config, checkpoint)).model.to_dict()
    return digest([json.dumps(model, sort_keys=True, default=str)])


def read_settings(args: argparse.Namespace) -> EvaluationSettings:
    """Return the settings that all rows of the table share."""
    check_source(args.checkpoint)
    return EvaluationSettings(
        out=args.out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots=args.root,
        protocol=args.protocol,
        changes=args.change,
        class_files=args.classes,
        model=describe_model(args.config, args.checkpoint),
        precision=args.precision,
        device=args.device,
        batch_size=args.batch_size,
        limit=args.limit,
    )


def check_outputs(tasks: Sequence[EvaluationTask], args: argparse.Namespace) -> None:
    """Check that no result file replaces a file that this command reads."""
    reads = [args.checkpoint, args.config, *args.sets, *args.classes.values()]
    names = ['table.md', 'table.csv', *(f'{task.name}.json' for task in tasks)]
    for name in names:
        check_output(args.out / name, reads=reads)


def load_model(args: argparse.Namespace) -> GroupViTSegmentor:
    """Build the segmentor and load the checkpoint."""
    device = args.device
    if device == 'cuda' and args.rank is not None:
        device = f'cuda:{args.rank % torch.cuda.device_count()}'
    return load_segmentor(args.config, args.checkpoint, device=device, precision=args.precision)


def run_tasks(
    tasks: Sequence[EvaluationTask], args: argparse.Namespace
) -> tuple[GroupViTSegmentor, float]:
    """Evaluate the remaining images of one process; return the segmentor and its logit scale."""
    segmentor = load_model(args)
    logit_scale = segmentor.decode_head.logit_scale.exp().item()
    share = dict(rank=args.rank or 0, world=args.processes, num_workers=args.workers)
    for task in tasks:
        before = len(task.journal.results())
        for count, _ in enumerate(task.run(segmentor, logit_scale, **share), start=1):
            if count % 50 == 0:
                print(f'{task.name}: {before + count} of {task.num_images} images', flush=True)
    return segmentor, logit_scale


def run_processes(args: argparse.Namespace, argv: Sequence[str] | None) -> None:
    """Start all processes and wait for them."""
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


def draw(
    task: EvaluationTask,
    segmentor: GroupViTSegmentor,
    logit_scale: float,
    args: argparse.Namespace,
) -> None:
    """Draw the confusion matrix, and the best, worst and some random images of a set."""
    images = task.journal.results()
    folder = args.out / 'pictures'
    matrix = confusion_matrix((line['pairs'] for line in images.values()), len(task.names))
    draw_confusion(matrix, task.names, folder / f'{task.name}_confusion.png')
    task.set_up(segmentor, logit_scale)
    for kind, indices in select_images(images, len(task.names), args.pictures).items():
        draw_images(segmentor, task.dataset, indices, folder / f'{task.name}_{kind}.jpg')


def write_results(tasks: Sequence[EvaluationTask], missing: Sequence[str], out: Path) -> None:
    """Write the result files and tables, and print the table."""
    results = [task.result() for task in tasks]
    for task, result in zip(tasks, results, strict=True):
        write_json(result, out / f'{task.name}.json')
    rows, notes = table_rows(results), [*result_notes(results), *missing]
    tables = {'table.md': markdown_table(rows, notes), 'table.csv': csv_table(rows)}
    for name, text in tables.items():
        write_text(out / name, text)
    print(tables['table.md'])


@tool_main(interrupted='Interrupted: the same command goes on at the next image.')
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate, then write and draw the results."""
    args = parse_args(argv)
    init_default_scope('mmseg')
    check_folder(args.out)
    if args.images:
        files = dict(images=args.images, masks=args.masks, classes=args.classes[NAME])
        args.sets = [*args.sets, str(write_set_config(args.out, **files))]
    check_options(args)
    tasks, missing = make_tasks(args.sets, read_settings(args))
    check_outputs(tasks, args)
    if args.rank is not None:
        run_tasks(tasks, args)
        return
    if args.processes > 1:
        run_processes(args, argv)
    args.processes = 1  # what another process has left out, this one does
    segmentor, logit_scale = run_tasks(tasks, args)
    write_results(tasks, missing, args.out)
    for task in tasks:
        if args.pictures and not task.is_classification:
            draw(task, segmentor, logit_scale, args)


if __name__ == '__main__':
    sys.exit(main())
