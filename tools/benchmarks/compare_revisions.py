"""Compares the losses and the speed of a training under two revisions of the repository.

python tools/benchmarks/compare_revisions.py BEFORE AFTER -- tools/train.py CONFIG
python tools/benchmarks/compare_revisions.py main . --rounds 3 --steps 50 -- tools/train.py CONFIG

BEFORE and AFTER are revisions of git; "." means the tracked files as they are, changes included.
Each is written to a temporary folder with a link to data/, and the command runs there, in turns:
its paths are relative to the top of the repository, or absolute. The tool adds --work-dir, and
settings that log every step by itself. It compares all scalars with "loss" in their names,
grad_norm and lr. On a GPU, give the command --deterministic.

Exit status: 0 if the losses are equal, 1 if they differ, 2 if they cannot be compared.
"""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.benchmark.report import versions, write_json
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.output_paths import check_output
from groupvit_web.log_comparison import (
    Comparison,
    compare_runs,
    compared_scalars,
    read_whole_log,
    step_seconds,
)
from groupvit_web.training_run import Series

WORKING_TREE = '.'
# Each logged value is that of one step, not the mean of several.
EVERY_STEP = ('default_hooks.logger.interval=1', 'log_processor.window_size=1')
LAST_LINES = 20  # of the output of a command that fails


class Layout(NamedTuple):
    """The files of a revision: its name as given, its commit, abbreviated, and where they are."""

    name: str
    commit: str
    folder: Path


