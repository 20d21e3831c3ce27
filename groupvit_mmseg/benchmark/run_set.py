"""Runs one benchmark set with a model that is loaded already: one line of the journal per image."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from torch.utils.data import DataLoader, Dataset

from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.benchmark.protocols import ClassSet, Protocol
from groupvit_mmseg.benchmark.sets import Benchmark, dataset_config
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.label_maps import reading_label_maps
from groupvit_mmseg.datasets.listing import check_listing
from groupvit_mmseg.datasets.segmentation_checks import check_class_count
from groupvit_mmseg.error_messages import error_text
from groupvit_mmseg.evaluation.confusion import count_pairs
from groupvit_mmseg.picture_size import TOO_THIN, check_picture_size, too_thin


def segmentation_pipeline(protocol: Protocol) -> list[dict]:
    """Transforms of images and masks: the masks keep the size they are compared at."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(2048, protocol.short_side), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]


def build_dataset(
    benchmark: Benchmark, root: str | Path, protocol: Protocol, *, configs: Path, **changes: Any
) -> Any:
    """A set's data set with a protocol's resizing.

    Args:
        benchmark (Benchmark): The set.
        root (str | Path): Folder of its files.
        protocol (Protocol): Of this set.
        configs (Path): The folder ``configs`` of the project.
        **changes: Other arguments of the data set to change.

    Returns:
        Any: A data set of MMSegmentation, or of MMPretrain for ImageNet.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If its images have another ending, or its list cannot be read.
    """
    if not Path(root).is_dir():
        raise FileNotFoundError(
            f'There is no {root} for {benchmark.name}: name its place with --data-root or '
            f'--root {benchmark.name}=FOLDER.'
        )
    dataset = dataset_config(read_config(configs / '_base_/datasets' / benchmark.data_config))
    dataset.update(data_root=str(root), **changes)
    if benchmark.name != 'imagenet':
        ignored = dataset.get('ignore_index', 255)
        dataset.pipeline = reading_label_maps(segmentation_pipeline(protocol), ignore_index=ignored)
        check_listing(dataset)
    try:
        return DATASETS.build(dataset)
    except TypeError as error:  # an argument that does not exist, or of another type
        raise ValueError(f'The data set of {benchmark.data_config}: {error}.') from error


def apply_protocol(
    segmentor: Any,
    protocol: Protocol,
    class_set: ClassSet,
    logit_scale: float,
    classes: Mapping[str, Any] | None = None,
) -> None:
    """Make a segmentor look for a set's classes as a protocol says.

    Args:
        segmentor (Any): A ``GroupViTSegmentor`` with its weights.
        protocol (Protocol): Of this set.
        class_set (str | tuple[str, ...]): As ``class_names`` knows it, or names.
        logit_scale (float): The checkpoint's, for protocols that have none of their own.
        classes (Mapping[str, Any], optional): What ``read_class_file`` gives, in the place of the
            set's own spellings. Defaults to None.

    Raises:
        ValueError: If the classes do not fit the set and the protocol.
    """
    head = segmentor.decode_head
    pooling = head.classes.alias_pooling
    head.set_classes(protocol.class_list(class_set, classes, alias_pooling=pooling))
    head.top_k = protocol.top_k
    head.logit_scale.data.fill_(math.log(protocol.logit_scale or logit_scale))
    segmentor.test_cfg = {**segmentor.test_cfg, **protocol.test_cfg()}
    head.encode_classes()


def run_segmentation(
    segmentor: Any, dataset: Any, journal: Journal, *, rank: int = 0, world: int = 1, **loading: Any
) -> Iterator[int]:
    """Segment the images of one process that no process has done yet.

    Unless ``batch_size`` says otherwise every image is passed alone, so that its result depends on
    no other image, nor on workers or processes.

    Args:
        segmentor (Any): A ``GroupViTSegmentor`` set up by :func:`apply_protocol`.
        dataset (Any): A segmentation data set of MMSegmentation.
        journal (Journal): Where results are kept.
        rank (int): Of this process; it does every ``world``-th image. Defaults to 0.
        world (int): Number of processes. Defaults to 1.
        **loading: ``num_workers``, ``batch_size`` and ``limit``, the images to stop at.

    Yields:
        int: The index of each image when it is done.

    Raises:
        ValueError: If an image or a mask cannot be used; it names the file. What is done is kept.
    """
    num_classes = segmentor.num_classes
    check_class_count(num_classes, dataset.metainfo['classes'], type(dataset).__name__)

    def results(batch: dict) -> list[dict[str, Any]]:
        _check_sizes(batch, segmentor.backbone)
        return [segmented(sample) for sample in segmentor.test_step(batch)]

    def segmented(sample: Any) -> dict[str, Any]:
        label_map = sample.gt_sem_seg.data[0]
        predicted = sample.pred_sem_seg.data[0].to(label_map.device)
        return dict(image=image_name(sample), pairs=count_pairs(label_map, predicted, num_classes))

    yield from _run(results, dataset, journal, rank, world, **loading)


