"""Measures everything on this machine in one command: docs/performance.md, or ``make gpu``.

python tools/benchmarks/run_all.py [--device cpu] [--minutes 60] [--out DIR] [--page FILE]

On a GPU, in at most nine minutes: the tests marked gpu, training steps of the full recipe beside
transformers, segmentation against the official procedure, and training on photographs where they
are there. On a CPU, with one thread: segmentation by precision and by runtime, training steps,
where their time goes, the loader on photographs, and how time and memory grow. Each part is a
process of its own with a limit; what it printed and measured until then is kept, in OUT/PART.txt
and OUT/rows.jsonl, and OUT/report.md and OUT/result.json are written after each part. --page puts
the tables into a page, between <!-- NAME --> and <!-- end of NAME -->. With --tiny all parts run in
a small size on a CPU, to find mistakes before a card is rented.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.page_tables import as_markdown, check_places, fill_place
from groupvit_mmseg.benchmark.report import processor_name, versions, write_json
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.models.backbone_precision import precisions_of
from groupvit_mmseg.output_paths import check_folder

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / 'tools/benchmarks'
FULL = ROOT / 'configs/groupvit_pretrain.py'
SCENES = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
FIGURE = 'images/performance_scaling.png'
VOC_IMAGES = 'VOCdevkit/VOC2012/JPEGImages'
CPU_ROWS = ('16:fp32', '16:fp32:transformers', '16', '16:transformers')
FINISHED, LINES, LAST_ERRORS = 'finished', 200, 20
MINUTES = {'cuda': 9, 'cpu': 60}
PHOTOGRAPHS = (ROOT / 'data', ROOT / 'shared/data', ROOT.parent / 'shared/data')


class Part(NamedTuple):
    """One process of the measurement.

    Attributes:
        name (str): Its files' name.
        title (str): Its heading in the report.
        command (list[str]): Arguments of Python.
        seconds (float): Most that it may take.
    """

    name: str
    title: str
    command: list[str]
    seconds: float


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--device',
        choices=list(MINUTES),
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='what is measured (default: cuda where there is a GPU)',
    )
    parser.add_argument(
        '--minutes', type=float, help='most that all may take (default: 9 on a GPU, 60 on a CPU)'
    )
    parser.add_argument('--parts', nargs='+', metavar='NAME', help='some of the parts')
    parser.add_argument('--out', type=Path, help='folder (default: work_dirs/gpu or benchmarks)')
    parser.add_argument('--page', type=Path, help='Markdown file whose tables are replaced')
    parser.add_argument('--tiny', action='store_true', help='small sizes on the CPU')
    args = parser.parse_args(argv)
    args.minutes = MINUTES[args.device] if args.minutes is None else args.minutes
    if not 0 < args.minutes < float('inf'):
        parser.error('--minutes must be above 0')
    args.out = args.out or Path('work_dirs', 'gpu' if args.device == 'cuda' else 'benchmarks')
    return args


def parts_on_gpu(rows: Path, photographs: Path | None) -> list[Part]:
    """Return the parts in the order of their worth."""
    training = [str(BENCHMARKS / 'measure_throughput.py'), '--device', 'cuda', '--out', str(rows)]
    segmentation = [str(BENCHMARKS / 'benchmark_inference.py'), '--device', 'cuda']
    parts = [
        Part('training', 'Training steps', [*training, '--seconds', '3'], 210),
        Part('tests', 'Tests', ['-m', 'pytest', '-q', '-m', 'gpu', 'tests'], 120),
        Part('segmentation', 'Segmentation', [*segmentation, '--rounds', '5'], 60),
    ]
    if photographs is not None:
        real = [str(ROOT / 'tools/real.py'), '--minutes', '2', '--data', str(photographs)]
        parts.append(Part('photographs', 'Two minutes on photographs', real, 170))
    return parts


def parts_on_cpu(rows: Path, photographs: Path | None) -> list[Part]:
    """Return the parts that measure a CPU, with one thread."""
    inference = [str(BENCHMARKS / 'benchmark_inference.py'), '--device', 'cpu', '--threads', '1']
    precisions = ['--precisions', *precisions_of('cpu'), 'int8']
    training = [str(BENCHMARKS / 'measure_throughput.py'), '--device', 'cpu', '--out', str(rows)]
    steps = [row for row in CPU_ROWS if 'fp32' in row or 'bf16' in precisions]
    scaling = [str(BENCHMARKS / 'measure_scaling.py'), '--out', str(rows.parent)]
    parts = [
        Part('segmentation', 'Segmentation', [*inference, *precisions], 900),
        Part('training', 'Training steps', [*training, '--rows', *steps], 600),
        Part('profile', 'Profile', [str(BENCHMARKS / 'measure_profile.py')], 200),
        Part('scaling', 'Growth', scaling, 1800),
        Part('start', 'Start', [str(BENCHMARKS / 'measure_import.py')], 300),
    ]
    runtimes = [name for name in ('onnxruntime', 'openvino') if find_spec(name)]
    if runtimes:
        whole = ['--size', '448', '448', '--original', '448', '448', '--classes', '21']
        exported = [*inference, *precisions, *whole, '--exported', *runtimes]
        parts.append(Part('runtimes', 'Runtimes of an exported model', exported, 300))
    if photographs is not None:
        folder = photographs / VOC_IMAGES
        loader = [str(BENCHMARKS / 'measure_loader.py'), str(FULL), '--photographs', str(folder)]
        parts.append(Part('loader', 'Loader', [*loader, '--num-workers', '0'], 200))
    return parts


def small_parts(rows: Path) -> list[Part]:
    """Return parts of both kinds, small, as far as they do not need a GPU."""
    training = [str(BENCHMARKS / 'measure_throughput.py'), str(SCENES), '--device', 'cpu']
    small = ['--prompts', '1', '--seconds', '0.01', '--out', str(rows), '--rows', '4', '4:fp32']
    segmentation = [str(BENCHMARKS / 'benchmark_inference.py'), '--device', 'cpu', '--rounds', '1']
    size = ['--classes', '3', '--size', '224', '224', '--original', '40', '40']
    tests = ['-m', 'pytest', '-q', '-m', 'gpu', '--collect-only', 'tests/gpu']
    scaling = [str(BENCHMARKS / 'measure_scaling.py'), '--tiny', '--rounds', '1']
    return [
        Part('training', 'Training steps', [*training, *small], 300),
        Part('tests', 'Tests', tests, 120),
        Part('segmentation', 'Segmentation', [*segmentation, *size], 300),
        Part('scaling', 'Growth', [*scaling, '--curves', 'ranks', '--out', str(rows.parent)], 300),
    ]


def choose_parts(args: argparse.Namespace, rows: Path) -> list[Part]:
    """Return the parts that were asked for.

    Raises:
        ValueError: If there is no part of a name.
    """
    needed = 'flickr8k_128' if args.device == 'cuda' else VOC_IMAGES
    photographs = next((p for p in PHOTOGRAPHS if (p / needed).is_dir()), None)
    if args.tiny:
        parts = small_parts(rows)
    elif args.device == 'cuda':
        parts = parts_on_gpu(rows, photographs)
    else:
        parts = parts_on_cpu(rows, photographs)
    names = [part.name for part in parts]
    if unknown := sorted(set(args.parts or []) - set(names)):
        raise ValueError(
            f'There is no part {", ".join(unknown)} here: there are {", ".join(names)}. Others '
            'need photographs in data/, or (runtimes) onnxruntime or openvino.'
        )
    return [part for part in parts if part.name in (args.parts or names)]


def run(part: Part, seconds: float, folder: Path, *, threads: int | None) -> dict[str, object]:
    """Run a part with a limit; return how it ended, how long it took, and its command."""
    start, environment = time.monotonic(), dict(os.environ, PYTHONUNBUFFERED='1', PYTHONUTF8='1')
    if threads:
        environment.update(OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
    with (
        (folder / f'{part.name}.txt').open('w', encoding='utf-8') as output,
        (folder / f'{part.name}.errors.txt').open('w', encoding='utf-8') as errors,
    ):
        process = subprocess.Popen(
            [sys.executable, *part.command],
            cwd=ROOT,
            stdout=output,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=seconds)
            ended = FINISHED if status == 0 else f'ended with status {status}'
        except subprocess.TimeoutExpired:
            ended = f'stopped after {seconds:.0f} s'
        finally:  # its own children too, which would disturb the next part
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return dict(ended=ended, seconds=round(time.monotonic() - start, 1), command=part.command)


def printed_by(part: Part, folder: Path) -> str:
    """Return what a part printed."""
    return (folder / f'{part.name}.txt').read_text(encoding='utf-8', errors='replace').strip()


def read_rows(path: Path) -> list[dict]:
    """Read the rows that the training part wrote, as far as it came."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding='utf-8').splitlines()
    return [json.loads(line) for line in lines if line.endswith('}')]


