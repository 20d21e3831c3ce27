"""Evaluates one checkpoint under several protocols: how much of a number is the procedure.

python tools/analysis_tools/compare_protocols.py CHECKPOINT --sets voc21 context60 --out DIR
python tools/analysis_tools/compare_protocols.py CHECKPOINT --sets voc20 --protocols tcl --out DIR

Further options are those of tools/evaluate.py, which evaluates each protocol into DIR/PROTOCOL; the
same command continues after an interruption. DIR gets protocols.md and protocols.csv: a row per
protocol, mIoU of each set, and their spread; protocols.md has the published scores in a table of
their own, each with its protocol. Sets that a protocol states no background threshold
for are left out of its row; --change bg_thresh=0.5 gives them one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.protocols import PRESETS, protocol
from groupvit_mmseg.benchmark.published import PUBLISHED
from groupvit_mmseg.benchmark.result_types import ProtocolFields
from groupvit_mmseg.benchmark.sets import Benchmark, select_sets
from groupvit_mmseg.benchmark.tables import csv_table, markdown_table, result_notes
from groupvit_mmseg.command_line import add_checkpoint_argument, tool_main, tool_parser
from groupvit_mmseg.key_values import KeyValueAction
from groupvit_mmseg.output_paths import check_folder

EVALUATE = Path(__file__).resolve().parents[1] / 'evaluate.py'
SPREAD = 'highest - lowest'


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line; return also the options that tools/evaluate.py gets."""
    parser = tool_parser(__doc__)
    add_checkpoint_argument(parser)
    parser.add_argument('--sets', nargs='+', required=True, metavar='SET', help='sets to evaluate')
    parser.add_argument(
        '--protocols',
        nargs='+',
        default=list(PRESETS),
        choices=PRESETS,
        metavar='PROTOCOL',
        help=f'some of {", ".join(PRESETS)} (default: all)',
    )
    parser.add_argument(
        '--change',
        nargs='+',
        default={},
        action=KeyValueAction,
        metavar='FIELD=VALUE',
        help='fields to change in every protocol',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to write')
    return parser.parse_known_args(argv)


def has_values(name: str, benchmark: Benchmark, changes: ProtocolFields) -> bool:
    """Return whether a protocol, with the changes, has a threshold for a set or needs none."""
    try:
        protocol(name, benchmark.class_set, **changes)
    except ValueError as error:
        if 'give one with bg_thresh' not in str(error):
            raise
        return False
    return True


def load_evaluate() -> Callable[[Sequence[str]], int]:
    """Return the main function of tools/evaluate.py."""
    spec = importlib.util.spec_from_file_location('evaluate', EVALUATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def command(
    name: str, sets: Sequence[str], args: argparse.Namespace, options: Sequence[str]
) -> list[str]:
    """Return the arguments of tools/evaluate.py for one protocol."""
    changes = [f'{key}={value}' for key, value in args.change.items()]
    return [
        args.checkpoint,
        *('--sets', *sets),
        *('--protocol', name),
        *('--out', str(args.out / name)),
        *(['--change', *changes] if changes else []),
        *options,
    ]


def read_scores(folder: Path, sets: Sequence[Benchmark]) -> dict[str, float]:
    """Return the score of each set that a protocol's folder has a result of."""
    scores = {}
    for benchmark in sets:
        path = folder / f'{benchmark.name}.json'
        if path.is_file():
            metrics = json.loads(path.read_text(encoding='utf-8'))['metrics']
            scores[benchmark.title] = metrics['mIoU' if 'mIoU' in metrics else 'top1']
    return scores


def make_rows(scores: Mapping[str, Mapping[str, float]], titles: Sequence[str]) -> list[dict]:
    """Return a row per protocol, and one with the difference of the highest and lowest score.

    Args:
        scores (Mapping[str, Mapping[str, float]]): In percent, by protocol and title of the set.
        titles (Sequence[str]): Titles of the sets.
    """
    rows = []
    for name, values in scores.items():
        cells = {title: f'{values[title]:.2f}' if title in values else '-' for title in titles}
        rows.append({'protocol': name, **cells})
    columns = {t: [values[t] for values in scores.values() if t in values] for t in titles}
    spread = {t: f'{max(each) - min(each):.2f}' if each else '-' for t, each in columns.items()}
    return [*rows, {'protocol': SPREAD, **spread}]


@tool_main(interrupted='Interrupted: the same command goes on at the next image.')
def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate under every protocol, then write and print the table."""
    args, options = parse_args(argv)
    check_folder(args.out)
    sets = select_sets(args.sets)
    files = {Path(name).stem: name for name in args.sets if name.endswith('.py')}
    evaluate, scores, notes = load_evaluate(), {}, []
    for name in args.protocols:
        fitting = [each for each in sets if has_values(name, each, args.change)]
        if fitting:
            print(f'{name}:', flush=True)
            names = [files.get(each.name, each.name) for each in fitting]
            status = evaluate(command(name, names, args, options))
            if status:
                return status
        scores[name] = read_scores(args.out / name, fitting)
        notes += read_notes(args.out / name, fitting)
    rows = make_rows(scores, [benchmark.title for benchmark in sets])
    text = '\n'.join(filter(None, [markdown_table(rows, notes), published_table(sets)]))
    tables = {'protocols.md': text, 'protocols.csv': csv_table(rows)}
    for name, text in tables.items():
        write_text(args.out / name, text)
    print(tables['protocols.md'])
    return 0


def published_table(sets: Sequence[Benchmark]) -> str:
    """Return the published scores of the sets, each method with its protocol; empty for none."""
    rows = []
    for each in PUBLISHED:
        scores = {s.title: f'{each.scores[s.name]:.1f}' for s in sets if s.name in each.scores}
        if scores:
            cells = {s.title: scores.get(s.title, '-') for s in sets}
            rows.append({'published': each.method, 'protocol': each.protocol, **cells})
    return markdown_table(rows, ["Their authors' numbers, none measured here."]) if rows else ''


def read_notes(folder: Path, sets: Sequence[Benchmark]) -> list[str]:
    """Return the notes of a protocol's results: substitutes, changes, parts of a split."""
    paths = [folder / f'{benchmark.name}.json' for benchmark in sets]
    results = [json.loads(p.read_text(encoding='utf-8')) for p in paths if p.is_file()]
    return result_notes(results)


if __name__ == '__main__':
    sys.exit(main())
