"""Memory and time of the losses against the batch: ``python .../measure_losses.py --ranks 16``.

One process plays one of ``--ranks`` ranks: its rows against the rows of all, those of the others
being constants. Each line is measured in a process of its own: on a CPU its peak of resident
memory above what it held before, on a GPU the peak that torch allocated.
"""

import argparse
import multiprocessing
import resource
import time

import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models import losses

DIM = 256


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description='Memory and time of the losses.')
    parser.add_argument('--batches', type=int, nargs='+', default=[1024, 4096, 8192, 16384, 32768])
    parser.add_argument('--ranks', type=int, default=16, help='ranks that share a batch')
    parser.add_argument('--chunk-sizes', type=int, nargs='+', default=[256, 2**30])
    parser.add_argument('--prompts', type=int, default=3)
    parser.add_argument('--level', choices=['pooled', 'segments'], default='pooled')
    parser.add_argument('--limit-gib', type=float, default=8.0, help='skip what needs more')
    return parser.parse_args(argv)


def play_one_rank(ranks):
    """Let the losses see ``ranks`` ranks of which this is the first."""
    losses.world_size = lambda: ranks
    losses.gather_with_grad = lambda rows: torch.cat(
        [rows, *[torch.randn_like(rows)] * (ranks - 1)]
    )


def build(name, args, chunk_size):
    """The loss and its inputs for ``batch`` rows in all."""
    if name == 'contrastive':
        return MODELS.build(dict(type='ImageTextContrastiveLoss', chunk_size=chunk_size))
    return MODELS.build(
        dict(type='MultiLabelContrastiveLoss', chunk_size=chunk_size, level=args.level)
    )


def draw_inputs(name, args, rows):
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    segments = [8] if args.level == 'segments' and name != 'contrastive' else []
    prompts = [] if name == 'contrastive' else [args.prompts]
    shapes = [(rows, *segments, DIM), (rows, *prompts, DIM)]
    return [torch.randn(*shape, device=device, requires_grad=True) for shape in shapes]


def peak_mib():
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def measure(pipe, name, args, batch, chunk_size):
    """Child process: seconds of a forward and backward pass, and MiB it took."""
    torch.set_num_threads(1)
    play_one_rank(args.ranks)
    inputs = draw_inputs(name, args, batch // args.ranks)
    loss = build(name, args, chunk_size).to(inputs[0].device)
    loss(*(tensor[:4] for tensor in inputs)).backward()  # load kernels
    before, start = peak_mib(), time.perf_counter()
    loss(*inputs).backward()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    pipe.send((time.perf_counter() - start, peak_mib() - before))


def needed_gib(name, args, batch, chunk_size):
    """What the logits of a chunk and their copies take, roughly."""
    per_image = 1 if name == 'contrastive' else args.prompts
    rows = min(chunk_size, batch // args.ranks * per_image)
    segments = 8 if args.level == 'segments' else 1
    return 5 * rows * batch * per_image * segments * 4 / 2**30


def main(argv=None):
    args = parse_args(argv)
    context = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'fork')
    print(f'{"loss":12} {"batch":>6} {"rows":>6} {"chunk":>6} {"s":>8} {"MiB":>8}')
    for name in ('contrastive', 'multi-label'):
        for batch in args.batches:
            for chunk_size in args.chunk_sizes:
                chunk = 'none' if chunk_size >= 2**30 else chunk_size
                line = f'{name:12} {batch:6} {batch // args.ranks:6} {chunk:>6}'
                if needed_gib(name, args, batch, chunk_size) > args.limit_gib:
                    print(f'{line}  skipped: over --limit-gib')
                    continue
                receiver, sender = context.Pipe(duplex=False)
                child = context.Process(
                    target=measure, args=(sender, name, args, batch, chunk_size)
                )
                child.start()
                seconds, mib = receiver.recv()
                child.join()
                print(f'{line} {seconds:8.2f} {mib:8.0f}', flush=True)


if __name__ == '__main__':
    main()