def ratios(rows: Sequence[dict]) -> list[str]:
    """Return sentences that compare rows with transformers, of one batch and precision."""
    speeds = {(row['batch'], *row['switches']): row.get('pairs_per_second') for row in rows}
    names, sentences = {(): 'eager', ('compile',): 'compiled', ('fp32',): 'float32'}, []
    for (batch, *switches), speed in speeds.items():
        precision = [switch for switch in switches if switch == 'fp32']
        theirs = speeds.get((batch, *precision, 'transformers'))
        name = names.get(tuple(switches))
        if speed and theirs and name:
            sentences.append(f'Batch {batch}, {name}: {speed / theirs:.2f} x transformers.')
    return sentences


def report(facts: dict, outcomes: dict[str, dict], parts: Sequence[Part], folder: Path) -> str:
    """Return the report as Markdown."""
    lines = [f'# {facts["device"]}, {facts["date"]}', '', f'torch {torch.__version__}', '']
    for part in parts:
        if part.name not in outcomes:
            continue
        outcome = outcomes[part.name]
        lines += [f'## {part.title}', '', f'{outcome["ended"]}, {outcome["seconds"]} s', '']
        lines += ['```', *printed_by(part, folder).splitlines()[-LINES:], '```', '']
        errors = (folder / f'{part.name}.errors.txt').read_text(encoding='utf-8', errors='replace')
        if outcome['ended'] != FINISHED and errors.strip():
            lines += ['```', *errors.strip().splitlines()[-LAST_ERRORS:], '```', '']
    return '\n'.join([*lines, *ratios(read_rows(folder / 'rows.jsonl')), ''])


