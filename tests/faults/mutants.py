"""Mutation testing: which changes to the core no test notices. Needs mutmut.

python tests/faults/mutants.py [PART ...] [--slow] [--show] [--again] [--report]

mutmut writes a copy of the package with all mutants of a part in OUT/PART, and for each mutant runs
the tests that reach its function. The tree that is tested stays as it is. A second call does
what is left, what changed, and the survivors again if a test file changed.

Functions with decorators other than staticmethod and classmethod have no mutants. Mutants in the
words of a message or a log text are listed as such and not counted.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
MEMORY = 12 * 2**30
"""int: Bytes that the tests of a mutant may take: one may allocate without end."""
# Exit codes of mutmut: not tried or interrupted, skipped, survived or reached by no test; and ours
# of a mutant that survived the slow tests too.
NOT_TRIED, WORDING, SURVIVED_ALL = (None, 2), 34, 1000
SURVIVED = (0, 5, 33, SURVIVED_ALL)
# mutmut has no command that writes the mutants alone.
WRITE_MUTANTS = """
from mutmut import __main__ as mutmut
mutmut.copy_src_dir()
mutmut.copy_also_copy_files()
mutmut.create_mutants(1)
"""


def sibling(name: str):
    """Import a module beside this one, however this one was imported."""
    path = Path(__file__).with_name(f'{name}.py')
    spec = importlib.util.spec_from_file_location(f'groupvit_faults_{name}', path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


KINDS = sibling('mutant_kinds')
PARTS = sibling('mutant_parts').PARTS
COPIED = ('groupvit_cli', 'groupvit_web', 'configs', 'tools')


class Count(NamedTuple):
    """Mutants of a file."""

    name: str
    killed: int
    survivors: list[str]
    wording: int
    not_tried: int


def prepare(part, folder: Path, *, again: bool) -> None:
    """Link the tree into a folder and write mutmut's settings there."""
    # It exists before Python starts, which otherwise remembers that it does not.
    (folder / 'mutants').mkdir(parents=True, exist_ok=True)
    for name in ('groupvit_mmseg', 'tests', 'pyproject.toml', *COPIED):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    settings = {
        'source_paths': ['groupvit_mmseg'],
        'only_mutate': [f'groupvit_mmseg/{source}' for source in part.sources],
        'also_copy': list(COPIED),
        'pytest_add_cli_args_test_selection': [f'tests/{test}' for test in part.tests],
        'use_git_change_detection': ['false'],
    }
    lines = [f'{key}=\n    ' + '\n    '.join(values) for key, values in settings.items()]
    (folder / 'setup.cfg').write_text('[mutmut]\n' + '\n'.join(lines) + '\n')
    changed = max((ROOT / 'tests' / test).stat().st_mtime for test in part.tests + part.slow)
    for meta in meta_files(part, folder):
        if again or changed > meta.stat().st_mtime:
            survivors = [name for name, code in exit_codes(meta).items() if code in SURVIVED]
            set_codes(meta, dict.fromkeys(survivors))


def meta_files(part, folder: Path) -> list[Path]:
    """Return mutmut's result files that exist."""
    files = [folder / f'mutants/groupvit_mmseg/{source}.meta' for source in part.sources]
    return [file for file in files if file.is_file()]


def exit_codes(meta: Path) -> dict[str, int | None]:
    """Return the exit code of each mutant of a file."""
    return json.loads(meta.read_text())['exit_code_by_key']


def set_codes(meta: Path, codes: dict[str, int | None]) -> None:
    """Change exit codes of a file's mutants."""
    content = json.loads(meta.read_text())
    content['exit_code_by_key'].update(codes)
    meta.write_text(json.dumps(content))


def start(command: Sequence[str | Path], folder: Path, *, cwd: Path, mutant: str = '') -> int:
    """Run a command on the copy of the package, with a limit of memory; return its status."""
    environment = {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'PYTHONPATH': os.pathsep.join([str(folder / 'mutants'), str(Path(__file__).parent)]),
        'PYTEST_ADDOPTS': '-p no:cacheprovider -p mutant_order',
        'MUTANT_UNDER_TEST': mutant,
    }
    with (folder / 'log.txt').open('a') as log:
        return subprocess.run(
            command,
            cwd=cwd,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY)),
        ).returncode