class Run(NamedTuple):
    """A finished run.

    Attributes:
        scalars (dict[str, Series]): Compared values by name.
        seconds (dict[str, float]): Of the ``processor`` with all children, of the ``clock``, and
            of a ``step`` if they are logged.
    """

    scalars: dict[str, Series]
    seconds: dict[str, float]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; everything after ``--`` is the command."""
    words = list(sys.argv[1:] if argv is None else argv)
    end = words.index('--') if '--' in words else len(words)
    parser = tool_parser(__doc__)
    parser.usage = '%(prog)s BEFORE AFTER [OPTIONS] -- tools/train.py CONFIG [ARGUMENTS]'
    parser.add_argument('before', help='revision of git, or . for the working tree')
    parser.add_argument('after', help='revision of git, or . for the working tree')
    parser.add_argument('--rounds', type=int, default=1, help='runs of each (default: 1)')
    parser.add_argument('--steps', type=int, help='train only so many steps, without validation')
    parser.add_argument(
        '--tolerance', type=float, default=0.0, help='largest relative difference (default: 0)'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='file to write')
    args = parser.parse_args(words[:end])
    args.command = words[end + 1 :]
    if args.command[:1] in (['python'], ['python3']):  # this Python runs the command
        del args.command[0]
    if min(args.rounds, 1 if args.steps is None else args.steps) < 1:
        parser.error('--rounds and --steps must be 1 or more')
    if not 0 <= args.tolerance < 1:
        parser.error('--tolerance must be 0 or more, and below 1')
    if len(args.command) < 2 or args.command[1].startswith('-'):
        parser.error('the command has no config: end with -- tools/train.py CONFIG [ARGUMENTS]')
    if Path(args.command[0]).is_absolute():
        parser.error('give the script by its path from the top: each revision runs its own')
    if any(word.partition('=')[0] == '--work-dir' for word in args.command):
        parser.error('leave --work-dir out: every run gets a folder of its own')
    return args


def git(*words: str, top: Path | None = None, index: Path | None = None) -> str:
    """Return what a command of git prints; raise its message as a ValueError if it fails."""
    env = dict(os.environ, GIT_INDEX_FILE=str(index)) if index else None
    command = ['git', '--no-optional-locks', *words]
    if shutil.which('git') is None:
        raise FileNotFoundError('There is no git on this machine: install it.')
    run = subprocess.run(command, cwd=top, env=env, capture_output=True, text=True)
    if run.returncode:
        raise ValueError(f'git {words[0]} failed: {run.stderr or run.returncode}')
    return run.stdout


def lay_out(name: str, top: Path, folder: Path) -> Layout:
    """Write the files of a revision to a folder, and link the data."""
    revision = 'HEAD' if name == WORKING_TREE else name
    try:
        commit = git('rev-parse', '--verify', '--short', f'{revision}^{{commit}}', top=top).strip()
    except ValueError as error:
        raise ValueError(f'{name} is no revision of {top}: name a commit, a tag or "."') from error
    if name == WORKING_TREE:
        copy_tracked_files(top, folder)
        is_changed = git('status', '--porcelain', '--untracked-files=no', top=top)
        commit += ' and changes' if is_changed else ''
    else:
        index = folder.with_suffix('.index')  # the repository's own stays as it is
        git('read-tree', commit, top=top, index=index)
        git('checkout-index', '--all', f'--prefix={folder}/', top=top, index=index)
    if (top / 'data').is_dir() and not (folder / 'data').exists():
        (folder / 'data').symlink_to(top / 'data')
    return Layout(name, commit, folder)


def copy_tracked_files(top: Path, folder: Path) -> None:
    """Copy the files that git tracks as they are in the working tree."""
    for path in filter(None, git('ls-files', '-z', top=top).split('\0')):
        if (top / path).is_symlink() or (top / path).is_file():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(top / path, folder / path, follow_symlinks=False)


def check_command(layouts: Sequence[Layout], command: Sequence[str]) -> None:
    """Raise an error if a revision lacks the script or the config."""
    for layout in layouts:
        for path in command[:2]:
            if not (layout.folder / path).is_file():
                raise FileNotFoundError(
                    f'There is no {path} in {layout.name}: give the path of a tracked file from '
                    'the top of the repository, or an absolute path.'
                )


def added_options(steps: int | None) -> list[str]:
    """Return the settings that log every step, and those that end after some steps."""
    if steps is None:
        return [*EVERY_STEP]
    loop = dict(_delete_=True, by_epoch=False, max_iters=steps)
    loop |= dict(val_begin=steps + 1, val_interval=steps + 1)
    return [*EVERY_STEP, *(f'train_cfg.{name}={value}' for name, value in loop.items())]


def run_command(layout: Layout, command: Sequence[str], steps: int | None) -> Run:
    """Run the command in the folder of a revision, and read its log."""
    with tempfile.TemporaryDirectory(prefix='run-', dir=layout.folder.parent) as work_dir:
        options = ['--work-dir', work_dir, '--cfg-options', *added_options(steps)]
        processor, clock = processor_seconds(), time.perf_counter()
        call(layout, [*command, *options])
        clock, processor = time.perf_counter() - clock, processor_seconds() - processor
        log = read_whole_log(Path(work_dir))
    if not (scalars := compared_scalars(log)):
        raise ValueError(f'The command logged no loss in {layout.name}: give that of a training.')
    seconds = dict(processor=processor, clock=clock, step=step_seconds(log))
    return Run(scalars, {name: value for name, value in seconds.items() if value is not None})


def processor_seconds() -> float:
    """Return the processor time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def call(layout: Layout, command: Sequence[str]) -> None:
    """Run a Python script on the packages of a revision; no process of it remains."""
    env = dict(os.environ, PYTHONPATH=str(layout.folder), PYTHONDONTWRITEBYTECODE='1')
    with tempfile.TemporaryFile('w+', errors='replace') as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=layout.folder,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if status:
            output.seek(0)
            print(*output.read().splitlines()[-LAST_LINES:], sep='\n', file=sys.stderr)
            raise RuntimeError(
                f'The command failed with status {status} in {layout.name}: see the end of its '
                'output above.'
            )


