"""Measures how fast pairs are loaded, and which transform takes the time.

python tools/benchmarks/measure_loader.py CONFIG [--seconds 20] [--num-workers 1]

The rate is that of the whole loader after its first batch. The table comes from a second pass in
this process, without workers; it counts the processor's time, not the clock's, so that it holds on
a busy machine too.
"""

import argparse
import time
from collections import defaultdict

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.key_values import KeyValueAction


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with a train_dataloader')
    parser.add_argument('--seconds', type=float, default=20, help='length of each pass')
    parser.add_argument('--num-workers', type=int, help="instead of the config's")
    parser.add_argument('--shards', help='shards to read instead of those of the config')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    return parser.parse_args(argv)


class TimedTransform:
    """A transform that adds up the time it takes."""

    def __init__(self, transform, seconds):
        self.transform, self.seconds = transform, seconds

    def __call__(self, results):
        start = time.process_time()
        results = self.transform(results)
        self.seconds[type(self.transform).__name__] += time.process_time() - start
        return results


def build_loader(cfg, num_workers):
    loader_cfg = cfg.train_dataloader.to_dict()
    if num_workers is not None:
        loader_cfg['num_workers'] = num_workers
    if not loader_cfg.get('num_workers'):
        for option in ('persistent_workers', 'prefetch_factor'):
            loader_cfg.pop(option, None)
    loader_cfg['pin_memory'] = False
    return Runner.build_dataloader(loader_cfg, seed=0)


def count_samples(loader, seconds):
    """Samples read after the first batch, and the seconds that took; starts epochs as needed."""
    epoch, count, start = 0, 0, None
    while True:
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            if start is None:
                start = time.perf_counter()
                continue
            count += len(batch['keys'])
            if time.perf_counter() - start > seconds:
                return count, time.perf_counter() - start
        epoch += 1


def main(argv=None):
    args = parse_args(argv)
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.shards:
        cfg.train_dataloader.dataset.sources = [dict(shards=args.shards)]
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    set_multi_processing(opencv_num_threads=0)
    torch.set_num_threads(1)  # as in a worker

    loader = build_loader(cfg, args.num_workers)
    count, seconds = count_samples(loader, args.seconds)
    rate, workers = count / seconds, max(loader.num_workers, 1)
    print(f'{rate:.0f} samples/s with {loader.num_workers} workers, {rate / workers:.0f} each')

    loader, times = build_loader(cfg, 0), defaultdict(float)
    pipeline = loader.dataset.pipeline
    pipeline.transforms = [TimedTransform(t, times) for t in pipeline.transforms]
    start = time.process_time()
    count, _ = count_samples(loader, args.seconds)
    total = time.process_time() - start
    count += loader.batch_size  # the first batch is timed too
    rows = [*times.items(), ('reading, seeding, batching', total - sum(times.values()))]
    for name, spent in [*rows, ('together', total)]:
        print(f'{name:28s} {1000 * spent / count:7.3f} ms  {spent / total:6.1%}')


if __name__ == '__main__':
    main()
