"""Tells how the data is shared before training, and which samples were skipped during it."""

import logging
from collections import Counter
from collections.abc import Sized

from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor
from torch.utils.data import DataLoader

from groupvit_mmseg.datasets.epoch_plan import WorkerGrid
from groupvit_mmseg.datasets.image_text import ImageTextDataset
from groupvit_mmseg.datasets.slot_reader import too_many_failures

_KEYS_SHOWN, _STEPS_BETWEEN_JUDGEMENTS = 5, 50


@HOOKS.register_module()
class ImageTextDataHook(Hook):
    """Checks the loader of image-text pairs and logs skipped samples with their first keys.

    A rank logs its count at the first skipped sample and whenever it has doubled; at the end of an
    epoch the counts of every source over all ranks are logged, skipped samples among them, and how
    many images were damaged but could be read.

    Every 50 steps and at the end of an epoch the skipped samples of all ranks are added up; above
    the data set's ``max_failure_share`` of the epoch the run stops with a ``RuntimeError``.
    """

    priority = 'NORMAL'

    def __init__(self) -> None:
        self.epoch, self.max_share = 0, 1.0
        self.seen = 0
        self.skipped = 0
        self.damaged = 0
        self.first: list[str] = []
        self.first_damaged: list[str] = []
        self.by_source: Counter[str] = Counter()
        self.skipped_by_source: Counter[str] = Counter()

    def before_train(self, runner: Runner) -> None:
        """Check that every rank and worker has something to read."""
        loader = runner.train_loop.dataloader
        dataset = _image_text_dataset(loader)
        if dataset is not None:
            check_loader(loader, get_world_size())
            self.epoch, self.max_share = _epoch_length(loader), dataset.max_failure_share

    def before_train_epoch(self, runner: Runner) -> None:
        """Start counting anew."""
        self.seen, self.skipped, self.first = 0, 0, []
        self.damaged, self.first_damaged = 0, []
        self.by_source, self.skipped_by_source = Counter(), Counter()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict[str, Tensor] | None = None,
    ) -> None:
        """Count the skipped samples of a batch."""
        if not isinstance(data_batch, dict) or 'skipped' not in data_batch:
            return
        before, problems = self.skipped, data_batch['skipped']
        self.seen += len(data_batch['keys'])
        self.skipped += len(problems)
        self.first = (self.first + problems)[:_KEYS_SHOWN]
        self.damaged += len(data_batch.get('damaged', []))
        self.first_damaged = (self.first_damaged + data_batch.get('damaged', []))[:_KEYS_SHOWN]
        self.by_source.update(map(_source_of, data_batch['keys']))
        self.skipped_by_source.update(map(_source_of, problems))
        if self.skipped.bit_length() > before.bit_length():
            _log(
                f'{self.skipped} of {self.seen} samples of this rank were skipped so far; '
                f'{_examples(self.first)}'
            )
        if (batch_idx + 1) % _STEPS_BETWEEN_JUDGEMENTS == 0:
            self._judge()

    def _judge(self) -> None:
        """Stop the run, on all ranks, where they have skipped too many samples together."""
        counts = all_gather_object((self.skipped, self.seen, self.first))
        skipped, seen = (sum(count[i] for count in counts) for i in (0, 1))
        epoch = max(self.epoch, seen)  # a loop that counts steps never starts anew
        if skipped > self.max_share * epoch:
            first = [problem for count in counts for problem in count[2]][:_KEYS_SHOWN]
            raise RuntimeError(too_many_failures(skipped, epoch, self.max_share, first))

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the counts over all ranks."""
        counts = all_gather_object((self.by_source, self.skipped_by_source, self.damaged))
        seen: Counter[str] = sum((count[0] for count in counts), Counter())
        skipped: Counter[str] = sum((count[1] for count in counts), Counter())
        damaged = sum(count[2] for count in counts)
        if seen:
            by_source = ', '.join(
                f'{source} {count:,} ({skipped[source]:,} skipped)'
                for source, count in sorted(seen.items())
            )
            _log(f'Samples of this epoch: {by_source}.', level=logging.INFO)
        if skipped:
            _log(
                f'{skipped.total()} of {seen.total()} samples were skipped in this epoch; '
                f'{_examples(self.first)}'
            )
        if damaged:
            _log(
                f'{damaged} of {seen.total()} images are damaged but could be read; '
                f'{_examples(self.first_damaged)}'
            )
        self._judge()


def _examples(problems: list[str]) -> str:
    """The first keys of this rank."""
    return 'the first: ' + '; '.join(problems) if problems else 'none on this rank'


def check_loader(loader: DataLoader, world_size: int) -> None:
    """Check a loader of image-text pairs, and log how an epoch is shared.

    Args:
        loader (DataLoader): A loader over an ``ImageTextDataset``.
        world_size (int): Number of ranks.

    Raises:
        TypeError: If the loader has another data set.
        ValueError: If a rank gets no batch, or a source cannot give every worker a part.
    """
    dataset, num_samples = _image_text_dataset(loader), _epoch_length(loader)
    if dataset is None:
        raise TypeError(f'The loader has a {type(loader.dataset).__name__}, no ImageTextDataset.')
    samples, batch = num_samples // world_size, loader.batch_size or 1
    workers = max(loader.num_workers, 1)
    if len(loader) == 0:
        raise ValueError(
            f'{num_samples} samples give each of {world_size} ranks {samples}, fewer than a batch '
            f'of {batch}: lower `batch_size`, use fewer ranks or more data.'
        )
    dataset.check_grid(WorkerGrid(world_size, workers, batch, samples))
    names = ', '.join(
        f'{source.name} {quota:,}'
        for source, quota in zip(dataset.sources, dataset.quotas, strict=True)
    )
    left_out = num_samples - min(len(loader) * batch, samples) * world_size
    _log(
        f'An epoch has {len(loader):,} batches of {world_size} x {batch} samples from {names}; '
        f'{left_out:,} samples are left out.',
        level=logging.INFO,
    )
    _log_idle_or_shared(loader, dataset, world_size * workers)


def _log_idle_or_shared(loader: DataLoader, dataset: ImageTextDataset, slots: int) -> None:
    """Say so where workers have nothing to do or read the same shards."""
    if len(loader) < loader.num_workers:
        _log(
            f'{loader.num_workers - len(loader)} of {loader.num_workers} workers get no batch: '
            'lower `num_workers`.'
        )
    for source in dataset.sources:
        if len(source.shards) < slots:
            _log(
                f'Source "{source.name}" has {len(source.shards)} shards for {slots} workers: each '
                f'shard is read by about {-(-slots // len(source.shards))} of them; more, smaller '
                'shards or fewer workers save reading.'
            )


def _source_of(key: str) -> str:
    """The source that a key ``source/key`` names."""
    return key.partition('/')[0]


def _image_text_dataset(loader: DataLoader) -> ImageTextDataset | None:
    """Return a loader's data set, unwrapped; None if it is another one.

    With ``num_batch_per_epoch`` mmengine wraps it to count the batches.
    """
    dataset = getattr(loader.dataset, '_dataset', loader.dataset)
    return dataset if isinstance(dataset, ImageTextDataset) else None


def _epoch_length(loader: DataLoader) -> int:
    """Count the samples of an epoch over all ranks."""
    dataset = loader.dataset
    assert isinstance(dataset, Sized)
    return len(dataset)


def _log(message: str, level: int = logging.WARNING) -> None:
    """Write to the run's log."""
    print_log(message, logger='current', level=level)
