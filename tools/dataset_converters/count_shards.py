"""Counts the samples of tar shards and writes them to sizes.json beside the shards.

python tools/dataset_converters/count_shards.py 'data/cc3m/cc3m-{000000..000331}.tar'

With sizes.json every sample is read exactly once per epoch. Only the headers of the tars are read.
"""

import argparse
import tarfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from webdataset.tariterators import group_by_keys

from groupvit_mmseg.datasets.shards import expand_shards, write_sizes


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('shards', nargs='+', help='brace expressions, globs or files')
    parser.add_argument('--threads', type=int, default=8, help='shards counted at a time')
    return parser.parse_args(argv)


def count_samples(shard: str) -> int:
    """Samples of one shard, grouped as the training does."""
    try:
        with tarfile.open(shard, 'r:') as tar:
            members = [
                dict(fname=member.name, data=b'', __url__=shard)
                for member in tar
                if member.isreg() and not member.name.startswith('__')
            ]
    except (OSError, tarfile.TarError) as error:
        raise SystemExit(f'"{shard}" is no readable tar ({error}): fetch it again.') from error
    return sum(1 for _ in group_by_keys(members))


def main(argv=None) -> None:
    args = parse_args(argv)
    shards = expand_shards(args.shards)
    folders = defaultdict(dict)
    with ThreadPoolExecutor(args.threads) as pool:
        for shard, size in zip(shards, pool.map(count_samples, shards), strict=True):
            folders[Path(shard).parent][Path(shard).name] = size
    for folder, sizes in folders.items():
        file = write_sizes(folder, sizes)
        print(f'{file}: {sum(sizes.values()):,} samples in {len(sizes)} shards')


if __name__ == '__main__':
    main()
