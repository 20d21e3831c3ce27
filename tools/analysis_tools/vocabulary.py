"""Shows which words of a class list a model cannot tell apart.

python tools/analysis_tools/vocabulary.py CHECKPOINT --classes coco_object [--top 20] [--out FILE]

--classes is a known set, a class file (docs/evaluation.md), or words separated by commas. Pairs of
words of different classes are listed by the cosine of their embeddings; those above --near are
near-duplicates: to the model they are one class, whatever the pictures show.
"""

import argparse
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch

from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.inference import load_segmentor
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.class_choice import read_class_choice

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
ERRORS = (ImportError, OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument('--classes', required=True, help='a known set, a class file, or words')
    parser.add_argument('--config', type=Path, default=MODEL, help='of the model')
    parser.add_argument('--templates', help="name of a template set; the file's, or simple")
    parser.add_argument('--top', type=int, default=20, help='pairs to list')
    parser.add_argument('--near', type=float, default=0.95, help='cosine of near-duplicates')
    parser.add_argument('--out', type=Path, metavar='FILE.json', help='write all near-duplicates')
    return parser.parse_args(argv)


def near_pairs(embeds, classes):
    """(cosine, word, word) of all pairs of words of different classes, the nearest first."""
    cosines = embeds @ embeds.T
    labels = torch.tensor(classes.word_classes)
    rows, columns = torch.triu_indices(len(labels), len(labels), 1)
    apart = labels[rows] != labels[columns]
    rows, columns = rows[apart], columns[apart]
    values = cosines[rows, columns]
    order = values.argsort(descending=True, stable=True).tolist()
    words = classes.words
    return [(values[i].item(), words[rows[i]], words[columns[i]]) for i in order]


def main(argv=None):
    args = parse_args(argv)
    try:
        check_output(args.out, reads=[args.checkpoint, args.config, args.classes])
        head = load_segmentor(args.config, args.checkpoint).decode_head
        classes = read_class_choice(args.classes)
        if args.templates is not None:
            classes['templates'] = args.templates
        head.set_classes(**classes)
        pairs = near_pairs(head.encode_classes().cpu(), head.classes)
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    near = [pair for pair in pairs if pair[0] >= args.near]
    for cosine, one, other in pairs[: args.top]:
        print(f'{cosine:.3f} {"near" if cosine >= args.near else "    "}  {one} / {other}')
    print(f'{len(near)} of {len(pairs)} pairs have a cosine of at least {args.near}')
    if args.out:
        content = [dict(cosine=cosine, words=words) for cosine, *words in near]
        write_json(dict(near=content, checkpoint=describe_checkpoint(args.checkpoint)), args.out)
        print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
