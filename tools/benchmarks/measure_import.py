"""Measures how long imports and the start of the command line take.

python tools/benchmarks/measure_import.py

Every command runs in a new process, in turns, so that other load on the machine meets all of them.
The minimum is the time without such load. The first turn fills the caches of the disk and is not
counted.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

MODULES = ('torch', 'torchvision', 'mmseg.models', 'groupvit_mmseg')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', type=int, default=5, help='turns to count (default: 5)')
    parser.add_argument(
        '--modules', nargs='+', default=MODULES, help=f'to import (default: {" ".join(MODULES)})'
    )
    args = parser.parse_args(argv)
    if args.runs < 1:
        parser.error('--runs must be 1 or more')
    return args


def commands(modules: Sequence[str]) -> dict[str, list[str]]:
    """Return the command lines to measure, by the text of the table."""
    lines = {'python -c ""': [sys.executable, '-c', '']}
    for module in modules:
        lines[f'import {module}'] = [sys.executable, '-c', f'import {module}']
    lines['groupvit --help'] = [*command_line(), '--help']
    return lines


def command_line() -> list[str]:
    """Return the command ``groupvit`` of this Python, or its module where it is not installed."""
    script = shutil.which('groupvit', path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, '-m', 'groupvit_cli']


def seconds(command: Sequence[str]) -> float:
    """Return the wall-clock time of a command.

    Raises:
        CalledProcessError: If it fails.
    """
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> int:
    """Print the minimum and the median of each command, and return the exit status."""
    args = parse_args(argv)
    lines = commands(args.modules)
    times: dict[str, list[float]] = {text: [] for text in lines}
    for turn in range(args.runs + 1):
        for text, command in lines.items():
            try:
                elapsed = seconds(command)
            except subprocess.CalledProcessError as error:
                print(f'error: {text} failed with status {error.returncode}.', file=sys.stderr)
                return 2
            if turn > 0:
                times[text].append(elapsed)
    print(f'{"seconds":24} {"minimum":>8} {"median":>8}')
    for text, values in times.items():
        print(f'{text:24} {min(values):8.2f} {statistics.median(values):8.2f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
