"""Measures how long a loader worker takes to begin in the middle of an epoch.

python tools/benchmarks/measure_resume.py CONFIG --shards 'FOLDER/*.tar' [--at 100000]

A resumed run reads the earlier samples of the epoch again, without decoding them. The tool compares
the first batch of an epoch with the first batch after --at samples of one worker.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from groupvit_mmseg.command_line import (
    add_pretraining_arguments,
    pretraining_config,
    tool_main,
    tool_parser,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_pretraining_arguments(parser)
    parser.add_argument(
        '--at', type=int, default=100_000, help='samples to pass over (default: 100000)'
    )
    return parser.parse_args(argv)


def build_loader(cfg: Config) -> DataLoader:
    """Build the loader of the config without workers: this process is measured."""
    loader_cfg = cfg.train_dataloader.to_dict()
    for option in ('persistent_workers', 'prefetch_factor'):
        loader_cfg.pop(option, None)
    return Runner.build_dataloader(dict(loader_cfg, num_workers=0, pin_memory=False), seed=0)


def seconds_of_first_batch(loader: DataLoader, start: int) -> tuple[float, float]:
    """Return the clock and processor seconds until the first batch after ``start`` samples."""
    loader.sampler.set_epoch(0, start)  # type: ignore[attr-defined]  # an ImageTextSampler has it
    clock, processor = time.perf_counter(), time.process_time()
    next(iter(loader))
    return time.perf_counter() - clock, time.process_time() - processor


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print both times."""
    args = parse_args(argv)
    cfg = pretraining_config(args)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    torch.set_num_threads(1)  # as in a worker

    loader = build_loader(cfg)
    steps = min(args.at // loader.batch_size, len(loader) - 1)
    if steps < 1:
        raise ValueError(f'{args.at} samples are no whole batch of an epoch: raise `--at`.')
    skipped = steps * loader.batch_size
    times = [seconds_of_first_batch(loader, start) for start in (0, skipped)]
    for name, (clock, processor) in zip(
        ('an epoch', f'an epoch at {skipped:,} samples'), times, strict=True
    ):
        print(f'first batch of {name}: {clock:.2f} s, {processor:.2f} s of the processor')
    more = [100_000 * (late - early) / skipped for early, late in zip(*times, strict=True)]
    print(f'100,000 samples cost {more[0]:.1f} s, {more[1]:.1f} s of the processor')


if __name__ == '__main__':
    sys.exit(main())
