"""Checks tar shards: lists their contents and faults, and how ranks and workers share an epoch.

python tools/dataset_converters/check_shards.py 'data/cc3m/*.tar' --ranks 16 --workers 8

Reads and decodes every sample as training does and reports unreadable ones with their keys, equal
images, damaged images that can still be read, members that belong to no sample, lengths of
captions, and captions without a noun or verb (they make no prompts). Writes sizes.json beside the
shards. Exits with 1 where samples cannot be used. For the jobs of an array: --part K/N --parts
FOLDER in each, then --parts FOLDER.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.shard_members import (
    MEMBERS_RULE,
    NO_END_MARK,
)
from groupvit_mmseg.datasets.shard_passes import add_pass_arguments, positive, run_pass
from groupvit_mmseg.datasets.shard_reports import (
    CONTEXT_LENGTH,
    Report,
    examine_as_json,
)
from groupvit_mmseg.datasets.shard_sizes import check_sizes_files, write_sizes_of
from groupvit_mmseg.datasets.shard_stream import EMPTY
from groupvit_mmseg.datasets.shards import expand_shards


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs or files')
    add_pass_arguments(parser)
    parser.add_argument('--ranks', type=positive, default=16, help='GPUs of the planned run')
    parser.add_argument('--workers', type=positive, default=8, help='loader workers of each')
    parser.add_argument('--batch-size', type=positive, default=256, help='pairs per step and rank')
    parser.add_argument('--captions', choices=['text', 'json'], default='text')
    return parser.parse_args(argv)


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
    results = run_pass(args, 'check', shards, examine_as_json, captions=args.captions)
    reports = {shard: Report.of_json(result) for shard, result in results}
    if not reports:  # a part
        return 0
    for describe in (describe_samples, describe_captions, partial(describe_epoch, args=args)):
        print('\n'.join(describe(reports)))
    for line in write_sizes_of({shard: report.size for shard, report in reports.items()}):
        print(f'written          {line}')
    return int(any(report.num_bad for report in reports.values()))


if __name__ == '__main__':
    sys.exit(main())
