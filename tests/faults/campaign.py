"""Gives mutated inputs to the parsers, with limits of memory and time.

python tests/faults/campaign.py [--parser NAME ...] [--count 1000] [--first 0] [--out FOLDER]

Every input is a function of its number, so that a fault can be repeated:
--parser NAME --first NUMBER --count 1 --verbose.
"""

import argparse
import faulthandler
import importlib.util
import json
import mmap
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
SECONDS = 2.0
"""float: Processor time of one input after which it counts as hanging."""
CHUNK = 20_000  # inputs of one process


def module(name: str):
    """Import a module beside this one, however this one was imported."""
    full = f'groupvit_faults_{name}'
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, HERE / f'{name}.py')
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


class Fault(NamedTuple):
    """An input that broke a promise."""

    parser: str
    number: int
    kind: str
    error: str


class Report(NamedTuple):
    """What a campaign found: inputs by outcome, and the faults."""

    outcomes: Counter
    faults: list[Fault]


def run(
    name: str,
    numbers: range,
    make: Callable[[int], bytes] | None = None,
    *,
    warm_up: bool = True,
) -> Report:
    """Give inputs to a parser, in processes of their own.

    Args:
        name (str): The parser.
        numbers (range): Numbers of the inputs.
        make (Callable[[int], bytes], optional): Makes an input of its number; None mutates the
            seeds. Defaults to None.
        warm_up (bool): Whether the seeds are read first, so that imports and caches do not count as
            an input's memory. Defaults to True.
    """
    parser = module('parsers').Parsers[name]
    seeds = material(name)
    make = make or (lambda number: module('mutations').mutated(seeds, number))
    parser = parser if warm_up else parser._replace(seeds=lambda: [])
    report = Report(Counter(), [])
    start = numbers.start
    while start < numbers.stop:
        stop = min(start + CHUNK, numbers.stop)
        start = _run_chunk(name, parser, make, range(start, stop), report)
    return report


def material(name: str) -> list[bytes]:
    """Return what is mutated for a parser: valid inputs, at least half of it, and faults."""
    valid, faults = list(module('parsers').Parsers[name].seeds()), corpus(name)
    return valid * -(-max(len(faults), 1) // len(valid)) + faults


def corpus(name: str) -> list[bytes]:
    """Return the inputs that were faults once, which are mutated too."""
    folder = HERE.parent / 'data' / 'hostile' / folder_name(name)
    return [path.read_bytes() for path in sorted(folder.glob('*'))] if folder.is_dir() else []


def folder_name(name: str) -> str:
    """Return a parser's name as that of a folder."""
    return name.replace(', ', '_').replace(' ', '_')


def _run_chunk(name, parser, make, numbers: range, report: Report) -> int:
    """Run numbers until one ends the process; return the first that is not done."""
    place = mmap.mmap(-1, 8)  # the number in work, which a crash leaves behind
    folder = Path(tempfile.mkdtemp(prefix='faults-', dir=_fast_folder()))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        status = 1
        try:
            _child(parser, make, numbers, place, writer, folder)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as stream:
        for line in stream:
            kind, number, error, count = json.loads(line)
            report.outcomes[kind] += count
            if kind in ('memory', 'undocumented', 'escape'):
                report.faults.append(Fault(name, number, kind, error))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shutil.rmtree(folder, ignore_errors=True)
    if status == 0:
        return numbers.stop
    (number,) = struct.unpack('<q', place[:8])
    kind = 'hang' if status == -signal.SIGPROF else 'crash'
    report.outcomes[kind] += 1
    report.faults.append(Fault(name, number, kind, f'status {status}'))
    return number + 1


def _child(parser, make, numbers: range, place: mmap.mmap, writer: int, folder: Path) -> None:
    """Run inputs one after another below a folder; write a line for each fault, and the counts."""
    limited = module('limited')
    faulthandler.disable()  # the parent reports a crash
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    work = folder / 'a' / 'b'
    counts: Counter = Counter()
    for data in parser.seeds():
        work.mkdir(parents=True)
        limited.outcome_of(parser.run, data, work)
        shutil.rmtree(work.parent)
    work.mkdir(parents=True)
    limited.limit_memory(parser.mib)
    with os.fdopen(writer, 'w') as stream:
        for number in numbers:
            place[:8] = struct.pack('<q', number)
            data = make(number)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            outcome = limited.outcome_of(parser.run, data, work)
            signal.setitimer(signal.ITIMER_PROF, 0)
            kind = outcome.kind
            allowed = {error.__name__ for error in parser.errors}
            if kind == 'raised' and not allowed.intersection(outcome.types):
                kind = 'undocumented'
            if _left_its_folder(folder):
                kind = 'escape'
                shutil.rmtree(folder)
                work.mkdir(parents=True)
            _empty(work)
            counts[kind] += kind in ('raised', 'returned')
            if kind not in ('raised', 'returned'):
                print(json.dumps([kind, number, outcome.error, 1]), file=stream, flush=True)
        for kind, count in counts.items():
            if count:
                print(json.dumps([kind, -1, '', count]), file=stream, flush=True)


def _left_its_folder(folder: Path) -> bool:
    """Return whether ``folder`` has anything but ``a/b``, the folder that a parser may use."""
    return os.listdir(folder) != ['a'] or os.listdir(folder / 'a') != ['b']


def _empty(work: Path) -> None:
    """Remove what a parser has written."""
    with os.scandir(work) as entries:
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)


def _fast_folder() -> str | None:
    """Return a folder in memory where there is one."""
    return '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


def write_inputs(faults: Sequence[Fault], folder: Path) -> None:
    """Write the inputs that broke a promise to FOLDER/PARSER/NUMBER.bin."""
    for fault in faults:
        seeds = material(fault.parser)
        path = folder / folder_name(fault.parser) / f'{fault.number}.bin'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(module('mutations').mutated(seeds, fault.number))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parsers and print a line for each."""
    names = list(module('parsers').Parsers)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--parser', nargs='+', choices=names, default=names)
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--first', type=int, default=0)
    parser.add_argument('--out', type=Path, help='folder of the faulty inputs')
    parser.add_argument('--verbose', action='store_true', help='run here, with the traceback')
    args = parser.parse_args(argv)
    faulty = 0
    for name in args.parser:
        numbers = range(args.first, args.first + args.count)
        if args.verbose:
            one = module('parsers').Parsers[name]
            seeds = material(name)
            for number in numbers:
                data = module('mutations').mutated(seeds, number)
                print(number, len(data), data[:300])
                one.run(data, Path(tempfile.mkdtemp(prefix='faults-')))
            continue
        began = time.monotonic()
        report = run(name, numbers)
        faulty += len(report.faults)
        counts = ', '.join(f'{count:,} {kind}' for kind, count in sorted(report.outcomes.items()))
        print(f'{name}: {counts} in {time.monotonic() - began:.0f} s', flush=True)
        for fault in report.faults[:10]:
            print(f'  {fault.number} {fault.kind}: {fault.error[:300]}', flush=True)
        if args.out:
            write_inputs(report.faults, args.out)
    return int(faulty > 0)


if __name__ == '__main__':
    sys.exit(main())
