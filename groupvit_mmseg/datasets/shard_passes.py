"""Passes over many shards: in several processes, and in parts that are done by separate jobs.

A part of a pass is a file that appears complete or not at all. A job that died is started again by
itself; the parts are merged in the order of the shards, so that the result is that of one process.
"""

import argparse
import functools
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.datasets.shard_ray import ray_results
from groupvit_mmseg.datasets.shard_sizes import file_version

# What a shard gives: a mapping of anything that JSON has.
Result = TypeVar('Result', bound=Mapping[str, object])
SECONDS_BETWEEN_LINES = 10.0
NO_FOLDER = '--part {} needs --parts FOLDER for its file.'


class Part(NamedTuple):
    """One of ``total`` parts of the work; ``number`` counts from 1.

    Example:
        >>> Part.parse('2/3').of('abcdefg')
        ['b', 'e']
    """

    number: int
    total: int

    @classmethod
    def parse(cls, text: str) -> 'Part':
        """Read ``K/N``; raise ``ValueError`` for anything else."""
        match = re.fullmatch(r'(\d+)/(\d+)', text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ValueError(f'{text!r} is no part: write K/N with K from 1 to N, such as 3/8.')
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[str]) -> list[str]:
        """Return every ``total``-th item, beginning with the ``number``-th."""
        return list(items[self.number - 1 :: self.total])

    def __str__(self) -> str:
        return f'{self.number}/{self.total}'


