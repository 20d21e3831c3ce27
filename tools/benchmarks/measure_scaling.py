"""Measures how time and memory grow with image size, classes, batch, groups and ranks, on a CPU.

python tools/benchmarks/measure_scaling.py [--curves windows classes] [--out DIR]

Every point is measured in a process of its own, with one thread: the least processor time of
--rounds calls; by how much the resident set grows in a call, after one that has made what stays,
such as gradients; and the operations of this model as PyTorch counts them, divided by the speed of
one product of large float32 matrices in the same process. Images and weights are random. Writes
scaling.json, scaling.md and scaling.png. Needs Linux, whose /proc tells the memory.
"""

import argparse
import ctypes
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.benchmark.report import write_json
from groupvit_mmseg.benchmark.scaling_curves import Curve, Point, curve_table, draw_curves
from groupvit_mmseg.benchmark.workloads import losses_of_a_rank, segmentation, training
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.models.flops import flop_counter
from groupvit_mmseg.models.onednn import fast_linears
from groupvit_mmseg.output_paths import check_folder

Call = Callable[[], object]


class Work(NamedTuple):
    """One size of a curve, ready to be measured.

    Attributes:
        timed (Call): What is timed.
        counted (Call): The same with operations that PyTorch can count.
    """

    timed: Call
    counted: Call


class Scaling(NamedTuple):
    """A curve to be measured.

    Attributes:
        title (str): What is done.
        size (str): What grows.
        values (tuple[int, ...]): Its values.
        tiny (tuple[int, ...]): Values that take a moment.
        prepare (Callable[[int], Work]): Builds the model and the inputs of a value.
    """

    title: str
    size: str
    values: tuple[int, ...]
    tiny: tuple[int, ...]
    prepare: Callable[[int], Work]


def segmenting(*, side: int = 448, classes: int = 21, mode: str = 'slide') -> Work:
    """Segment a square image."""
    run = segmentation(side=side, classes=classes, mode=mode)
    return Work(partial(run, 'fp32'), partial(run, 'fp32-plain'))


def countable(run: Call) -> Work:
    """Return work whose operations PyTorch can count as it is timed."""
    return Work(run, run)


SCALINGS = {
    'windows': Scaling(
        'an image in windows of 448 px',
        'side',
        (448, 672, 896, 1344, 2016),
        (448, 460),
        lambda value: segmenting(side=value),
    ),
    'whole': Scaling(
        'an image as a whole',
        'side',
        (224, 320, 448, 640, 896, 1280),
        (32, 64),
        lambda value: segmenting(side=value, mode='whole'),
    ),
    'classes': Scaling(
        'an image of 448 px',
        'classes',
        (1, 10, 30, 100, 300, 1000),
        (1, 2),
        lambda value: segmenting(classes=value),
    ),
    'batch': Scaling(
        'a training step',
        'pairs',
        (2, 4, 8, 16, 32),
        (2, 3),
        lambda value: countable(partial(training(batch=value), 'fp32')),
    ),
    'groups': Scaling(
        'a training step of 4 pairs',
        'groups',
        (8, 16, 32, 64, 128, 256),
        (8, 9),
        lambda value: countable(partial(training(groups=value), 'fp32')),
    ),
    'ranks': Scaling(
        'the losses of one rank of 256 pairs',
        'ranks',
        (1, 2, 4, 8, 16, 32, 64),
        (1, 2),
        lambda value: countable(losses_of_a_rank(value)),
    ),
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--curves',
        nargs='+',
        choices=list(SCALINGS),
        default=list(SCALINGS),
        help='curves to measure (default: all)',
    )
    parser.add_argument('--rounds', type=int, default=2, help='timed calls (default: 2)')
    parser.add_argument('--tiny', action='store_true', help='two small sizes of each: no result')
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/scaling'),
        help='folder (default: work_dirs/scaling)',
    )
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error('--rounds must be at least 1')
    return args


def seconds_of(call: Call) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def product_speed() -> float:
    """Return the operations a second of a product of large float32 matrices, by MKL or oneDNN."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    product = partial(torch.nn.functional.linear, a, b)
    seconds = [seconds_of(product) for _ in range(5)]
    with fast_linears(a):
        seconds += [seconds_of(product) for _ in range(5)]
    return 2 * 1024**3 / min(seconds)


def resident_mib(field: str) -> float:
    """Return the resident set of this process in MiB: VmRSS now, or its peak VmHWM."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 2**10


def measure_memory(call: Call) -> float:
    """Return by how many MiB the resident set grows within a call, at most."""
    ctypes.CDLL(None).malloc_trim(0)
    Path('/proc/self/clear_refs').write_text('5')  # forget the peak before
    before = resident_mib('VmRSS')
    call()
    return resident_mib('VmHWM') - before


def measure(pipe: Connection, scaling: Scaling, value: int, rounds: int) -> None:
    """Send the point of a value."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    torch.set_num_threads(1)
    torch.manual_seed(0)
    init_default_scope('mmseg')
    work, speed = scaling.prepare(value), product_speed()
    with flop_counter() as counter:
        work.counted()
    work.timed()  # loads kernels and makes what stays
    mib = measure_memory(work.timed)
    seconds = min(seconds_of(work.timed) for _ in range(rounds))
    speed = max(speed, product_speed())
    pipe.send(Point(value, seconds, mib, counter.get_total_flops() / speed))


def measure_alone(scaling: Scaling, value: int, rounds: int) -> Point:
    """Measure a value in a process of its own."""
    context = multiprocessing.get_context('fork')
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=measure, args=(sender, scaling, value, rounds), daemon=True)
    child.start()
    sender.close()  # so that a child that fails does not leave this one waiting
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f'The process that measured {value} {scaling.size} failed.') from None
    finally:
        child.kill()
        child.join()


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Measure the curves; what is done is written after each."""
    args = parse_args(argv)
    if not Path('/proc/self/clear_refs').exists():
        raise RuntimeError('Memory is read from /proc/self, which this system lacks: use Linux.')
    check_folder(args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    curves: list[Curve] = []
    for name in args.curves:
        scaling = SCALINGS[name]
        values = scaling.tiny if args.tiny else scaling.values
        points = [measure_alone(scaling, value, args.rounds) for value in values]
        curves.append(Curve(scaling.title, scaling.size, tuple(points)))
        print(f'\n{curve_table(curves[-1])}', flush=True)
        content = [dict(c._asdict(), points=[p._asdict() for p in c.points]) for c in curves]
        write_json(dict(curves=content), args.out / 'scaling.json')
        write_text(args.out / 'scaling.md', '\n\n'.join(map(curve_table, curves)) + '\n')
        draw_curves(curves, args.out / 'scaling.png')


if __name__ == '__main__':
    sys.exit(main())
