"""Runs a study: variants of one training, several seeds each, compared in one table.

python tools/study.py STUDY [--seeds 0 1 2] [--jobs 2] [--out DIR]

STUDY is a file, or the name of one in configs/studies. Every run is a process of its own. Called
again it skips finished runs and resumes those that were killed. Writes table.md, result.json,
curves.png, pictures.png, and a folder for each run.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.benchmark.study import Study, chosen, find_study, read_study
from groupvit_mmseg.benchmark.study_evaluation import check_metrics
from groupvit_mmseg.benchmark.study_queue import Queue, StudyOptions, make_runs, prepare, reported
from groupvit_mmseg.benchmark.study_report import write_report
from groupvit_mmseg.benchmark.study_types import Run
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.shard_passes import positive


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('study', help='study file, or the name of one in configs/studies')
    parser.add_argument('--seeds', type=int, nargs='+', help="seeds (default: the study's)")
    parser.add_argument('--variants', nargs='+', metavar='NAME', help='variants (default: all)')
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='folder to write (default: work_dirs/studies/NAME)'
    )
    parser.add_argument('--data-root', type=Path, help="folder of the data (default: the config's)")
    parser.add_argument('--threads', type=positive, help='threads of a run (default: cores / jobs)')
    parser.add_argument('--jobs', type=positive, default=1, help='runs side by side (default: 1)')
    parser.add_argument(
        '--max-epochs', type=positive, help='length of each training, for a short trial'
    )
    parser.add_argument('--list', action='store_true', help='print the runs and end')
    return parser.parse_args(argv)


def print_runs(study: Study, runs: Sequence[Run]) -> None:
    """Print the question and the state of every run."""
    print(f'{study.title}: {study.question}')
    for run in runs:
        state = 'finished' if run.result() else 'begun' if run.task() else 'not begun'
        start = f' (starts from {study.variants[run.variant].starts_from})' if run.start else ''
        source = f' (weights of {study.source(run.variant)})' if run.source else start
        print(f'  {run.name}{source}: {state}')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not finished, and write the tables and figures."""
    args = parse_args(argv)
    path = find_study(args.study)
    study = read_study(path)
    check_metrics(study.metrics, study.evaluations)
    out = args.out or Path('work_dirs/studies', path.stem)
    seeds = tuple(dict.fromkeys(args.seeds or study.seeds))
    runs = make_runs(study, chosen(args.variants, study), seeds, out)
    if args.list:
        return print_runs(study, runs)
    threads = args.threads or max(1, (os.cpu_count() or 1) // args.jobs)
    options = StudyOptions(out, args.data_root, threads, args.jobs, args.max_epochs)
    # The report has all runs that are finished, not only those of this call.
    every = make_runs(
        study, list(study.variants), tuple(dict.fromkeys([*study.seeds, *seeds])), out
    )
    reported(study, every, options)  # refuses trainings that do not belong to one table
    prepare(study, runs, options)
    try:
        Queue(runs, options).run()
    finally:
        report = reported(study, every, options)
        files = write_report(study, report, out)
    others = [run.name for run in every if run.result() and run not in report]
    if others:
        print(f'not in the tables, as evaluated with other settings: {", ".join(others)}')
    print((out / 'table.md').read_text())
    print(f'wrote {", ".join(str(file) for file in files)}')


if __name__ == '__main__':
    sys.exit(main())