def take_turns(layouts: Sequence[Layout], args: argparse.Namespace) -> list[list[Run]]:
    """Run the command in all layouts, one after the other in each round; return their runs."""
    runs: list[list[Run]] = [[] for _ in layouts]
    for number in range(1, args.rounds + 1):
        for layout, own in zip(layouts, runs):
            own.append(run_command(layout, args.command, args.steps))
            clock = own[-1].seconds['clock']
            print(f'round {number}, {layout.name}: {clock:.1f} s', file=sys.stderr)
    return runs


def table(layouts: Sequence[Layout], runs: Sequence[Sequence[Run]], result: Comparison) -> str:
    """Return a Markdown table: both revisions, the first difference, median seconds."""
    same = f'none above {result.tolerance:g}' if result.tolerance else 'identical'
    label, values = 'first difference', [same] * 2
    if result.first:
        step, name, *numbers = result.first
        label, values = f'first difference: step {step}, {name}', [*map(repr, numbers)]
    rows = [
        ('', 'before', 'after', 'after / before'),
        ('---',) * 4,
        ('revision', *(f'{each.name} ({each.commit})' for each in layouts), ''),
        ('steps compared', *[str(result.steps)] * 2, ''),
        ('scalars compared', *[str(len(result.names))] * 2, ''),
        (label, *values, ''),
    ]
    logged = set.intersection(*(set(run.seconds) for own in runs for run in own))
    for kind in filter(logged.__contains__, runs[0][0].seconds):
        before, after = (statistics.median(run.seconds[kind] for run in own) for own in runs)
        ratio = f'{after / before:.2f} x' if before else ''
        rows.append((f'seconds of the {kind}', f'{before:.4g}', f'{after:.4g}', ratio))
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def notes(layouts: Sequence[Layout], rounds: int, result: Comparison) -> list[str]:
    """Return sentences about what was compared, and how far the comparison can be trusted."""
    lines = [f'Compared: {", ".join(result.names)}.']
    if result.others:
        lines.append(f'Logged by one revision only: {", ".join(result.others)}.')
    for layout, change in zip(layouts, result.changes):
        if change:
            lines.append(
                f'The command is not repeatable: {change.name} of step {change.step} is '
                f'{change.before!r} and {change.after!r} in two runs of {layout.name}.'
            )
    if result.first and rounds == 1:
        lines.append('Whether the command repeats itself was not checked: give --rounds 2.')
    return lines


def content(
    layouts: Sequence[Layout], runs: Sequence[Sequence[Run]], args: argparse.Namespace
) -> dict[str, object]:
    """Return what the result file says beside the comparison."""
    before, after = (
        dict(revision=each.name, commit=each.commit, seconds=[run.seconds for run in own])
        for each, own in zip(layouts, runs)
    )
    options = dict(command=args.command, train_steps=args.steps)
    return dict(options, before=before, after=after, versions=versions())


@tool_main(interrupted='Interrupted: nothing was compared.')
def main(argv: Sequence[str] | None = None) -> int:
    """Run both revisions in turns, compare and print."""
    args = parse_args(argv)
    top = Path(git('rev-parse', '--show-toplevel').rstrip('\n'))
    reads = [*args.command, *(top / word for word in args.command)]
    check_output(args.json, reads=reads, name='--json')
    with tempfile.TemporaryDirectory(prefix='revisions-') as name:
        folder = Path(name).resolve()
        sides = dict(before=args.before, after=args.after)
        layouts = [lay_out(revision, top, folder / side) for side, revision in sides.items()]
        check_command(layouts, args.command)
        runs = take_turns(layouts, args)
    before, after = ([run.scalars for run in own] for own in runs)
    result = compare_runs(before, after, args.tolerance)
    print(table(layouts, runs, result), '', *notes(layouts, args.rounds, result), sep='\n')
    if args.json:
        write_json(content(layouts, runs, args) | result.record(), args.json)
    return int(not result.is_equal)


if __name__ == '__main__':
    for number in (signal.SIGTERM, signal.SIGHUP):  # folders and runs end with it
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
