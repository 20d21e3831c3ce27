"""Measures how fast pairs are loaded, and which transform takes the time.

python tools/benchmarks/measure_loader.py CONFIG [--seconds 20] [--num-workers 1]
    [--photographs FOLDER [--side 256]] [--against CONFIG]

The rate is that of the whole loader after its first batch. The table is measured in a second pass
in this process, without workers, in processor time, which other work on the machine changes
little. With another config to compare with, both read the same shards in turns of a second.

Without shards of one's own, --photographs packs the JPEG files of a folder, with captions of the
scenes, into shards in a temporary folder.
"""

import argparse
import copy
import itertools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
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
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets import ImageTextBatch, ImageTextDataset
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.datasets.scenes import draw_scene
from groupvit_mmseg.datasets.shard_writing import ShardSet


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    add_pretraining_arguments(parser)
    parser.add_argument(
        '--seconds', type=float, default=20, help='length of each pass (default: 20)'
    )
    parser.add_argument('--num-workers', type=int, help="loader workers (default: the config's)")
    parser.add_argument(
        '--photographs', metavar='FOLDER', help='read the JPEG files of a folder, not shards'
    )
    parser.add_argument(
        '--side', type=int, help='pixels of their shorter side (default: as they are)'
    )
    parser.add_argument(
        '--against', metavar='CONFIG', help='also measure the pipeline of another config'
    )
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
    batches = endless_batches(loader)
    next(batches)
    count, start = 0, time.perf_counter()
    for batch in batches:
        count += len(batch['keys'])
        if time.perf_counter() - start > seconds:
            break
    return count, time.perf_counter() - start


class TimedLoader:
    """Reads batches without workers and adds up the processor time by transform.

    Args:
        cfg (Config): A pretraining config.
    """

    def __init__(self, cfg: Config) -> None:
        loader = build_loader(cfg, 0)
        self.batches = endless_batches(loader)
        self.seconds: dict[str, float] = defaultdict(float)
        self.total, self.count = 0.0, 0
        pipeline = dataset_of(loader).pipeline
        pipeline.transforms = [TimedTransform(t, self.seconds) for t in pipeline.transforms]
        next(self.batches)  # fills the buffer
        self.seconds.clear()

    def read(self, seconds: float) -> None:
        """Read batches for some processor time."""
        start = time.process_time()
        while time.process_time() - start < seconds:
            self.count += len(next(self.batches)['keys'])
        self.total += time.process_time() - start

    @property
    def milliseconds(self) -> float:
        """Processor time of a sample."""
        return 1000 * self.total / self.count

    def print_table(self) -> None:
        """Print the time of each transform."""
        rest = self.total - sum(self.seconds.values())
        rows = [*self.seconds.items(), ('reading, seeding, batching', rest)]
        for name, spent in [*rows, ('together', self.total)]:
            share = spent / self.total
            print(f'{name:28s} {1000 * spent / self.count:7.3f} ms  {share:6.1%}')


def endless_batches(loader: DataLoader) -> Iterator[ImageTextBatch]:
    """Read epoch after epoch."""
    for epoch in itertools.count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # mmengine's samplers have it
        yield from loader


def compared_configs(args: argparse.Namespace) -> dict[str, Config]:
    """Return the config to measure and the one to compare with, which reads the same shards."""
    cfg = pretraining_config(args)
    configs = {args.config: cfg}
    if args.against:
        other = read_config(args.against)
        if 'train_dataloader' not in other:
            raise ValueError(f'"{args.against}" has no `train_dataloader`.')
        loader = copy.deepcopy(cfg.train_dataloader)
        loader.dataset.pipeline = other.train_dataloader.dataset.pipeline
        other.train_dataloader = loader
        configs[args.against] = other
    return configs


def pack_photographs(folder: Path, side: int | None, shards: Path) -> str:
    """Write the JPEG files of a folder to one shard, with captions; return its path.

    Raises:
        ValueError: If the folder has none.
    """
    paths = sorted(path for path in folder.glob('*') if path.suffix.lower() in ('.jpg', '.jpeg'))
    if not paths:
        raise ValueError(f'{folder} has no JPEG files: give another --photographs.')
    sizes = []
    with ShardSet(shards, 'photographs') as shard_set:
        for index, path in enumerate(paths):
            data = path.read_bytes() if side is None else resized_jpeg(path, side)
            sizes.append(len(data))
            shard_set.write(f'{index:06d}', dict(jpg=data, txt=draw_scene(index).caption))
        shard_set.finish()
    print(f'{len(sizes)} photographs of {sum(sizes) / len(sizes) / 1000:.1f} kB on average')
    return str(shards / 'photographs-*.tar')


def resized_jpeg(path: Path, side: int) -> bytes:
    """Encode a photograph with a shorter side of so many pixels, quality 95."""
    image = load_image(path)[..., ::-1]
    factor = side / min(image.shape[:2])
    size = [round(factor * length) for length in image.shape[1::-1]]
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode('.jpg', resized, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def measure(configs: dict[str, Config], seconds: float, num_workers: int | None) -> None:
    """Print the rates and the tables."""
    for name, cfg in configs.items():
        loader = build_loader(cfg, num_workers)
        count, passed = count_samples(loader, seconds)
        rate, workers = count / passed, max(loader.num_workers, 1)
        title = f'{Path(name).stem}: ' if len(configs) > 1 else ''
        print(
            f'{title}{rate:.0f} samples/s with {loader.num_workers} workers, '
            f'{rate / workers:.0f} each'
        )
    timed = {name: TimedLoader(cfg) for name, cfg in configs.items()}
    for _ in range(max(round(seconds), 1)):
        for reader in timed.values():
            reader.read(min(seconds, 1))
    for name, reader in timed.items():
        print(f'\n{Path(name).stem}, {1000 / reader.milliseconds:.0f} samples/s of one core')
        reader.print_table()
    if len(timed) > 1:
        new, old = (reader.milliseconds for reader in timed.values())
        print(f'\n{old / new:.2f} times as fast')


@tool_main()
def main(argv: Sequence[str] | None = None) -> None:
    """Print the rate and the table."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.photographs:
            args.shards = pack_photographs(Path(args.photographs), args.side, Path(folder))
        configs = compared_configs(args)
        init_default_scope(configs[args.config].get('default_scope', 'mmseg'))
        set_multi_processing(opencv_num_threads=0)
        torch.set_num_threads(1)  # as in a worker
        measure(configs, args.seconds, args.num_workers)


if __name__ == '__main__':
    sys.exit(main())
