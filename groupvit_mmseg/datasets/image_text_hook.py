"""Logs how the data is shared before training, and which samples were skipped during it."""

import logging
from collections import Counter
from collections.abc import Sized

from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from torch import Tensor, nn
from torch.utils.data import DataLoader

from groupvit_mmseg.datasets.epoch_plan import WorkerGrid
from groupvit_mmseg.datasets.image_text import ImageTextDataset
from groupvit_mmseg.datasets.slot_reader import TooManyFailures, too_many_failures

_KEYS_SHOWN, _STEPS_BETWEEN_CHECKS = 5, 50


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
        self.epoch_length, self.max_share = 0, 1.0
        self.num_samples = 0
        self.num_skipped = 0
        self.num_damaged = 0
        self.examples: list[str] = []
        self.damaged_examples: list[str] = []
        self.by_source: Counter[str] = Counter()
        self.skipped_by_source: Counter[str] = Counter()

    def before_train(self, runner: Runner) -> None:
        """Check that ranks get batches and workers shards, and images one augmentation."""
        loader = runner.train_loop.dataloader
        dataset = image_text_dataset_of(loader)
        if dataset is not None:
            check_loader(loader, get_world_size())
            check_augmented_once(runner.model, dataset)
            self.epoch_length, self.max_share = _epoch_length(loader), dataset.max_failure_share

    def before_train_epoch(self, runner: Runner) -> None:
        """Start counting anew."""
        self.num_samples, self.num_skipped, self.examples = 0, 0, []
        self.num_damaged, self.damaged_examples = 0, []
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
        earlier, problems = self.num_skipped, data_batch['skipped']
        self.num_samples += len(data_batch['keys'])
        self.num_skipped += len(problems)
        self.examples = (self.examples + problems)[:_KEYS_SHOWN]
        self.num_damaged += len(data_batch.get('damaged', []))
        self.damaged_examples = (self.damaged_examples + data_batch.get('damaged', []))[
            :_KEYS_SHOWN
        ]
        self.by_source.update(map(_source_of, data_batch['keys']))
        self.skipped_by_source.update(map(_source_of, problems))
        if self.num_skipped.bit_length() > earlier.bit_length():
            _log(
                f'{self.num_skipped} of {self.num_samples} samples of this rank were skipped so '
                f'far; {_examples(self.examples)}'
            )
        if (batch_idx + 1) % _STEPS_BETWEEN_CHECKS == 0:
            self._check_share()

    def _check_share(self) -> None:
        """Stop the run, on all ranks, if they have skipped too many samples together."""
        counts = all_gather_object((self.num_skipped, self.num_samples, self.examples))
        num_skipped, num_samples = (sum(count[i] for count in counts) for i in (0, 1))
        # A loop that counts steps never starts an epoch, so that its counts grow beyond one.
        length = max(self.epoch_length, num_samples)
        if num_skipped > self.max_share * length:
            examples = [problem for count in counts for problem in count[2]][:_KEYS_SHOWN]
            raise TooManyFailures(too_many_failures(num_skipped, length, self.max_share, examples))

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the counts over all ranks."""
        counts = all_gather_object((self.by_source, self.skipped_by_source, self.num_damaged))
        samples: Counter[str] = sum((count[0] for count in counts), Counter())
        skips: Counter[str] = sum((count[1] for count in counts), Counter())
        num_damaged = sum(count[2] for count in counts)
        if samples:
            by_source = ', '.join(
                f'{source} {count:,} ({skips[source]:,} skipped)'
                for source, count in sorted(samples.items())
            )
            _log(f'Samples of this epoch: {by_source}.', level=logging.INFO)
        if skips:
            _log(
                f'{skips.total()} of {samples.total()} samples were skipped in this epoch; '
                f'{_examples(self.examples)}'
            )
        if num_damaged:
            _log(
                f'{num_damaged} of {samples.total()} images are damaged but could be read; '
                f'{_examples(self.damaged_examples)}'
            )
        self._check_share()


def _examples(problems: list[str]) -> str:
    """Return a sentence with the first problems of this rank."""
    return 'the first: ' + '; '.join(problems) if problems else 'none on this rank'


def check_loader(loader: DataLoader, world_size: int) -> None:
    """Check a loader of image-text pairs, and log how an epoch is shared.

    Args:
        loader (DataLoader): A loader over an ``ImageTextDataset``.
        world_size (int): Number of ranks.

    Raises:
        TypeError: If the loader has another data set.
        ValueError: If a rank gets no batch, or a source has too few shards for the workers.
    """
    dataset, num_samples = image_text_dataset_of(loader), _epoch_length(loader)
    if dataset is None:
        raise TypeError(f'The loader has a {type(loader.dataset).__name__}, no ImageTextDataset.')
    samples, batch = num_samples // world_size, loader.batch_size or 1
    streams = dataset.count_streams(loader.num_workers)
    if len(loader) == 0:
        raise ValueError(
            f'{num_samples} samples give each of {world_size} ranks {samples}, fewer than a batch '
            f'of {batch}: lower `batch_size`, use fewer ranks or more data.'
        )
    dataset.check_grid(WorkerGrid(world_size, streams, batch, samples))
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
    _log_idle_or_shared(loader, dataset, world_size * streams)


def _log_idle_or_shared(loader: DataLoader, dataset: ImageTextDataset, slots: int) -> None:
    """Log workers that get no batch, and shards that several workers or streams read."""
    readers = 'workers' if dataset.num_streams is None else 'streams'
    if len(loader) < loader.num_workers:
        _log(
            f'{loader.num_workers - len(loader)} of {loader.num_workers} workers get no batch: '
            'lower `num_workers`.'
        )
    for source in dataset.sources:
        if len(source.shards) < slots:
            _log(
                f'Source "{source.name}" has {len(source.shards)} shards for {slots} {readers}: '
                f'each shard is read by about {-(-slots // len(source.shards))} of them; more, '
                f'smaller shards or fewer {readers} save reading.'
            )


def _source_of(key: str) -> str:
    """Return the source of a key ``source/key``."""
    return key.partition('/')[0]


# Transforms that a model's preprocessor does in their place; MMPretrain's have these names too.
AUGMENTATIONS = frozenset(
    ('RandomHorizontalFlip', 'TimmRandAugment', 'RandomPixelErasing')
    + ('RandomFlip', 'RandAugment', 'RandomErasing')
)


def check_augmented_once(model: nn.Module, dataset: ImageTextDataset) -> None:
    """Check that images are not augmented by the loader and again on the device.

    Args:
        model (nn.Module): The model, or its wrapper.
        dataset (ImageTextDataset): The training set.

    Raises:
        ValueError: If both do; names the transforms to remove.
    """
    preprocessor = getattr(getattr(model, 'module', model), 'data_preprocessor', None)
    names = [type(step).__name__ for step in dataset.pipeline.transforms]
    twice = [name for name in names if name in AUGMENTATIONS]
    if twice and hasattr(preprocessor, 'augment'):
        raise ValueError(
            f'{type(preprocessor).__name__} augments on the device what {", ".join(twice)} did in '
            'the loader already: remove them from the pipeline of train_dataloader.dataset.'
        )


def image_text_dataset_of(loader: DataLoader) -> ImageTextDataset | None:
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
