"""Breaks each promise in a copy of the project and sees whether its tests notice.

python tests/faults/break_promises.py [--only WORDS] [--out TABLE.md]

The copy has the tracked files; data of the working tree is linked into it. A break is noticed if
a test fails that passes without it. The end is a table, and status 1 if a break went unnoticed.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from breaks import BREAKS, Break  # noqa: E402

SECONDS = 900
"""int: Time of one break's tests; what takes longer counts as unnoticed."""
_FAILED = re.compile(r'(?:FAILED|ERROR) (.+?)(?: - .*)?$')
PASSED, FAILED = 0, 1  # statuses of pytest; others mean that no test ran, or a wrong command


class Outcome(NamedTuple):
    """How the tests of a break ended.

    Attributes:
        status (int): Of pytest; -1 where the time was over, or a test fails unbroken.
        seconds (float): Wall clock.
        first (str): The first test that failed, or the end of what pytest printed.
    """

    status: int
    seconds: float
    first: str


def copy_project(folder: Path) -> Path:
    """Copy the files that git tracks, and link the data."""
    copy = folder / 'project'
    names = subprocess.check_output(['git', 'ls-files', '-z'], cwd=ROOT, text=True).split('\0')
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name, follow_symlinks=False)
    if (ROOT / 'data').is_dir():
        (copy / 'data').symlink_to(ROOT / 'data')
    return copy


def run_tests(copy: Path, tests: Sequence[str]) -> Outcome:
    """Run tests in a copy until the first one fails."""
    env = dict(os.environ, PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE='1')
    command = [sys.executable, '-m', 'pytest', '-x', '-q', '--no-header', '-p', 'no:cacheprovider']
    began = time.monotonic()
    # A file, which processes that a failed test has left behind do not keep waiting for.
    with tempfile.TemporaryFile('w+') as output:
        run = subprocess.Popen(
            [*command, *tests],
            cwd=copy,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = run.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return Outcome(-1, time.monotonic() - began, 'the time was over')
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        output.seek(0)
        lines = output.read().splitlines() or ['nothing was printed']
    failed = [match[1] for match in map(_FAILED.match, lines) if match]
    return Outcome(status, time.monotonic() - began, [*failed, lines[-1]][0])


def try_break(copy: Path, one: Break) -> Outcome:
    """Break a promise, run its tests, and put the file back; run the test that failed once more."""
    path = copy / one.file
    before = path.read_text(encoding='utf-8')
    path.write_text(broken(before, one), encoding='utf-8')
    try:
        outcome = run_tests(copy, one.tests)
    finally:
        path.write_text(before, encoding='utf-8')
    if outcome.status == FAILED and run_tests(copy, [outcome.first, '-m', '']).status != PASSED:
        return outcome._replace(status=-1, first=f'{outcome.first} fails without it too')
    return outcome


def broken(text: str, one: Break) -> str:
    """Return the text of a file after the break.

    Raises:
        ValueError: If the text to replace does not occur once.
    """
    if text.count(one.old) != 1:
        raise ValueError(f'{one.file} has not once what "{one.promise}" takes out: {one.old!r}.')
    return text.replace(one.old, one.new)


def table_row(one: Break, outcome: Outcome) -> str:
    """Return the row of a break."""
    noticed = outcome.status == FAILED
    by = outcome.first.rpartition('/')[2].partition('[')[0] if noticed else f'**{outcome.first}**'
    return f'| {one.promise} | `{one.file}` | {"noticed" if noticed else "not noticed"} | {by} |'


def main(argv: Sequence[str] | None = None) -> int:
    """Try the breaks one after another."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--only', default='', help='words of a promise')
    parser.add_argument('--out', type=Path, help='file to which the table is appended')
    args = parser.parse_args(argv)
    chosen = [one for one in BREAKS if args.only in one.promise]
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix='breaks-') as folder:
        copy = copy_project(Path(folder))
        for one in chosen:
            outcome = try_break(copy, one)
            unnoticed += outcome.status != FAILED
            row = table_row(one, outcome)
            print(f'{row} {outcome.seconds:.0f} s', flush=True)
            if args.out:
                with args.out.open('a', encoding='utf-8') as table:
                    print(row, file=table)
    print(f'{len(chosen) - unnoticed} of {len(chosen)} breaks were noticed.')
    return int(unnoticed > 0)


if __name__ == '__main__':
    sys.exit(main())
