"""Shows which words of a class list a model cannot tell apart.

python tools/analysis_tools/vocabulary.py CHECKPOINT --classes coco_object [--top 20] [--out FILE]

--classes is a known set, a class file (docs/evaluation.md), or words separated by commas. Pairs of
words of different classes are listed by the cosine of their embeddings; those above --near are
near-duplicates: to the model they are one class, whatever the images show.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from torch import Tensor

from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.checkpoints.sources import check_source
from groupvit_mmseg.command_line import (
    add_checkpoint_argument,
    add_model_config_argument,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.text.class_list import ClassList


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument(
        '--classes', required=True, help='a known set, a class file, or words separated by commas'
    )
    add_model_config_argument(parser)
    parser.add_argument(
        '--templates', help='a template set (default: that of the class file, or simple)'
    )
    parser.add_argument('--top', type=int, default=20, help='pairs to list (default: 20)')
    parser.add_argument(
        '--near', type=float, default=0.95, help='least cosine of near-duplicates (default: 0.95)'
    )
    parser.add_argument(
        '--out', type=Path, metavar='FILE.json', help='file for all near-duplicates'
    )
    return parser.parse_args(argv)


def near_pairs(embeds: Tensor, classes: ClassList) -> list[tuple[float, str, str]]:
    """Return (cosine, word, word) of all pairs of words of different classes, nearest first."""
    cosines = embeds @ embeds.T
    labels = torch.tensor(classes.word_classes)
    rows, columns = torch.triu_indices(len(labels), len(labels), 1)
    apart = labels[rows] != labels[columns]
    rows, columns = rows[apart], columns[apart]
    values = cosines[rows, columns]
    order = values.argsort(descending=True, stable=True).tolist()
    words = classes.words
    return [(values[i].item(), words[rows[i]], words[columns[i]]) for i in order]


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """List the nearest pairs of words."""
    args = parse_args(argv)
    check_source(args.checkpoint)
    check_output(args.out, reads=[args.checkpoint, args.config, args.classes])
    head = load_segmentor(args.config, args.checkpoint).decode_head
    classes = read_class_choice(args.classes)
    if args.templates is not None:
        classes['templates'] = args.templates
    head.set_classes(**classes)
    pairs = near_pairs(head.encode_classes().cpu(), head.classes)
    near = [pair for pair in pairs if pair[0] >= args.near]
    for cosine, one, other in pairs[: args.top]:
        print(f'{cosine:.3f} {"near" if cosine >= args.near else "    "}  {one} / {other}')
    print(f'{len(near)} of {len(pairs)} pairs have a cosine of at least {args.near}')
    if args.out:
        content = [dict(cosine=cosine, words=words) for cosine, *words in near]
        write_json(dict(near=content, checkpoint=describe_checkpoint(args.checkpoint)), args.out)
        print(f'wrote {args.out}')


if __name__ == '__main__':
    sys.exit(main())
