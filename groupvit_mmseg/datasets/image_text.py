"""Image-text pairs from tar shards, each once per epoch over any number of ranks and workers."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from mmseg.registry import DATASETS, TRANSFORMS
from torch.utils.data import Dataset, get_worker_info

from groupvit_mmseg.datasets.epoch_plan import (
    EpochPosition,
    ShardRange,
    WorkerGrid,
    random_generator,
    slot_plan,
)
from groupvit_mmseg.datasets.epoch_remainder import GridProgress, grids_in_turn, slot_ranges
from groupvit_mmseg.datasets.pair_sources import SourceConfig, open_pairs, read_range
from groupvit_mmseg.datasets.seeding import kept_random_states
from groupvit_mmseg.datasets.shard_stream import RawSample, mixed_stream
from groupvit_mmseg.datasets.shards import mix_quotas
from groupvit_mmseg.datasets.slot_reader import SPARE_SAMPLES, Failures, SlotReader, Transform

# Samples from the beginnings of other shards, for bad ones without a good one near them.
_RESERVE_PER_SHARD, _RESERVE_SAMPLES = 16, 256
# Separates the random numbers of the reading order, and of the reserve, from those of the plan.
_ORDER, _RESERVE = 1, 2


@dataclass
class _Pass:
    """An iteration over an epoch, or over its remainder, as one worker sees it.

    Attributes:
        first (EpochPosition): Its first position over all workers.
        grid (WorkerGrid): The processes and their streams.
        readers (dict[int, SlotReader]): Readers of streams by the offset of their next batch.
    """

    first: EpochPosition
    grid: WorkerGrid
    readers: dict[int, SlotReader] = field(default_factory=dict)


@DATASETS.register_module()
class ImageTextDataset(Dataset):
    """Image-text pairs from one or several sources of webdataset shards, tables or Parquet.

    Use it with ``sampler=dict(type='ImageTextSampler')``: the sampler passes positions in an epoch
    (:class:`~groupvit_mmseg.datasets.epoch_plan.EpochPosition`), and every worker reads its own
    ranges of the shards from beginning to end.

    **Once per epoch.** With ``sizes.json`` beside the shards every sample is read by exactly one
    worker of one rank, for any number of ranks, workers and shards. The exceptions: ranks need
    equally many samples, so up to ``world_size - 1`` are left out, and ``drop_last=True`` leaves
    out less than one batch per rank; other ones in every epoch. A bad sample is replaced (below).
    With weights a source gives ``weight share x epoch length`` samples: each several times, or only
    a part of them. A source that only has a ``length`` is distributed in whole shards: it needs a
    shard per worker, and a worker whose shards end early starts over with them.

    **Order.** A function of (seed, epoch), the number of ranks and workers, and the batch size: the
    order of the shards, the samples of each worker, the buffer, and every random number of the
    transforms. With ``num_streams`` the number of workers decides nothing: a rank's epoch is read
    in so many streams, which its workers share, each with a buffer of its own.

    **Bad samples.** A sample that cannot be read, or for which any transform raises any error, is
    replaced by one that the same worker read shortly before, so that ranks do the same steps; at
    the beginning by one that it reads next, or by one from the beginning of another shard. The
    replacement has the key and the reason under ``skipped``, which ``ImageTextDataHook`` counts and
    logs. The run stops, with the error of the first bad sample, when they are more than
    ``max_failure_share`` of the whole epoch, counted over all workers so that the order decides
    nothing; and at once if no replacement can be found.

    Args:
        sources (Sequence[SourceConfig]): The mix: tar shards, tables beside images, folders, or
            Parquet files, see :class:`~groupvit_mmseg.datasets.pair_sources.SourceConfig`.
        pipeline (Sequence[dict | Transform]): Transforms, from ``dict(key, members, error)``.
        shuffle_buffer (int): Raw samples that a worker holds to draw from. Defaults to 10,000.
        max_failure_share (float): Bad samples, as a share in [0, 1] of the epoch of all workers and
            ranks, above which the run stops. A worker checks its own; the hook adds them up.
            Defaults to 0.1.
        min_failure_samples (int): Samples that a worker reads before it checks the share; fewer
            if its whole epoch has fewer. Defaults to 500.
        num_streams (int, optional): Streams of a rank, a multiple of ``num_workers``; 12 suit 1, 2,
            3, 4, 6 and 12 workers, and none. None is one of each worker. Defaults to None.

    Raises:
        FileNotFoundError: If a shard is missing.
        TypeError: If ``sources`` is not a list of dicts.
        ValueError: If the mix is empty, a length is missing, the share is outside [0, 1], or there
            are less than one stream.

    Example:
        >>> from pathlib import Path
        >>> from torch.utils.data import DataLoader
        >>> from groupvit_mmseg.datasets import ImageTextSampler, collate_image_text
        >>> from groupvit_mmseg.datasets.scenes import draw_scene
        >>> from groupvit_mmseg.datasets.shard_writing import ShardSet
        >>> with ShardSet(Path('shards'), 'scenes') as shards:
        ...     for seed in range(4):
        ...         scene = draw_scene(seed)
        ...         shards.write(str(seed), dict(png=scene.image, txt=scene.caption))
        ...     _ = shards.finish()
        >>> dataset = ImageTextDataset(
        ...     [dict(shards='scenes-*.tar', data_root='shards')],
        ...     pipeline=[dict(type='LoadImageText'), dict(type='PackImageText')],
        ... )
        >>> sampler = ImageTextSampler(dataset, seed=0)
        >>> loader = DataLoader(dataset, 2, sampler=sampler, collate_fn=collate_image_text)
        >>> batch = next(iter(loader))
        >>> batch['inputs'].shape, batch['keys'], batch['captions'][0]
        (torch.Size([2, 3, 40, 40]), ['scenes/0', 'scenes/2'],
        'a yellow star and a pink heart on some sand')
    """

    def __init__(
        self,
        sources: Sequence[SourceConfig],
        *,
        pipeline: Sequence[dict[str, object] | Transform],
        shuffle_buffer: int = 10_000,
        max_failure_share: float = 0.1,
        min_failure_samples: int = 500,
        num_streams: int | None = None,
    ) -> None:
        if num_streams is not None and num_streams < 1:
            raise ValueError(f'`num_streams` is {num_streams}: it must be 1 or more, or None.')
        if not 0 <= max_failure_share <= 1:
            raise ValueError(f'`max_failure_share` is {max_failure_share}: it must be in [0, 1].')
        if isinstance(sources, str) or not all(isinstance(source, dict) for source in sources):
            raise TypeError(
                '`sources` must be a list of dict(shards=..., data_root=..., name=...).'
            )
        self.sources = [open_pairs(source) for source in sources]
        self.quotas = mix_quotas(self.sources)
        self.pipeline = Compose([build_transform(transform) for transform in pipeline])
        self.shuffle_buffer = shuffle_buffer
        self.max_failure_share = max_failure_share
        self.min_failure_samples = min_failure_samples
        self.metainfo = {'task': 'image-text pretraining'}
        self.num_streams = num_streams
        self._pass: _Pass | None = None

    def __len__(self) -> int:
        """Count the samples of one epoch over all ranks."""
        return sum(self.quotas)

    def __getitem__(self, position: EpochPosition) -> dict[str, Any]:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[EpochPosition]) -> list[dict[str, Any]]:
        """Load one batch.

        Args:
            positions (Sequence[EpochPosition]): Consecutive positions of one epoch.

        Returns:
            list[dict]: Results of the pipeline, and ``skipped``: the bad samples that were read
                with each, ``'key: reason'``.
        """
        if not isinstance(positions[0], EpochPosition):
            raise TypeError(
                'ImageTextDataset reads its shards in order and cannot be indexed by number: set '
                "`sampler=dict(type='ImageTextSampler')` in the dataloader."
            )
        offset, self._pass = positions[0].offset, self._pass_of(positions)
        grid, readers = self._pass.grid, self._pass.readers
        reader = readers.pop(offset, None) or self._open_reader(positions[0], grid)
        readers[offset + grid.batch_size * grid.num_workers] = reader
        with kept_random_states():
            return [reader.load(position) for position in positions]

    def count_streams(self, num_workers: int) -> int:
        """Return the streams in which each rank reads its epoch.

        Args:
            num_workers (int): Loader workers of a rank; 0 reads in the process itself.

        Raises:
            ValueError: If the workers cannot share ``num_streams`` equally.
        """
        workers = max(num_workers, 1)
        if self.num_streams is None:
            return workers
        if self.num_streams % workers:
            raise ValueError(
                f'{workers} workers cannot share num_streams={self.num_streams} equally: choose a '
                '`num_workers` that divides it, or a multiple of the workers as `num_streams`.'
            )
        return self.num_streams

    def check_grid(self, grid: WorkerGrid) -> None:
        """Check that every worker has shards to read.

        Args:
            grid (WorkerGrid): Ranks, workers per rank, samples per batch.

        Raises:
            ValueError: If a source without ``sizes.json`` has fewer shards than there are streams.
        """
        readers = 'workers' if self.num_streams is None else 'streams'
        slots = grid.world_size * grid.num_workers
        for source in self.sources:
            if source.sizes is None and len(source.shards) < slots:
                raise ValueError(
                    f'Source "{source.name}" has {len(source.shards)} shards for {slots} {readers} '
                    f'({grid.world_size} ranks x {grid.num_workers}): lower `num_{readers}`, cut '
                    'the data into more shards, or put a sizes.json beside them so that shards can '
                    'be shared.'
                )

    def _pass_of(self, positions: Sequence[EpochPosition]) -> _Pass:
        """Return the iteration to which a batch belongs, a new one at a worker's first batch."""
        info, position = get_worker_info(), positions[0]
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        first, done = position._replace(offset=position.start), position.offset - position.start
        now = self._pass
        if now is not None and now.first == first and done != worker * now.grid.batch_size:
            return now
        # The loader gives its first batches to workers 0, 1, ...; the last batch may be short, so
        # that a worker's first batch tells the batch size by its offset alone.
        batch_size = position.batch_size or (done // worker if worker else len(positions))
        streams = self.count_streams(num_workers)
        grid = WorkerGrid(position.world_size, streams, batch_size, position.num_samples)
        self.check_grid(grid)
        return _Pass(first, grid)

    def _open_reader(self, position: EpochPosition, grid: WorkerGrid) -> SlotReader:
        """Start reading at a batch.

        Batch ``j`` of an epoch belongs to stream ``j mod num_streams``, whichever worker loads it,
        so that a resumed epoch has the samples of an uninterrupted one.
        """
        batch_size, num_streams = grid.batch_size, grid.num_workers
        round_, index = divmod(position.offset // batch_size, num_streams)
        history = [GridProgress(*steps) for steps in position.history]
        grids = [*grids_in_turn(sum(self.quotas), history), (grid, 0)]
        stream = self._stream(position, grids, position.rank * num_streams + index)
        need = grid.worker_quotas()[index]
        failures = Failures(
            self.max_failure_share, min(self.min_failure_samples, need), sum(self.quotas)
        )
        # What an uninterrupted run would have read before; it also replaces bad samples.
        earlier = islice(stream, round_ * batch_size)
        spare = deque((raw for raw in earlier if raw.error is None), maxlen=SPARE_SAMPLES)
        entropy = (position.seed, position.epoch, position.rank, index, _RESERVE)
        reserve = self._reserve(random_generator(*entropy))
        return SlotReader(stream, self.pipeline, failures, grid, spare, reserve)

    def _reserve(self, rng: np.random.Generator) -> Iterator[RawSample]:
        """Read samples from the beginnings of all shards, in this stream's order."""
        shards = [(source, shard) for source in self.sources for shard in source.shards]
        order = (shards[i] for i in rng.permutation(len(shards)))
        readable = (
            raw
            for source, shard in order
            for raw in islice(read_range(source, ShardRange(shard, 0, None)), _RESERVE_PER_SHARD)
            if raw.error is None
        )
        return islice(readable, _RESERVE_SAMPLES)

    def _stream(
        self, position: EpochPosition, grids: Sequence[tuple[WorkerGrid, int]], slot: int
    ) -> Iterator[RawSample]:
        """Read all samples of a slot of the last grid, of those that the grids before it left."""
        (grid, _), earlier = grids[-1], grids[:-1]
        if earlier:
            parts = slot_ranges(*earlier[-1], grid, slot)
            return chain.from_iterable(
                islice(self._stream(position, earlier, part.slot), part.first, part.stop)
                for part in parts
            )
        plan = slot_plan(self.sources, self.quotas, position, slot, grid)
        streams = [
            (need, chain.from_iterable(map(partial(read_range, source), ranges)))
            for (need, ranges), source in zip(plan, self.sources, strict=True)
        ]
        rank, index = divmod(slot, grid.num_workers)
        rng = random_generator(position.seed, position.epoch, rank, index, _ORDER)
        return mixed_stream(streams, shuffle_buffer=self.shuffle_buffer, rng=rng)


def build_transform(transform: dict[str, object] | Transform) -> Transform:
    """Build a transform from its config, looked up in MMSegmentation's registry first.

    A transform of another package that is made of transforms (``mmpretrain.RandAugment``) looks for
    them in the default scope, which is therefore that package's while it is built.
    """
    if not isinstance(transform, dict):
        return transform
    library, dot, _ = str(transform['type']).rpartition('.')
    with DefaultScope.overwrite_default_scope(library if dot else None):
        return TRANSFORMS.build(transform)
