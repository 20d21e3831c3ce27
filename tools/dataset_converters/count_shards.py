"""Counts the samples of tar shards and writes them to sizes.json beside the shards.

python tools/dataset_converters/count_shards.py 'data/cc3m/cc3m-{000000..000331}.tar'

With sizes.json every sample is read exactly once per epoch. Only the headers of the tars are read;
compressed tars are counted as training reads them. Shards that are empty or have members without a
sample are listed.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.shard_members import (
    MEMBERS_RULE,
    NO_END_MARK,
    ShardCount,
    count_members,
)
from groupvit_mmseg.datasets.shard_sizes import check_sizes_files, write_sizes_of
from groupvit_mmseg.datasets.shards import expand_shards


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs or files')
    parser.add_argument('--threads', type=int, default=8, help='shards counted at a time')
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error(f'--threads is {args.threads}: give at least 1')
    return args


def count_samples(shard: str) -> ShardCount:
    """Count the samples of one shard, grouped as training does."""
    if '://' in shard or shard.startswith('pipe:'):
        raise ValueError(f'"{shard}" is not on this machine: set `length` in the config instead.')
    if Path(shard).is_dir():
        raise ValueError(f'"{shard}" is a folder: name its shards, "{shard.rstrip("/")}/*.tar".')
    if Path(shard).is_file() and Path(shard).stat().st_size == 0:
        raise ValueError(f'"{shard}" is empty (0 bytes): fetch it again.')
    try:
        return count_members(shard)
    except Exception as error:  # tar, gzip, bzip2 and xz have errors of their own
        reason = ' '.join(str(error).split())
        raise ValueError(f'"{shard}" is no readable tar ({reason}): fetch it again.') from error


def remarks(shard: str, count: ShardCount) -> list[str]:
    """Describe what is unusual about a shard."""
    lines = []
    if count.files == 0:
        lines.append(f'"{shard}" is empty: it counts 0 samples.')
    elif count.samples == 0:
        lines.append(f'"{shard}" has {count.files} files but no sample: {MEMBERS_RULE}.')
    if count.hidden:
        lines.append(f'"{shard}": {count.hidden} hidden files (._*, .DS_Store) are passed over.')
    if not count.ended:
        lines.append(f'"{shard}" {NO_END_MARK}.')
    if count.repeated:
        lines.append(
            f'"{shard}": {len(count.repeated)} members are there twice, first '
            f'"{count.repeated[0]}"; training skips their samples: give samples different names.'
        )
    return lines


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Count the samples and write ``sizes.json``."""
    args = parse_args(argv)
    shards = expand_shards(args.shards)
    check_sizes_files(shards)
    sizes = {}
    with ThreadPoolExecutor(args.threads) as pool:
        for shard, count in zip(shards, pool.map(count_samples, shards), strict=True):
            sizes[shard] = count.samples
            for line in remarks(shard, count):
                print(line, file=sys.stderr)
    print('\n'.join(write_sizes_of(sizes)))


if __name__ == '__main__':
    sys.exit(main())
