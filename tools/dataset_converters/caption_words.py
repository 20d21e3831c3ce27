"""Counts the nouns and verbs in the captions of shards, the words that prompts are made of.

python tools/dataset_converters/caption_words.py 'data/cc3m/*.tar' --out words.tsv

Writes a line "word <tab> count" for each, the most frequent first, in lower case. Images are passed
over. For the jobs of an array: --part K/N --parts FOLDER in each, then --parts FOLDER.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.datasets.caption_passes import add_word_counts, count_words
from groupvit_mmseg.datasets.shard_passes import add_pass_arguments, positive, run_pass
from groupvit_mmseg.datasets.shards import expand_shards
from groupvit_mmseg.output_paths import check_output


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('shards', nargs='+', help='brace expressions, globs, files or addresses')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.tsv')
    parser.add_argument('--captions', choices=['text', 'json'], default='text')
    parser.add_argument('--tagger', choices=['textblob', 'nltk'], default='textblob')
    parser.add_argument('--min-count', type=positive, default=1, help='leave out rarer words')
    add_pass_arguments(parser)
    return parser.parse_args(argv)


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Count the words."""
    args = parse_args(argv)
    check_output(args.out)
    shards = expand_shards(args.shards)
    options = dict(captions=args.captions, tagger=args.tagger)
    results = run_pass(args, 'words', shards, count_words, fold=add_word_counts, **options)
    total = add_word_counts(result for _, result in results)
    if args.part is not None:
        return
    words = [(word, count) for word, count in total['words'].items() if count >= args.min_count]
    words.sort(key=lambda entry: (-entry[1], entry[0]))
    write_text(args.out, ''.join(f'{word}\t{count}\n' for word, count in words))
    print(
        f'{args.out}: {len(words):,} words of {total["captions"]:,} captions of '
        f'{total["samples"]:,} samples; {total["without"]:,} captions have none'
    )


if __name__ == '__main__':
    sys.exit(main())
