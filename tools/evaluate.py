"""Evaluates a checkpoint on benchmark sets: one table, beside the published numbers.

python tools/evaluate.py CHECKPOINT --sets voc21 context60 --data-root data --out DIR
python tools/evaluate.py CHECKPOINT --sets all --protocol tcl --out DIR --processes 4
python tools/evaluate.py CHECKPOINT --sets my_set.py --change bg_thresh=0.5 --out DIR
python tools/evaluate.py CHECKPOINT --images IMAGES --masks MASKS --classes FILE --out DIR
python tools/evaluate.py --watch WORK_DIR --sets voc21 --device cuda:1 --out DIR

DIR gets table.md and table.csv, and for each set its result (SET.json), figures of the best, the
worst and some random images, and the confusion matrix of its classes. After an interruption the
same command continues at the next image. The numbers are the same for any number of workers and
processes. With --watch, each checkpoint that a training writes into WORK_DIR is evaluated into
DIR/checkpoints; DIR gets curve.csv, curve.png and best.pth.
"""

import argparse
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
from groupvit_mmseg.benchmark.apply_protocol import logit_scale_of
from groupvit_mmseg.benchmark.command_line import (
    add_evaluation_arguments,
    add_watch_arguments,
    is_watching,
    read_own_set,
)
from groupvit_mmseg.benchmark.figures import (
    draw_confusion,
    draw_images,
    draw_reliability,
    select_images,
)
from groupvit_mmseg.benchmark.measures import bins_of
from groupvit_mmseg.benchmark.own_set import NAME, write_set_config
from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.run_set import digest
from groupvit_mmseg.benchmark.sets import select_sets
from groupvit_mmseg.benchmark.tables import csv_table, markdown_table, result_notes, table_rows
from groupvit_mmseg.benchmark.task import EvaluationSettings, EvaluationTask, make_tasks
from groupvit_mmseg.benchmark.watch import CheckpointWatch, follow
from groupvit_mmseg.benchmark.watch_report import CurveReport
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.evaluation.confusion import confusion_matrix
from groupvit_mmseg.inference import EvaluatedSegmentor, check_device, load_evaluated
from groupvit_mmseg.inference.config import (
    describe_model,
    is_open_vocabulary,
    read_model_config,
)
from groupvit_mmseg.output_paths import check_folder, check_output
from groupvit_mmseg.text.vocabulary import as_words

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    words = sys.argv[1:] if argv is None else argv
    add_evaluation_arguments(parser, watching=is_watching(words))
    return read_own_set(parser, parser.parse_args(argv))


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


def read_settings(args: argparse.Namespace) -> EvaluationSettings:
    """Return the settings that all rows of the table share."""
    check_source(args.checkpoint)
    config = read_model_config(args.config, args.checkpoint)
    return EvaluationSettings(
        out=args.out,
        configs=CONFIGS,
        weights=describe_checkpoint(args.checkpoint),
        data_root=args.data_root,
        roots=args.root,
        protocol=args.protocol,
        changes=args.change,
        class_files=args.classes,
        model=digest([describe_model(config)]),
        measures=tuple(args.measures),
        query_other=as_words(args.query_other),
        has_image_embeds=not is_open_vocabulary(config),
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


def load_model(args: argparse.Namespace) -> EvaluatedSegmentor:
    """Build the segmentor and load the checkpoint."""
    device = args.device
    if device == 'cuda' and args.rank is not None:
        device = f'cuda:{args.rank % torch.cuda.device_count()}'
    return load_evaluated(args.config, args.checkpoint, device=device, precision=args.precision)


def run_tasks(
    tasks: Sequence[EvaluationTask], args: argparse.Namespace
) -> tuple[EvaluatedSegmentor, float]:
    """Evaluate the remaining images of one process; return the segmentor and its logit scale."""
    segmentor = load_model(args)
    logit_scale = logit_scale_of(segmentor)
    share = dict(rank=args.rank or 0, world=args.processes, num_workers=args.workers)
    for task in tasks:
        before = len(task.journal.results())
        for count, _ in enumerate(task.run(segmentor, logit_scale, **share), start=1):
            if count % 50 == 0:
                print(f'{task.name}: {before + count} of {task.num_images} images', flush=True)
    return segmentor, logit_scale


def run_processes(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Start all processes and wait for them."""
    command = [sys.executable, __file__, *argv]
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
    segmentor: EvaluatedSegmentor,
    logit_scale: float,
    args: argparse.Namespace,
) -> None:
    """Draw the confusion matrix, and the best, worst and some random images of a set."""
    images = task.journal.results()
    folder = args.out / 'pictures'
    matrix = confusion_matrix((line['pairs'] for line in images.values()), len(task.names))
    if 'calibration' in args.measures:
        bins = bins_of(list(images.values()))
        draw_reliability(bins, folder / f'{task.name}_calibration.png')
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


def watch_training(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Evaluate the checkpoints of a training as they are written."""
    parser = tool_parser(None)
    add_watch_arguments(parser)
    _, options = parser.parse_known_args(argv)
    if args.interval <= 0:
        raise ValueError(f'--interval {args.interval} must be above 0.')
    if args.rank is not None:
        raise ValueError('--rank has no effect with --watch: give --processes alone.')
    check_folder(args.out)

    def evaluate_into(checkpoint: Path, out: Path) -> None:
        evaluate([str(checkpoint), *options, '--out', str(out)])

    watch = CheckpointWatch(args.watch, args.out, evaluate_into, options)
    report = CurveReport(args.out, args.log)
    try:
        print(follow(watch, report, interval=args.interval, idle=args.idle))
    finally:
        report.close()


@tool_main(interrupted='Interrupted: the same command goes on at the next image.')
def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate one checkpoint, or those of a training."""
    words = sys.argv[1:] if argv is None else list(argv)
    if is_watching(words):
        watch_training(parse_args(words), words)
    else:
        evaluate(words)


def evaluate(argv: Sequence[str]) -> None:
    """Evaluate, then write and draw the results."""
    args = parse_args(argv)
    for option, value in dict(idle=args.idle, log=args.log).items():
        if value:
            raise ValueError(f'--{option} has an effect with --watch alone: leave it out.')
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
