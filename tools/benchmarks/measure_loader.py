"""Measures how fast pairs are loaded, and which transform takes the time.

python tools/benchmarks/measure_loader.py CONFIG [--seconds 20] [--num-workers 1]

The rate is that of the whole loader after its first batch. The table is measured in a second pass
in this process, without workers, in processor time, which other work on the machine changes
little.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from groupvit_mmseg.command_line import (
    add_pretraining_arguments,
    pretraining_config,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets import ImageTextDataset


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_pretraining_arguments(parser)
    parser.add_argument(
        '--seconds', type=float, default=20, help='length of each pass (default: 20)'
    )
    parser.add_argument('--num-workers', type=int, help="loader workers (default: the config's)")
    return parser.parse_args(argv)


class TimedTransform:
    """Adds up the processor time of a transform.

    Args:
        transform (Callable): The transform.
        seconds (dict[str, float]): Sums by name of the class; changed by every call.
    """

    def __init__(self, transform: Callable[[dict], dict], seconds: dict[str, float]) -> None:
        self.transform, self.seconds = transform, seconds

    def __call__(self, results: dict) -> dict:
        """Transform the results of the transform before."""
        start = time.process_time()
        results = self.transform(results)
        self.seconds[type(self.transform).__name__] += time.process_time() - start
        return results


def build_loader(cfg: Config, num_workers: int | None) -> DataLoader:
    """Build the loader of a config with another number of workers."""
    loader_cfg = cfg.train_dataloader.to_dict()
    if num_workers is not None:
        loader_cfg['num_workers'] = num_workers
    if not loader_cfg.get('num_workers'):
        for option in ('persistent_workers', 'prefetch_factor'):
            loader_cfg.pop(option, None)
    loader_cfg['pin_memory'] = False
    return Runner.build_dataloader(loader_cfg, seed=0)


def dataset_of(loader: DataLoader) -> ImageTextDataset:
    """Return the data set of a loader."""
    if not isinstance(loader.dataset, ImageTextDataset):
        raise ValueError(f'train_dataloader reads a {type(loader.dataset).__name__}, not pairs.')
    return loader.dataset


def count_samples(loader: DataLoader, seconds: float) -> tuple[int, float]:
    """Read for some time; return the samples after the first batch and the seconds they took."""
    epoch, count, start = 0, 0, None
    while True:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # mmengine's samplers have it
        for batch in loader:
            if start is None:
                start = time.perf_counter()
                continue
            count += len(batch['keys'])
            if time.perf_counter() - start > seconds:
                return count, time.perf_counter() - start
        epoch += 1


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the rate and the table."""
    args = parse_args(argv)
    cfg = pretraining_config(args)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    set_multi_processing(opencv_num_threads=0)
    torch.set_num_threads(1)  # as in a worker

    loader = build_loader(cfg, args.num_workers)
    count, seconds = count_samples(loader, args.seconds)
    rate, workers = count / seconds, max(loader.num_workers, 1)
    print(f'{rate:.0f} samples/s with {loader.num_workers} workers, {rate / workers:.0f} each')

    loader = build_loader(cfg, 0)
    times: dict[str, float] = defaultdict(float)
    pipeline = dataset_of(loader).pipeline
    pipeline.transforms = [TimedTransform(t, times) for t in pipeline.transforms]
    start = time.process_time()
    count, _ = count_samples(loader, args.seconds)
    total = time.process_time() - start
    count += loader.batch_size or 1  # the first batch is timed too
    rows = [*times.items(), ('reading, seeding, batching', total - sum(times.values()))]
    for name, spent in [*rows, ('together', total)]:
        print(f'{name:28s} {1000 * spent / count:7.3f} ms  {spent / total:6.1%}')


if __name__ == '__main__':
    sys.exit(main())