def run_classification(
    segmentor: Any,
    dataset: Any,
    journal: Journal,
    *,
    names: Sequence[str],
    templates: str | Sequence[str],
    rank: int = 0,
    world: int = 1,
    **loading: Any,
) -> Iterator[int]:
    """Zero-shot classification by the pooled image embedding; as :func:`run_segmentation`.

    Args:
        segmentor (Any): A ``GroupViTSegmentor`` with its weights.
        dataset (Any): A classification data set of MMPretrain.
        journal (Journal): Where results are kept.
        names (Sequence[str]): What each class is prompted as, in the order of the labels.
        templates (str | Sequence[str]): Prompt templates.
        rank (int): Of this process. Defaults to 0.
        world (int): Number of processes. Defaults to 1.
        **loading: ``num_workers``, ``batch_size`` and ``limit``, the images to stop at.

    Yields:
        int: The index of each image when it is done.
    """
    check_class_count(len(names), dataset.metainfo['classes'], type(dataset).__name__)
    head = segmentor.decode_head
    class_embeds = head.embed_names(names, templates)

    def results(batch: dict) -> list[dict[str, Any]]:
        _check_sizes(batch, segmentor.backbone)
        data = segmentor.data_preprocessor(batch, False)
        pooled = head.image_projector(segmentor.extract_feat(data['inputs']).pooled)
        best = (pooled @ class_embeds.T).topk(min(5, len(names))).indices.tolist()
        return [
            dict(image=image_name(sample), label=int(sample.gt_label), best=nearest)
            for sample, nearest in zip(batch['data_samples'], best, strict=True)
        ]

    yield from _run(results, dataset, journal, rank, world, **loading)


def _run(
    results: Callable[[dict], list[dict[str, Any]]],
    dataset: Any,
    journal: Journal,
    rank: int,
    world: int,
    *,
    num_workers: int = 0,
    batch_size: int = 1,
    limit: int | None = None,
) -> Iterator[int]:
    """Images of one process that are not in the journal, each written there when it is done."""
    done = journal.results()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    pending = [index for index in range(rank, count, world) if index not in done]
    loader = DataLoader(
        _Pending(dataset, pending),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=_collate,
    )
    indices = iter(pending)
    with journal.writer(rank) as writer, torch.inference_mode():
        for batch in loader:
            if isinstance(batch, _Unreadable):
                raise ValueError(batch.reason)
            for result in _naming_images(results, batch):
                index = next(indices)
                writer.add(index, **result)
                yield index


def _check_sizes(batch: dict, backbone: Any) -> None:
    """Refuse pictures below a patch, as they are or resized."""
    for sample, image in zip(batch['data_samples'], batch['inputs'], strict=True):
        name = str(sample.metainfo.get('img_path', 'A picture'))
        check_picture_size(sample.metainfo['ori_shape'], backbone, name=name)
        check_picture_size(image.shape[-2:], backbone, name=f'{name}, resized,')


class _Unreadable(NamedTuple):
    """A sentence in the place of a sample; a worker that raises it would add its traceback."""

    reason: str


class _Pending(Dataset):
    """The samples of a data set that are still to be done."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Any:
        index = self.indices[place]
        try:
            return self.dataset[index]
        except Exception as error:  # whatever a decoder or a transform raises
            return _Unreadable(_why(error, self.dataset.get_data_info(index)))


def _why(error: Exception, info: Mapping[str, Any]) -> str:
    """Why a sample cannot be loaded, on one line that names its file; says unexpected types."""
    reason = TOO_THIN if too_thin(error) else ' '.join(error_text(error).split())
    named = any(str(info.get(key) or ' ') in reason for key in ('img_path', 'seg_map_path'))
    if named and isinstance(error, ValueError):
        return reason
    if not isinstance(error, OSError | ValueError) and not too_thin(error):
        reason = f'{type(error).__name__}: {reason}'
    path = info.get('img_path', 'An image')
    return f'{path} cannot be evaluated ({reason}): mend or replace it; the same command goes on.'


def _collate(samples: list[Any]) -> Any:
    """A batch, or the first sample that cannot be read."""
    unreadable = (sample for sample in samples if isinstance(sample, _Unreadable))
    return next(unreadable, None) or pseudo_collate(samples)


def _naming_images(
    results: Callable[[dict], list[dict[str, Any]]], batch: dict
) -> list[dict[str, Any]]:
    """Results of a batch; what a model refuses is said with the names of the images."""
    try:
        return results(batch)
    except ValueError as error:
        metas = [sample.metainfo for sample in batch['data_samples']]
        paths = [str(meta.get(key)) for meta in metas for key in ('img_path', 'seg_map_path')]
        if any(path in str(error) for path in paths):
            raise
        names = ', '.join(str(meta.get('img_path')) for meta in metas)
        raise ValueError(f'{names} cannot be evaluated: {error}') from error


def image_name(sample: Any) -> str:
    """Name of a sample's file, without the machine's folders."""
    return str(sample.metainfo.get('img_path', '')).rsplit('/', 1)[-1]


def digest(names: Sequence[str]) -> str:
    """Twelve digits that tell lists of names apart."""
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:12]
