"""Embeds all captions of shards with the text tower of a model.

python tools/dataset_converters/embed_captions.py 'data/*.tar' --checkpoint CHECKPOINT --out DIR

Writes NAME.npz for each shard NAME.tar: keys of the samples, counts of their captions, and embeds,
normalised, in half precision. Files that are there are complete and stay, so that a job that died
is started again. Images are passed over. For the jobs of an array: --part K/N --parts FOLDER in
each, then --parts FOLDER, which says whether all shards have their file.
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
    add_pass_arguments,
    check_parts,
    processes_of,
)
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.inference.caption_embeddings import EmbeddedShard, embed_captions, file_hash
from groupvit_mmseg.output_paths import check_folder


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs, files or addresses')
    parser.add_argument('--checkpoint', required=True, help='weights of a pretrainer or segmentor')
    add_model_config_argument(parser)
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    parser.add_argument('--captions', choices=['text', 'json'], default='text')
    add_pass_arguments(parser, processes=1)  # each loads the model
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


def report(folder: Path, results: Sequence[EmbeddedShard]) -> None:
    """Print the totals; raise ``FileNotFoundError`` if a file of the parts is gone."""
    missing = [result['file'] for result in results if not (folder / result['file']).is_file()]
    if missing:
        raise FileNotFoundError(
            f'{folder} lacks {len(missing)} files that the parts have written, the first is '
            f'{missing[0]}: run every part again; files that are there stay.'
        )
    captions, samples = (sum(result[key] for result in results) for key in ('captions', 'samples'))
    print(f'{folder}: {captions:,} captions of {samples:,} samples in {len(results)} files')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Embed the captions."""
    args = parse_args(argv)
    check_parts(args)
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
    options = {'model': file_hash(args.checkpoint), 'captions': args.captions}
    task = ShardPass('embed', shards, work, options, processes_of(args))
    results = [result for _, result in task.run(args.part, args.parts)]
    if args.part is None:
        report(args.out, results)


if __name__ == '__main__':
    sys.exit(main())
