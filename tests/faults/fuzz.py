"""Coverage-guided fuzzing of the parsers with atheris, beside the mutations of campaign.py.

make fuzz SECONDS=60
python tests/faults/fuzz.py [--parser NAME ...] [--seconds 120] [--corpus FOLDER]    # with atheris

Each parser runs in a process of its own. An input that raises an undocumented error, takes more
than two seconds of processor time or more memory than the parser's limit and 1.5 GB is written to
FOLDER/NAME/faults; what reached new code stays in FOLDER/NAME and is where the next call begins.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from campaign import module

HERE = Path(__file__).resolve().parent
PACKAGES = ['groupvit_mmseg', 'groupvit_web', 'groupvit_cli']
BASE_MIB = 1500  # of the interpreter with its libraries
MAX_BYTES = 200_000


def fuzz(name: str, corpus: Path, seconds: int) -> None:
    """Fuzz one parser in this process, which atheris ends."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        parser = module('parsers').Parsers[name]
    folder = Path(tempfile.mkdtemp(prefix='fuzz-', dir=fast_folder()))

    def parse(data: bytes) -> None:
        work = folder / 'a' / 'b'
        shutil.rmtree(folder, ignore_errors=True)
        work.mkdir(parents=True)
        began = time.process_time()
        with contextlib.suppress(*parser.errors):
            parser.run(data, work)
        if time.process_time() - began > module('campaign').SECONDS:
            raise AssertionError('it took too long')
        if {path for path in folder.rglob('*') if work not in path.parents} != {work.parent, work}:
            raise AssertionError('a file outside of its folder')

    for seed in parser.seeds():  # imports and caches are of no input
        with contextlib.suppress(*parser.errors, AssertionError):
            parse(seed)
    # Of the wall clock, for what never ends.
    options = [f'-max_total_time={seconds}', '-timeout=60', f'-max_len={MAX_BYTES}']
    options += [f'-rss_limit_mb={BASE_MIB + parser.mib}', f'-artifact_prefix={corpus}/faults/']
    # The parsers log what they leave out; libFuzzer reports on a copy of the standard error.
    atheris.Setup([sys.argv[0], *options, '-close_fd_mask=1', str(corpus / 'kept')], parse)
    atheris.Fuzz()


def fast_folder() -> str | None:
    """Return a folder in memory where there is one."""
    return '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


def prepare(name: str, corpus: Path) -> Path:
    """Write a parser's seeds, and the inputs that are kept, into its corpus; return that."""
    campaign = module('campaign')
    own = corpus / campaign.folder_name(name)
    for folder in ('kept', 'faults'):
        (own / folder).mkdir(parents=True, exist_ok=True)
    seeds = [*campaign.module('parsers').Parsers[name].seeds(), *campaign.corpus(name)]
    for number, seed in enumerate(seeds):
        (own / 'kept' / f'seed-{number}').write_bytes(seed)
    return own


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the parsers one after another, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--parser', nargs='+', help='names; all of parsers.py without it')
    parser.add_argument('--seconds', type=int, default=120, help='of each parser')
    parser.add_argument('--corpus', type=Path, default=Path('fuzz-corpus'))
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        fuzz(args.parser[0], args.corpus, args.seconds)
        return 0
    faults = 0
    for name in args.parser or list(module('parsers').Parsers):
        own = prepare(name, args.corpus)
        command = [sys.executable, __file__, '--child', '--parser', name, '--corpus', str(own)]
        run = subprocess.run(
            [*command, '--seconds', str(args.seconds)], stderr=subprocess.PIPE, check=False
        )
        report = run.stderr.decode(errors='replace')
        counts = re.findall(r'#(\d+)\s.*?cov: (\d+)', report)
        done, coverage = counts[-1] if counts else ('0', '0')
        faults += run.returncode != 0
        print(
            f'{name}: {int(done):,} inputs, {coverage} edges, status {run.returncode}', flush=True
        )
        if run.returncode:
            print(report[-2000:], flush=True)
    return int(faults > 0)


if __name__ == '__main__':
    sys.exit(main())
