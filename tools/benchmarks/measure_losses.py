"""Measures the memory and time of the losses against the batch size.

python tools/benchmarks/measure_losses.py --ranks 16

One process computes the losses of one of --ranks ranks: its rows against the rows of all ranks, of
which those of the others are constants. Each line is measured in a process of its own. Memory is
the peak above the memory before: of the resident set on a CPU, of torch's allocator on a GPU.
"""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection

import torch

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.benchmark.one_rank import LOSSES, act_as_first_rank, build_loss, draw_inputs
from groupvit_mmseg.command_line import tool_main, tool_parser


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument(
        '--batches',
        type=int,
        nargs='+',
        default=[1024, 4096, 8192, 16384, 32768],
        help='pairs of all ranks (default: 1024 4096 8192 16384 32768)',
    )
    parser.add_argument(
        '--ranks', type=int, default=16, help='ranks that share a batch (default: 16)'
    )
    parser.add_argument(
        '--chunk-sizes',
        type=int,
        nargs='+',
        default=[256, 2**30],
        help='rows of logits computed at a time (default: 256 and all)',
    )
    parser.add_argument('--prompts', type=int, default=3, help='prompts of a pair (default: 3)')
    parser.add_argument(
        '--level',
        choices=['pooled', 'segments'],
        default='pooled',
        help='level of the multi-label loss (default: pooled)',
    )
    parser.add_argument(
        '--limit-gib', type=float, default=8.0, help='skip lines that need more GiB (default: 8)'
    )
    args = parser.parse_args(argv)
    for name, values in (('ranks', [args.ranks]), ('prompts', [args.prompts])):
        check_least(parser, name, values, 1)
    check_least(parser, 'chunk-sizes', args.chunk_sizes, 1)
    check_least(parser, 'batches', args.batches, args.ranks)  # a pair for every rank
    return args


def check_least(
    parser: argparse.ArgumentParser, name: str, values: Sequence[int], least: int
) -> None:
    """End the command with a sentence if a value of an option is too small."""
    for value in values:
        if value < least:
            parser.error(f'--{name} {value} must be at least {least}')


def peak_mib() -> float:
    """Return the most memory that this process has had, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(
    pipe: Connection, name: str, args: argparse.Namespace, batch: int, chunk_size: int
) -> None:
    """Send the seconds of a forward and backward pass and the MiB it took."""
    torch.set_num_threads(1)
    act_as_first_rank(args.ranks)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rows = batch // args.ranks
    inputs = draw_inputs(name, rows, prompts=args.prompts, level=args.level, device=device)
    loss = build_loss(name, chunk_size=chunk_size, level=args.level).to(device)
    loss(*(tensor[:4] for tensor in inputs)).backward()  # load kernels
    before, start = peak_mib(), time.perf_counter()
    loss(*inputs).backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    pipe.send((time.perf_counter() - start, peak_mib() - before))


def needed_gib(name: str, args: argparse.Namespace, batch: int, chunk_size: int) -> float:
    """Estimate the memory of the logits of a chunk and their copies, in GiB."""
    per_image = 1 if name == 'contrastive' else args.prompts
    rows = min(chunk_size, batch // args.ranks * per_image)
    segments = 8 if args.level == 'segments' else 1
    return 5 * rows * batch * per_image * segments * 4 / 2**30


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    args = parse_args(argv)
    # CUDA cannot be used in a forked process.
    multiprocessing.set_start_method('spawn' if torch.cuda.is_available() else 'fork', force=True)
    print(f'{"loss":12} {"batch":>6} {"rows":>6} {"chunk":>6} {"s":>8} {"MiB":>8}')
    for name in LOSSES:
        for batch in args.batches:
            for chunk_size in args.chunk_sizes:
                chunk = 'none' if chunk_size >= 2**30 else chunk_size
                line = f'{name:12} {batch:6} {batch // args.ranks:6} {chunk:>6}'
                if needed_gib(name, args, batch, chunk_size) > args.limit_gib:
                    print(f'{line}  skipped: over --limit-gib')
                    continue
                receiver, sender = multiprocessing.Pipe(duplex=False)
                child = multiprocessing.Process(
                    target=measure, args=(sender, name, args, batch, chunk_size)
                )
                child.start()
                sender.close()  # so that a child that fails does not leave this one waiting
                try:
                    seconds, mib = receiver.recv()
                except EOFError:
                    raise RuntimeError(f'The process that measured {name} failed.') from None
                child.join()
                print(f'{line} {seconds:8.2f} {mib:8.0f}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
