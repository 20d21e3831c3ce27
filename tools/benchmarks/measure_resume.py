"""Measures what it costs a loader worker to begin in the middle of an epoch.

python tools/benchmarks/measure_resume.py CONFIG --shards 'FOLDER/*.tar' [--at 100000]

A resumed run reads what the epoch has had already once more, without decoding it. Compared are the
first batch of an epoch and the first behind `--at` samples of the one worker that is measured.
"""

import argparse
import time

import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.key_values import KeyValueAction


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='pretraining config with a train_dataloader')
    parser.add_argument('--at', type=int, default=100_000, help='samples of the worker before')
    parser.add_argument('--shards', help='shards to read instead of those of the config')
    parser.add_argument('--cfg-options', nargs='+', action=KeyValueAction, help='KEY=VALUE changes')
    return parser.parse_args(argv)


def build_loader(cfg):
    """The config's loader without workers: this process is the one that is measured."""
    loader_cfg = cfg.train_dataloader.to_dict()
    for option in ('persistent_workers', 'prefetch_factor'):
        loader_cfg.pop(option, None)
    return Runner.build_dataloader(dict(loader_cfg, num_workers=0, pin_memory=False), seed=0)


def seconds_of_first_batch(loader, start):
    """Seconds by the clock and of the processor until the first batch behind a place is there."""
    loader.sampler.set_epoch(0, start)
    clock, processor = time.perf_counter(), time.process_time()
    next(iter(loader))
    return time.perf_counter() - clock, time.process_time() - processor


def main(argv=None):
    args = parse_args(argv)
    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if args.shards:
        cfg.train_dataloader.dataset.sources = [dict(shards=args.shards)]
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    torch.set_num_threads(1)  # as in a worker

    loader = build_loader(cfg)
    steps = min(args.at // loader.batch_size, len(loader) - 1)
    if steps < 1:
        raise SystemExit(f'{args.at} samples are no whole batch of an epoch: raise `--at`.')
    passed = steps * loader.batch_size
    times = [seconds_of_first_batch(loader, start) for start in (0, passed)]
    for name, (clock, processor) in zip(
        ('an epoch', f'an epoch at {passed:,} samples'), times, strict=True
    ):
        print(f'first batch of {name}: {clock:.2f} s, {processor:.2f} s of the processor')
    more = [100_000 * (late - early) / passed for early, late in zip(*times, strict=True)]
    print(f'100,000 samples cost {more[0]:.1f} s, {more[1]:.1f} s of the processor')


if __name__ == '__main__':
    main()