def write_page(page: Path, part: Part, folder: Path, facts: str) -> None:
    """Put the table of a part into a page, and its figure beside it."""
    text = page.read_text(encoding='utf-8')
    printed = as_markdown(printed_by(part, folder))
    if part.name == 'scaling':
        (page.parent / 'images').mkdir(exist_ok=True)
        shutil.copyfile(folder / 'scaling.png', page.parent / FIGURE)
        printed = f'![time and memory]({FIGURE})\n\n{printed}'
    write_text(page, fill_place(text, part.name, f'{facts}\n\n{printed}'))


def describe_device(args: argparse.Namespace) -> str:
    """Return the name of the device that is measured."""
    if args.tiny:
        return f'{processor_name()}, small sizes: no measurement'
    if args.device == 'cpu':
        return f'{processor_name()}, one thread'
    if not torch.cuda.is_available():
        raise ValueError('There is no CUDA device: --tiny runs all parts in a small size on a CPU.')
    return torch.cuda.get_device_name()


@tool_main()
def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts and print the report; return 1 if a part did not finish."""
    args = parse_args(argv)
    facts = dict(device=describe_device(args), date=str(date.today()), versions=versions())
    check_folder(args.out)
    rows, end = args.out.resolve() / 'rows.jsonl', time.monotonic() + 60 * args.minutes
    parts = choose_parts(args, rows)
    if args.page is not None:
        check_places(args.page.read_text(encoding='utf-8'), [part.name for part in parts])
    args.out.mkdir(parents=True, exist_ok=True)
    if any(part.name == 'training' for part in parts):
        rows.unlink(missing_ok=True)
    outcomes: dict[str, dict] = {}
    for part in parts:
        left = end - time.monotonic()
        if left < 5:
            outcomes[part.name] = dict(ended='not begun: no time was left', seconds=0)
            for name in (f'{part.name}.txt', f'{part.name}.errors.txt'):
                (args.out / name).write_text('')
        else:
            limit, threads = min(part.seconds, left), None if args.device == 'cuda' else 1
            outcomes[part.name] = run(part, limit, args.out, threads=threads)
        write_text(args.out / 'report.md', report(facts, outcomes, parts, args.out))
        content = dict(facts, parts=outcomes, rows=read_rows(rows))
        write_json(content, args.out / 'result.json')
        print(f'{part.title}: {outcomes[part.name]["ended"]}', flush=True)
        if args.page is not None and outcomes[part.name]['ended'] == FINISHED:
            write_page(args.page, part, args.out, f'{facts["device"]}, {facts["date"]}:')
    print(f'Wrote {args.out / "report.md"} and {args.out / "result.json"}.')
    return int(any(outcome['ended'] != FINISHED for outcome in outcomes.values()))


if __name__ == '__main__':
    sys.exit(main())