def run(part, folder: Path) -> bool:
    """Run the tests with each mutant that is left; return whether mutmut could."""
    if start([sys.executable, '-c', WRITE_MUTANTS], folder, cwd=folder):
        return False
    mark_wording(part, folder)
    mutmut = Path(sys.executable).with_name('mutmut')
    status = start([mutmut, 'run', '--max-children', '1'], folder, cwd=folder)
    mark_wording(part, folder)  # other test files make mutmut forget all results
    return status == 0


def mark_wording(part, folder: Path) -> None:
    """Mark the mutants of words as skipped."""
    for meta in meta_files(part, folder):
        wording = KINDS.wording(exit_codes(meta), meta.with_suffix('').read_text())
        set_codes(meta, dict.fromkeys(wording, WORDING))


def run_slow(part, folder: Path) -> None:
    """Run all tests with each survivor in a process of its own, which imports the mutant."""
    tests = [f'tests/{test}' for test in part.tests + part.slow]
    command = [sys.executable, '-m', 'pytest', '-x', '-q', '--rootdir=.', *tests]
    for meta in meta_files(part, folder):
        for mutant, code in exit_codes(meta).items():
            if code in SURVIVED and code != SURVIVED_ALL:
                status = start(command, folder, cwd=folder / 'mutants', mutant=mutant)
                set_codes(meta, {mutant: 1 if status else SURVIVED_ALL})


def count(meta: Path) -> Count:
    """Count the mutants of a file."""
    codes = exit_codes(meta)
    survivors = [name for name, code in codes.items() if code in SURVIVED]
    wording = sum(code == WORDING for code in codes.values())
    not_tried = sum(code in NOT_TRIED for code in codes.values())
    path = str(meta.with_suffix('')).partition('mutants/groupvit_mmseg/')[2]
    killed = len(codes) - len(survivors) - wording - not_tried
    return Count(path, killed, survivors, wording, not_tried)


def table(counts: Sequence[Count]) -> str:
    """Return a table in Markdown, with a last row for all."""
    total = Count(
        'all',
        sum(c.killed for c in counts),
        [name for c in counts for name in c.survivors],
        sum(c.wording for c in counts),
        sum(c.not_tried for c in counts),
    )
    rows = [row(each) for each in [*counts, total]]
    header = '| module | mutants | killed | survived | share killed | wording, not counted |'
    return '\n'.join([header, '|---|---|---|---|---|---|', *rows])


def row(each: Count) -> str:
    """Return a row of the table."""
    tried = each.killed + len(each.survivors)
    share = f'{each.killed / tried:.1%}' if tried else ''
    left = f' ({each.not_tried} not tried)' if each.not_tried else ''
    return (
        f'| `{each.name}`{left} | {tried} | {each.killed} | {len(each.survivors)} | {share} '
        f'| {each.wording} |'
    )


def report(parts: Iterable[str], out: Path, *, show: bool) -> None:
    """Print the table, and with ``show`` the survivors before it."""
    counts = []
    for name in parts:
        for meta in meta_files(PARTS[name], out / name):
            counts.append(count(meta))
            if show and counts[-1].survivors:
                functions = KINDS.functions(meta.with_suffix('').read_text())
                print(f'\n# {counts[-1].name}\n')
                print('\n'.join(KINDS.difference(functions, each) for each in counts[-1].survivors))
    print(table(counts))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('parts', nargs='*', help=f'of {", ".join(PARTS)}; all by default')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'mutants')
    parser.add_argument('--show', action='store_true', help='print the survivors')
    parser.add_argument(
        '--slow', action='store_true', help='survivors again, with the slow tests too'
    )
    parser.add_argument('--report', action='store_true', help='report what was run, run nothing')
    parser.add_argument('--again', action='store_true', help='try all survivors again')
    args = parser.parse_args()
    parts = args.parts or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f'no part {", ".join(unknown)}: choose from {", ".join(PARTS)}')
    if not args.report and importlib.util.find_spec('mutmut') is None:
        parser.error(
            'mutmut is not installed: pip install -r requirements/integrations/mutants.txt'
        )
    out, failed = args.out.resolve(), []
    for name in [] if args.report else parts:
        prepare(PARTS[name], out / name, again=args.again)
        if run(PARTS[name], out / name):
            if args.slow:
                run_slow(PARTS[name], out / name)
        else:
            failed.append(name)
            print(f'{name}: mutmut failed, see {out / name / "log.txt"}.', file=sys.stderr)
    report(parts, out, show=args.show)
    return int(bool(failed))


if __name__ == '__main__':
    sys.exit(main())
