"""Measures how long imports and the start of the command line take.

python tools/benchmarks/measure_import.py
python tools/benchmarks/measure_import.py --model FILE.pth

With weights, groupvit segment is measured too: all of it, for one image of 64 pixels, and the part
of it that is not the import of PyTorch. Every command runs in a new process, in turns, so that
other load on the machine meets all of them. The minimum is the time without such load. The first
turn fills the caches of the disk and is not counted.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

MODULES = ('torch', 'torchvision', 'mmseg.models', 'groupvit_mmseg')
TORCH, SEGMENT = 'import torch', 'groupvit segment'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--runs', type=int, default=5, help='turns to count (default: 5)')
    parser.add_argument(
        '--modules', nargs='+', default=MODULES, help=f'to import (default: {" ".join(MODULES)})'
    )
    parser.add_argument('--model', metavar='FILE.pth', help='weights for groupvit segment')
    args = parser.parse_args(argv)
    if args.runs < 1:
        parser.error('--runs must be 1 or more')
    return args


def commands(modules: Sequence[str], model: str | None, folder: Path) -> dict[str, list[str]]:
    """Return the command lines to measure, by the text of the table; they write into a folder."""
    lines = {'python -c ""': [sys.executable, '-c', '']}
    for module in modules:
        lines[f'import {module}'] = [sys.executable, '-c', f'import {module}']
    lines['groupvit --help'] = [*command_line(), '--help']
    if model:
        image = folder / 'image.png'
        Image.new('RGB', (64, 64), 'red').save(image)
        options = ['--words', 'red, green', '--model', model, '--out', str(folder / 'out')]
        lines[SEGMENT] = [*command_line(), 'segment', str(image), *options, '--overwrite']
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
    with tempfile.TemporaryDirectory() as folder:
        return measure(commands(args.modules, args.model, Path(folder)), args.runs)


def measure(lines: dict[str, list[str]], runs: int) -> int:
    """Measure command lines in turns, print the table, and return the exit status."""
    times: dict[str, list[float]] = {text: [] for text in lines}
    for turn in range(runs + 1):
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
    if SEGMENT in times and TORCH in times:
        pairs = zip(times[SEGMENT], times[TORCH], strict=True)
        beyond = [segment - torch for segment, torch in pairs]
        print(f'{"beyond import torch":24} {min(beyond):8.2f} {statistics.median(beyond):8.2f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
