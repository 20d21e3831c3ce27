"""Counts the samples of tar shards and writes them to sizes.json beside the shards.

python tools/dataset_converters/count_shards.py 'data/cc3m/cc3m-{000000..000331}.tar'

With sizes.json every sample is read exactly once per epoch. Only the headers of the tars are read;
compressed tars are counted as training reads them. Shards that are empty or have members without a
sample are listed. For the jobs of an array: --part K/N --parts FOLDER in each, then --parts FOLDER.
"""

import argparse
import sys
from collections.abc import Sequence

from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.shard_counts import count
from groupvit_mmseg.datasets.shard_passes import add_pass_arguments, run_pass
from groupvit_mmseg.datasets.shard_sizes import check_sizes_files, write_sizes_of
from groupvit_mmseg.datasets.shards import expand_shards


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs or files')
    add_pass_arguments(parser)
    return parser.parse_args(argv)


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Count the samples and write ``sizes.json``."""
    args = parse_args(argv)
    shards = expand_shards(args.shards)
    check_sizes_files(shards)
    sizes = {}
    for shard, result in run_pass(args, 'count', shards, count):
        sizes[shard] = result['samples']
        for line in result['remarks']:
            print(line, file=sys.stderr)
    for line in write_sizes_of(sizes):
        print(line)


if __name__ == '__main__':
    sys.exit(main())
