"""Shows where the time of a segmentation and of a training step goes, by kind of operation.

python tools/benchmarks/measure_profile.py [--pairs 8] [--trace FOLDER]

One thread of a CPU, the paper's model, an image of 448 px with 21 classes, and the losses forward
and backward. --trace writes a trace of each row, which https://ui.perfetto.dev shows.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import torch
from mmengine.registry import init_default_scope
from torch.profiler import profile

from groupvit_mmseg.benchmark.workloads import segmentation, training
from groupvit_mmseg.command_line import tool_main, tool_parser
from groupvit_mmseg.models.backbone_precision import precisions_of
from groupvit_mmseg.output_paths import check_folder

# By the beginning of an operation's name after its library; the first that fits.
KINDS: dict[str, tuple[str, ...]] = {
    'attention': ('_scaled_dot_product', 'scaled_dot_product', '_softmax'),
    'products': ('mm', 'addmm', 'bmm', 'baddbmm', '_linear_pointwise', 'linear', 'matmul'),
    'convolution': ('mkldnn_convolution', 'convolution', '_slow_conv'),
    'GELU': ('gelu', 'sigmoid'),
    'normalisation': ('native_layer_norm', 'native_batch_norm', 'linalg_vector_norm'),
    'copies and zeros': ('copy_', 'fill_', 'zero_', 'cat', '_to_copy', 'clone', 'index_select'),
}
REST = 'all else'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('--pairs', type=int, default=8, help='of a training step (default: 8)')
    parser.add_argument('--side', type=int, default=448, help='pixels of an image (default: 448)')
    parser.add_argument('--trace', type=Path, metavar='FOLDER', help='folder of the traces')
    args = parser.parse_args(argv)
    if args.pairs < 2:
        parser.error('--pairs must be at least 2: BatchNorm needs more than one sample')
    if args.side < 1:
        parser.error('--side must be at least 1')
    return args


def kind_of(operation: str) -> str:
    """Return the kind of an operation by its name.

    Example:
        >>> kind_of('aten::addmm'), kind_of('quantized::linear_dynamic'), kind_of('aten::add')
        ('products', 'products', 'all else')
    """
    name = operation.rpartition('::')[2]
    for kind, beginnings in KINDS.items():
        for beginning in beginnings:
            if (
                name == beginning
                or name.startswith(f'{beginning}_')
                or (beginning.startswith('_') and name.startswith(beginning))
            ):
                return kind
    return REST


def shares(call: Callable[[], object], trace: Path | None) -> tuple[float, dict[str, float]]:
    """Return the seconds of a call, and the share of each kind in them."""
    call()  # loads kernels
    with profile() as profiler:
        call()
    if trace is not None:
        trace.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(trace))
    times = dict.fromkeys([*KINDS, REST], 0.0)
    for event in profiler.key_averages():
        times[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    total = sum(times.values())
    return total, {kind: seconds / total for kind, seconds in times.items()}


def row(name: str, seconds: float, parts: Mapping[str, float]) -> str:
    """Return a row of the table."""
    return (
        f'| {name} | {seconds:.2f} | '
        + ' | '.join(f'{100 * p:.0f} %' for p in parts.values())
        + ' |'
    )


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    if args.trace is not None:
        check_folder(args.trace)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    init_default_scope('mmseg')
    print(f'| | seconds | {" | ".join([*KINDS, REST])} |')
    print('|---' * (3 + len(KINDS)) + '|')
    segment, step = segmentation(side=args.side), training(batch=args.pairs)
    plain, *others = precisions_of('cpu')
    rows = {f'segmentation, {p}': partial(segment, p) for p in (plain, *others, 'int8')}
    rows |= {f'training step, {p}': partial(step, p) for p in others}
    for name, call in rows.items():
        trace = args.trace and args.trace / f'{name.replace(", ", "-").replace(" ", "-")}.json'
        print(row(name, *shares(call, trace)), flush=True)


if __name__ == '__main__':
    sys.exit(main())
