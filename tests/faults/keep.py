"""Chooses the inputs of tests/data/hostile: the smallest one for each distinct end of a parser.

python tests/faults/keep.py [--parser NAME ...] [--count 300]

Small files of bombs.py are kept too. The end of an input is the type of its error, the message
without numbers and quoted words, and the line of this project that raised it. Files that are there
already stay.
"""

import argparse
import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from campaign import module

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MAX_FILES, MAX_BYTES = 12, 12_000
"""int: Files and bytes of a parser."""
MAX_BOMB = 1_500
_DETAILS = re.compile(r'"[^"]*"|\'[^\']*\'|\S*/\S+|[\d,.]+|0x\w+')


def end_of(parser, data: bytes) -> tuple[str, ...]:
    """Return how a parser ends with an input."""
    folder = Path(tempfile.mkdtemp(prefix='keep-'))
    try:
        parser.run(data, folder)
        return ('returned',)
    except parser.errors as error:
        line, trace = '', error.__traceback__
        while trace is not None:
            file = Path(trace.tb_frame.f_code.co_filename)
            if file.is_relative_to(ROOT):
                line = f'{file.name}:{trace.tb_lineno}'
            trace = trace.tb_next
        return type(error).__name__, _DETAILS.sub('', str(error))[:80], line
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose(parser, count: int) -> list[bytes]:
    """Return the smallest input of each end, small ones first, up to the limits."""
    mutated, seeds = module('mutations').mutated, list(parser.seeds())
    smallest: dict[tuple[str, ...], bytes] = {}
    for number in range(count):
        data = mutated(seeds, number)
        if len(data) > MAX_BYTES // 3:
            continue
        end = end_of(parser, data)
        if len(data) < len(smallest.get(end, data + b'x')):
            smallest[end] = data
    chosen, total = [], 0
    for data in sorted(smallest.values(), key=len)[:MAX_FILES]:
        total += len(data)
        if total <= MAX_BYTES:
            chosen.append(data)
    return chosen


def once_faults(name: str) -> list[bytes]:
    """Return the small files of bombs.py, of which each kind was a fault once."""
    made = (make() for make in module('bombs').BOMBS.get(name, {}).values())
    return [data for data in made if len(data) <= MAX_BOMB]


def main(argv: Sequence[str] | None = None) -> None:
    """Choose for each parser, and write the files, named by their content."""
    parsers, campaign = module('parsers').Parsers, module('campaign')
    command_line = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command_line.add_argument('--parser', nargs='+', choices=list(parsers), default=list(parsers))
    command_line.add_argument('--count', type=int, default=300)
    args = command_line.parse_args(argv)
    for name in args.parser:
        folder = ROOT / 'tests/data/hostile' / campaign.folder_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [*once_faults(name), *choose(parsers[name], args.count)]
        for data in chosen:
            (folder / f'{hashlib.sha256(data).hexdigest()[:12]}.bin').write_bytes(data)
        print(f'{name}: {len(chosen)} files, {sum(map(len, chosen)):,} bytes', flush=True)


if __name__ == '__main__':
    main()
