"""Embeds all captions of shards with the text tower of a model.

python tools/dataset_converters/embed_captions.py 'data/*.tar' --checkpoint CHECKPOINT --out DIR

Writes NAME.npz for each shard NAME.tar: keys of the samples, counts of their captions, and embeds,
normalised, in half precision. Files that are there are complete and stay, so that a job that died
is started again; jobs of an array take --part K/N. Images are passed over.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_device_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.shard_passes import (
    ShardPass,
    add_speed_arguments,
    part_argument,
    processes_of,
)
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.inference.caption_embeddings import embed_captions
from groupvit_mmseg.output_paths import check_folder


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs, files or addresses')
    parser.add_argument('--checkpoint', required=True, help='weights of a pretrainer or segmentor')
    add_model_config_argument(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    parser.add_argument('--captions', choices=['text', 'json'], default='text')
    add_speed_arguments(parser, processes=1)  # each loads the model
    parser.add_argument('--part', type=part_argument, metavar='K/N', help='do one part of N')
    add_device_argument(parser)
    return parser.parse_args(argv)


def check_names(shards: Sequence[str]) -> None:
    """Refuse shards whose files would have one name."""
    names = Counter(Path(shard).name.split('.')[0] for shard in shards)
    name, count = names.most_common(1)[0]
    if count > 1:
        raise ValueError(
            f'{count} shards are called "{name}": embed them into folders of their own.'
        )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Embed the captions."""
    args = parse_args(argv)
    check_source(args.checkpoint)
    check_folder(args.out)
    shards = expand_shards(args.shards)
    check_names(shards)
    work = partial(
        embed_captions,
        folder=str(args.out),
        config=args.config,
        checkpoint=args.checkpoint,
        device=args.device,
        captions=args.captions,
    )
    own = shards if args.part is None else args.part.of(shards)
    results = [
        r for _, r in ShardPass('embed', own, work, processes=processes_of(args)).results(own)
    ]
    totals = [sum(result[key] for result in results) for key in ('captions', 'samples')]
    print(f'{args.out}: {totals[0]:,} captions of {totals[1]:,} samples in {len(results)} files')


if __name__ == '__main__':
    sys.exit(main())
