"""Makes shards of other shards: samples that lists of keys keep or drop, in shards of one size.

python tools/dataset_converters/filter_shards.py 'data/cc3m/*.tar' --out data/clean --keep keys.txt

A list has a key a line, as in the tars ("000012"), or one of a single shard ("a-00.tar/000012").
Without a list the samples are only cut into shards of --per-shard. Their order stays, and the
result is the same, byte by byte, with any number of processes and parts.

For the jobs of an array: --part K/N --parts FOLDER in each, twice (the first time they count, the
second time they write), then --parts FOLDER. Shards that are there are complete: a job that died is
started again.
"""

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.shard_filtering import (
    KeptCount,
    NewShard,
    count_kept,
    key_list,
    plan_shards,
    write_planned,
)
from groupvit_mmseg.datasets.shard_passes import (
    ShardPass,
    add_pass_arguments,
    check_parts,
    positive,
    processes_of,
)
from groupvit_mmseg.datasets.shard_sizes import write_sizes
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.output_paths import check_folder


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs, files or addresses')
    parser.add_argument('--out', type=Path, required=True, help='folder of the new shards')
    parser.add_argument('--name', default='filtered', help='begins their names')
    parser.add_argument('--keep', type=Path, metavar='FILE', help='keys of the samples to keep')
    parser.add_argument('--drop', type=Path, metavar='FILE', help='keys of samples to leave out')
    parser.add_argument('--per-shard', type=positive, default=10_000, help='samples per shard')
    add_pass_arguments(parser)
    args = parser.parse_args(argv)
    if not re.fullmatch(r'\w[\w+-]*', args.name):
        parser.error(f'--name {args.name!r}: use letters, digits, "-" and "_"')
    check_folder(args.out)
    return args


def counting(args: argparse.Namespace, shards: Sequence[str]) -> ShardPass[KeptCount]:
    """Return the pass that counts the kept samples."""
    digests = {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for name, file in (('keep', args.keep), ('drop', args.drop))
        if file is not None
    }
    work = partial(count_kept, keep=name_of(args.keep), drop=name_of(args.drop))
    return ShardPass('filter-count', shards, work, digests, processes_of(args))


def name_of(file: Path | None) -> str | None:
    """Return the name of a list of keys."""
    return None if file is None else str(file)


def count_all(args: argparse.Namespace, task: ShardPass[KeptCount]) -> dict[str, KeptCount] | None:
    """Count the kept samples of all shards; with ``--part`` those of the part, unless all are."""
    if args.part is None or all(
        (args.parts / f'filter-count-{n}-of-{args.part.total}.json').is_file()
        for n in range(1, args.part.total + 1)
    ):
        return dict(task.run(None, args.parts))
    list(task.run(args.part, args.parts))
    print('Every part counts first: run the same commands again when all of them have.')
    return None


def writing(
    args: argparse.Namespace, plan: Sequence[str], task: ShardPass[KeptCount]
) -> ShardPass[NewShard]:
    """Return the pass that writes the planned shards."""
    work = partial(
        write_planned, folder=str(args.out), keep=name_of(args.keep), drop=name_of(args.drop)
    )
    return ShardPass('write', plan, work, {'count': task.fingerprint()}, processes_of(args))


def write_all(args: argparse.Namespace, task: ShardPass[NewShard]) -> dict[str, int]:
    """Write the shards of the part, or all; return the samples of all by name."""
    sizes = {result['name']: result['samples'] for _, result in task.run(args.part, args.parts)}
    missing = [name for name in sizes if not (args.out / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f'{args.out} lacks {len(missing)} shards that the parts have written, the first is '
            f'{missing[0]}: run every part again; those that are there stay.'
        )
    return sizes


def check_place(folder: Path, name: str, shards: Sequence[str]) -> None:
    """Refuse to write beside the shards that are read: a glob of all would give pairs twice."""
    own = re.compile(rf'{re.escape(name)}-\d{{6}}\.tar')
    here = [
        shard
        for shard in shards
        if Path(shard).resolve().parent == folder.resolve() and not own.fullmatch(Path(shard).name)
    ]
    if here:
        raise ValueError(
            f'--out {folder} holds {here[0]}, which is read: choose a folder of its own, or pairs '
            'would be there twice.'
        )


def check_plan(args: argparse.Namespace, plan: Sequence[str], task: ShardPass[KeptCount]) -> None:
    """Refuse a folder with shards of this name that another command has made."""
    text = f'{task.fingerprint()} {hashlib.sha256(repr(plan).encode()).hexdigest()}\n'
    file = args.out / f'.{args.name}.plan'
    if file.is_file():
        if file.read_text() != text:
            raise FileExistsError(
                f'{args.out} holds "{args.name}" of other shards or options: choose another --out '
                'or --name.'
            )
    elif any(args.out.glob(f'{args.name}-??????.tar')):
        raise FileExistsError(f'{args.out} holds shards called "{args.name}": choose another.')
    else:
        write_text(file, text)


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Count what stays, then write it."""
    args = parse_args(argv)
    check_parts(args)
    shards = expand_shards(args.shards)
    check_place(args.out, args.name, shards)
    for file in filter(None, (args.keep, args.drop)):
        print(f'{file}: {len(key_list(str(file))):,} keys')
    task = counting(args, shards)
    counts = count_all(args, task)
    if counts is None:
        return
    read, kept, twice = (
        sum(c[key] for c in counts.values()) for key in ('samples', 'kept', 'twice')
    )
    print(f'{read:,} samples read, {kept:,} kept; {twice:,} have a member twice and are left out')
    if not kept:
        raise ValueError('No sample is kept: compare the keys with those of the shards.')
    plan = plan_shards({s: c['kept'] for s, c in counts.items()}, args.name, args.per_shard)
    check_plan(args, plan, task)
    sizes = write_all(args, writing(args, plan, task))
    if args.part is None:
        print(f'{write_sizes(args.out, sizes)}: {kept:,} samples in {len(plan)} shards')


if __name__ == '__main__':
    sys.exit(main())
