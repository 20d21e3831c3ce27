"""Checks tar shards: lists their contents and faults, and how ranks and workers share an epoch.

python tools/dataset_converters/check_shards.py 'data/cc3m/*.tar' --ranks 16 --workers 8

Reads and decodes every sample as training does and reports unreadable ones with their keys, equal
images, damaged images that can still be read, members that belong to no sample, lengths of
captions, and captions without a noun or verb (they make no prompts). Writes sizes.json beside the
shards. Exits with 1 where samples cannot be used.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_text_transforms import IMAGE_EXTENSIONS, LoadImageText
from groupvit_mmseg.datasets.shard_members import (
    MEMBERS_RULE,
    NO_END_MARK,
    ShardCount,
    count_members,
)
from groupvit_mmseg.datasets.shard_sizes import check_sizes_files, write_sizes_of
from groupvit_mmseg.datasets.shard_stream import EMPTY, describe_error, read_shard_range
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.text import CaptionWords, tokenize

CONTEXT_LENGTH, EXAMPLES, SECONDS_BETWEEN_LINES = 77, 5, 10


class Report(NamedTuple):
    """Contents and faults of one shard.

    Attributes:
        size (int): Samples.
        bad (list[str]): ``key: reason`` of the first unreadable samples.
        num_bad (int): All of them.
        num_incomplete (int): Those without an image or a caption member.
        complaints (list[str]): ``key: complaint`` of the first images that a decoder complained of.
        num_damaged (int): All of them.
        problem (str): Fault of the tar itself; empty if it has none.
        hidden (int): Hidden files, which are skipped.
        ended (bool): Whether the tar has its end mark.
        images (NDArray[np.uint64]): A hash of each image's bytes.
        lengths (NDArray[np.int64]): Captions by number of tokens, ``(78,)``.
        without_words (int): Captions without a noun or verb.
    """

    size: int
    bad: list[str]
    num_bad: int
    num_incomplete: int
    complaints: list[str]
    num_damaged: int
    problem: str
    hidden: int
    ended: bool
    images: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    without_words: int


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs or files')
    parser.add_argument('--processes', type=int, default=4, help='shards read at a time')
    parser.add_argument('--ranks', type=int, default=16, help='GPUs of the planned run')
    parser.add_argument('--workers', type=int, default=8, help='loader workers of each')
    parser.add_argument('--batch-size', type=int, default=256, help='pairs per step and rank')
    parser.add_argument('--captions', choices=['text', 'json'], default='text')
    args = parser.parse_args(argv)
    for name in ('processes', 'ranks', 'workers', 'batch_size'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} is {getattr(args, name)}: give at least 1')
    return args


def examine(shard: str, captions: str = 'text') -> Report:
    """Read, decode and tag every sample of a shard."""
    load, words = LoadImageText(captions=captions), CaptionWords()
    size, incomplete, without_words, problem = 0, 0, 0, ''
    bad: list[str] = []
    complaints: list[str] = []
    images: list[int] = []
    texts: list[str] = []
    for sample in read_shard_range(ShardRange(shard, 0, None), Path(shard).name):
        if sample.error is not None and not sample.members:
            problem = sample.error
            bad.append(f'{sample.key}: {sample.error}')
            continue
        size += 1
        for extension in IMAGE_EXTENSIONS:
            if extension in sample.members:
                digest = hashlib.blake2b(sample.members[extension], digest_size=8).digest()
                images.append(int.from_bytes(digest, 'little'))
        try:
            loaded = load.transform(sample._asdict())
            without_words += not words(loaded['caption'])
            texts.append(loaded['caption'])
            complaints += loaded['damaged']
        except Exception as error:  # as in training: whatever a decoder or a parser raises
            reason = describe_error(error)
            incomplete += MEMBERS_RULE in reason
            bad.append(f'{sample.key}: {reason}')
    count = count_headers(shard)
    return Report(
        size=size,
        bad=bad[:EXAMPLES],
        num_bad=len(bad),
        num_incomplete=incomplete,
        complaints=complaints[:EXAMPLES],
        num_damaged=len(complaints),
        problem=problem,
        hidden=count.hidden,
        ended=count.ended,
        images=np.array(images, dtype=np.uint64),
        lengths=token_lengths(texts),
        without_words=without_words,
    )


def count_headers(shard: str) -> ShardCount:
    """Count the headers of a shard; zeros for one elsewhere or a broken one."""
    try:
        return count_members(shard)
    except Exception:  # not on this machine, or broken, which is reported already
        return ShardCount(samples=0, files=0, hidden=0, repeated=())


def token_lengths(texts: list[str]) -> NDArray[np.int64]:
    """Count captions by number of tokens, start and end included."""
    if not texts:
        return np.zeros(CONTEXT_LENGTH + 1, dtype=np.int64)
    ends = tokenize(texts, CONTEXT_LENGTH).argmax(-1) + 1
    return np.bincount(ends.numpy(), minlength=CONTEXT_LENGTH + 1)


def examine_all(shards: Sequence[str], args: argparse.Namespace) -> dict[str, Report]:
    """Examine every shard; print a line of progress every ten seconds."""
    reports, samples, start = {}, 0, time.monotonic()
    last_line = start
    with ProcessPoolExecutor(args.processes) as pool:
        results = pool.map(partial(examine, captions=args.captions), shards)
        for shard, report in zip(shards, name_broken(results, shards), strict=True):
            reports[shard] = report
            samples, now = samples + report.size, time.monotonic()
            if now - last_line > SECONDS_BETWEEN_LINES:
                last_line, rate = now, samples / (now - start)
                line = f'{len(reports)}/{len(shards)} shards, {samples:,} samples, {rate:,.0f} a s'
                print(line, file=sys.stderr, flush=True)
    return reports


def name_broken(results: Iterable[Report], shards: Sequence[str]) -> Iterator[Report]:
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


def describe_samples(reports: dict[str, Report]) -> list[str]:
    """Describe the samples: counts and faults."""
    sizes = [report.size for report in reports.values()]
    images = np.concatenate([report.images for report in reports.values()])
    num_equal = len(images) - len(np.unique(images))
    num_bad = sum(report.num_bad for report in reports.values())
    lines = [
        f'samples          {sum(sizes):,} in {len(sizes)} shards of {min(sizes):,} to '
        f'{max(sizes):,}',
        f'unusable         {num_bad:,}',
        *(f'    {problem}' for report in reports.values() for problem in report.bad),
        *advice(reports),
        f'damaged images   {sum(report.num_damaged for report in reports.values()):,} were read',
        *(f'    {complaint}' for report in reports.values() for complaint in report.complaints),
        f'equal images     {num_equal:,} beyond the first of each',
    ]
    for shard, report in reports.items():
        if report.problem == EMPTY:
            lines.append(f'    {shard} is empty: fetch or make it again')
        elif report.problem:
            lines.append(f'    {shard} breaks off: fetch or make it again')
        if not report.ended:
            lines.append(f'    {shard} {NO_END_MARK}')
        if report.hidden:
            lines.append(
                f'    {shard}: {report.hidden:,} hidden files (._*, .DS_Store) passed over'
            )
    return lines


def advice(reports: dict[str, Report]) -> list[str]:
    """Say what to do if samples lack members."""
    incomplete = sum(report.num_incomplete for report in reports.values())
    if not incomplete:
        return []
    return [
        f'    {incomplete:,} have no image or no caption member: {MEMBERS_RULE}.',
        '    Sort the members by name (tar --sort=name), keep image and caption in one folder, and '
        'name them',
        '    photo_v0.jpg, not photo.v0.jpg; make_shards.py writes shards like this.',
    ]


def describe_captions(reports: dict[str, Report]) -> list[str]:
    """Describe the captions: lengths, and those without words."""
    lengths = np.sum([report.lengths for report in reports.values()], axis=0)
    count = int(lengths.sum())
    if count == 0:
        return ['captions         none']
    quantiles = [int(np.searchsorted(lengths.cumsum(), q * count)) for q in (0.5, 0.95, 1.0)]
    without = sum(report.without_words for report in reports.values())
    return [
        'caption tokens   median {}, 95 % up to {}, longest {}'.format(*quantiles),
        f'cut at {CONTEXT_LENGTH}        up to {int(lengths[CONTEXT_LENGTH]):,}',
        f'without words    {without:,} ({without / count:.1%}): no noun, no verb, no prompts',
    ]


def describe_epoch(reports: dict[str, Report], args: argparse.Namespace) -> list[str]:
    """Describe how the planned run shares these shards."""
    samples, slots = sum(report.size for report in reports.values()), args.ranks * args.workers
    steps = samples // args.ranks // args.batch_size
    lines = [
        f'an epoch         {steps:,} steps of {args.ranks} x {args.batch_size}; '
        f'{samples - steps * args.ranks * args.batch_size:,} samples are left out'
    ]
    if steps == 0:
        lines.append('    too few for one step: lower --batch-size or --ranks')
    if len(reports) < slots:
        lines.append(
            f'    {len(reports)} shards for {slots} workers ({args.ranks} ranks x {args.workers}): '
            'several read one shard; cut smaller shards or use fewer workers'
        )
    return lines


@tool_main()
def main(argv: Sequence[str] | None = None) -> int:
    """Check the shards; the exit status is 1 if samples cannot be used."""
    args = parse_args(argv)
    shards = expand_shards(args.shards)
    check_sizes_files(shards)
    reports = examine_all(shards, args)
    for describe in (describe_samples, describe_captions, partial(describe_epoch, args=args)):
        print('\n'.join(describe(reports)))
    for line in write_sizes_of({shard: report.size for shard, report in reports.items()}):
        print(f'written          {line}')
    return int(any(report.num_bad for report in reports.values()))


if __name__ == '__main__':
    sys.exit(main())