def part_argument(text: str) -> Part:
    """Read ``K/N`` on a command line."""
    try:
        return Part.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> int:
    """Read a number of at least 1 on a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'it is {text}: give at least 1')
    return int(text)


def add_pass_arguments(parser: argparse.ArgumentParser, processes: int = 4) -> None:
    """Add ``--processes``, ``--ray``, ``--part`` and ``--parts`` to a tool."""
    parser.add_argument(
        '--processes', type=positive, default=processes, help='shards read at a time'
    )
    parser.add_argument(
        '--ray',
        action='store_true',
        help='read them with Ray, on the cluster of RAY_ADDRESS',
    )
    parser.add_argument(
        '--part',
        type=part_argument,
        metavar='K/N',
        help='read every N-th shard from the K-th on, into a file of --parts, and end',
    )
    parser.add_argument(
        '--parts',
        type=Path,
        metavar='FOLDER',
        help='folder of the parts; without --part they are merged to the result',
    )


def check_parts(args: argparse.Namespace) -> None:
    """Raise ``ValueError`` if a command line has ``--part`` without ``--parts``."""
    if args.part and not args.parts:
        raise ValueError(NO_FOLDER.format(args.part))


@dataclass(frozen=True)
class ShardPass(Generic[Result]):
    """A pass over shards.

    Attributes:
        name (str): Of the tool; begins the names of its parts.
        shards (Sequence[str]): All shards, in order.
        work (Callable[[str], Result]): Reads a shard; a function that can be pickled.
        options (Mapping[str, object]): What else the result depends on; a part that was made with
            others is refused.
        processes (int): Shards read at a time; 0 reads them with Ray.
        fold (Callable[[Iterable[Result]], Result] | None): Adds results to one, which is all that
            the file of a part then holds; the order of results must not matter.
    """

    name: str
    shards: Sequence[str]
    work: Callable[[str], Result]
    options: Mapping[str, object] = field(default_factory=dict)
    processes: int = 1
    fold: Callable[[Iterable[Result]], Result] | None = None

    def run(self, part: Part | None, folder: Path | None) -> Iterator[tuple[str, Result]]:
        """Read the shards, or their parts; with ``part`` only write its file.

        Args:
            part (Part | None): The part to do.
            folder (Path | None): Folder of the parts.

        Yields:
            tuple[str, Result]: Every shard with its result, in order, or every part with its folded
                one; nothing with ``part``.

        Raises:
            FileNotFoundError: If a part is missing.
            ValueError: If ``part`` comes without a folder, or parts belong to another pass.
        """
        if part is None:
            yield from self.merged(folder) if folder else self.results(self.shards)
            return
        if folder is None:
            raise ValueError(NO_FOLDER.format(part))
        own = part.of(self.shards)
        results = dict(self.results(own)) if self.fold is None else self._folded(part, own)
        content = {'pass': self.fingerprint(), 'part': str(part), 'results': results}
        file = self._file(folder, part)
        write_text(file, json.dumps(content))
        print(f'written          {file}: {len(own)} shards')

    def _folded(self, part: Part, shards: Sequence[str]) -> dict[str, Result]:
        """Read shards and add their results."""
        assert self.fold is not None
        return {str(part): self.fold(result for _, result in self.results(shards))}

    def results(self, shards: Sequence[str]) -> Iterator[tuple[str, Result]]:
        """Read shards, some at a time, and print a line of progress every ten seconds."""
        if self.processes == 0:
            results: Iterable[Result] = ray_results(self.work, shards)
            yield from with_progress(zip(shards, results, strict=True), len(shards))
            return
        if self.processes == 1 or len(shards) < 2:
            results = map(self.work, shards)
            yield from with_progress(zip(shards, results, strict=True), len(shards))
            return
        with ProcessPoolExecutor(min(self.processes, len(shards))) as pool:
            results = name_broken(pool.map(self.work, shards), shards)
            yield from with_progress(zip(shards, results, strict=True), len(shards))

    def merged(self, folder: Path) -> Iterator[tuple[str, Result]]:
        """Read the results of all parts, in the order of the shards."""
        files = sorted(folder.glob(f'{self.name}-*-of-*.json'))
        counts = {int(file.stem.rpartition('-')[2]) for file in files}
        if len(counts) != 1:
            raise ValueError(
                f'"{folder}" holds parts of {len(counts)} divisions of {self.name}: keep those of '
                'one.'
                if counts
                else f'"{folder}" holds no part of {self.name}: make them with --part 1/N to N/N.'
            )
        (count,) = counts
        results: dict[str, Result] = {}
        for index in range(1, count + 1):
            results |= self._read(folder, Part(index, count))
        for shard in self.shards if self.fold is None else results:
            yield shard, results[shard]

    def _file(self, folder: Path, part: Part) -> Path:
        """Return the file of a part."""
        return folder / f'{self.name}-{part.number}-of-{part.total}.json'

    def _read(self, folder: Path, part: Part) -> dict[str, Result]:
        """Read one part."""
        file = self._file(folder, part)
        if not file.is_file():
            raise FileNotFoundError(f'Part {part} is missing: run it again with --part {part}.')
        content = json.loads(file.read_text(encoding='utf-8'))
        if content.get('pass') != self.fingerprint():
            raise ValueError(
                f'"{file}" was made of other shards or with other options: remove it and run '
                f'--part {part} again.'
            )
        results: dict[str, Result] = content['results']
        return results

    def fingerprint(self) -> str:
        """Return a hash of the pass, its options and the shards, with their sizes and times."""
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        """Hash that, once: many shards are many files to look at."""
        shards = [[shard, *file_version(shard)] for shard in self.shards]
        content = json.dumps([self.name, shards, sorted(self.options.items())], default=str)
        return hashlib.sha256(content.encode()).hexdigest()


def with_progress(
    results: Iterable[tuple[str, Result]], count: int
) -> Iterator[tuple[str, Result]]:
    """Yield results; print a line of progress every ten seconds."""
    start = last_line = time.monotonic()
    for number, result in enumerate(results, 1):
        now = time.monotonic()
        if now - last_line > SECONDS_BETWEEN_LINES:
            last_line = now
            line = f'{number}/{count} shards, {number / (now - start) * 60:,.1f} a minute'
            print(line, file=sys.stderr, flush=True)
        yield result


def name_broken(results: Iterable[Result], shards: Sequence[str]) -> Iterator[Result]:
    """Yield the results; where a process was killed, raise an error that names its shard."""
    results = iter(results)
    for shard in shards:
        try:
            yield next(results)
        except BrokenProcessPool:
            raise RuntimeError(
                f'The process that read "{shard}" or one beside it was killed, for its memory '
                'perhaps: use fewer --processes.'
            ) from None


def run_pass(
    args: argparse.Namespace,
    name: str,
    shards: Sequence[str],
    work: Callable[..., Result],
    *,
    fold: Callable[[Iterable[Result]], Result] | None = None,
    **options: object,
) -> Iterator[tuple[str, Result]]:
    """Run a pass as a command line says.

    Args:
        args (argparse.Namespace): With the arguments of ``add_pass_arguments``.
        name (str): Name of the tool.
        shards (Sequence[str]): All shards.
        work (Callable[..., Result]): Takes a shard and the options.
        fold (Callable[[Iterable[Result]], Result], optional): See :class:`ShardPass`.
        **options (object): Passed to ``work``; parts that were made with others are refused.

    Returns:
        Iterator[tuple[str, Result]]: See :meth:`ShardPass.run`.
    """
    bound = functools.partial(work, **options)
    task = ShardPass(name, shards, bound, options, processes_of(args), fold)
    return task.run(args.part, args.parts)


def processes_of(args: argparse.Namespace) -> int:
    """Return the processes of a command line, 0 for those of Ray."""
    return 0 if args.ray else args.processes
