"""Runs a loaded model on one benchmark set and writes a line of the journal per image."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.utils.data import DataLoader

from groupvit_mmseg.benchmark.evaluation_protocol import Protocol
from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.benchmark.measures import ImageMeasures
from groupvit_mmseg.benchmark.pending_images import (
    PendingImages,
    UnreadableImage,
    collate_readable,
)
from groupvit_mmseg.benchmark.result_types import ImageResult
from groupvit_mmseg.benchmark.sets import Benchmark, dataset_config
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.label_maps import IGNORED, ignored_label, reading_label_maps
from groupvit_mmseg.datasets.listing import check_listing
from groupvit_mmseg.datasets.segmentation_checks import check_class_count, check_masks
from groupvit_mmseg.evaluation.confusion import count_pairs
from groupvit_mmseg.image_size import check_image_size
from groupvit_mmseg.inference.loading import EvaluatedSegmentor
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Share(TypedDict, total=False):
    """The images that one process runs, and how it loads them.

    Attributes:
        rank (int): Index of the process, which runs every ``world``-th image. Defaults to 0.
        world (int): Number of processes. Defaults to 1.
        num_workers (int): Worker processes that load images. Defaults to 0.
        batch_size (int): Images that go through the model together. Defaults to 1: the result of an
            image then depends on no other image, nor on workers or processes.
        limit (int | None): Number of images to stop at. Defaults to None, all.
    """

    rank: int
    world: int
    num_workers: int
    batch_size: int
    limit: int | None


def segmentation_pipeline(protocol: Protocol) -> list[dict]:
    """Return the transforms of images and masks; masks keep the size they are compared at."""
    return [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(2048, protocol.short_side), keep_ratio=True),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]


def build_dataset(
    benchmark: Benchmark, root: str | Path, protocol: Protocol, *, configs: Path, **changes: object
) -> BaseDataset:
    """Build the data set of a benchmark set, with a protocol's resizing.

    Args:
        benchmark (Benchmark): The set.
        root (str | Path): Folder of its files.
        protocol (Protocol): Protocol of this set.
        configs (Path): The folder ``configs`` of the project.
        **changes: Other arguments of the data set to change.

    Returns:
        BaseDataset: A data set of MMSegmentation, or of MMPretrain for ImageNet.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If its images have another ending, or its list cannot be read.
    """
    if not Path(root).is_dir():
        raise FileNotFoundError(
            f'There is no {root} for {benchmark.name}: name its folder with --data-root or '
            f'--root {benchmark.name}=FOLDER.'
        )
    dataset = dataset_config(read_config(configs / '_base_/datasets' / benchmark.data_config))
    dataset.update(data_root=str(root), **changes)
    if benchmark.name == 'imagenet':
        _check_folders_of_imagenet(Path(root))
    else:
        ignored = dataset.get('ignore_index', IGNORED)
        dataset.pipeline = reading_label_maps(segmentation_pipeline(protocol), ignore_index=ignored)
        check_listing(dataset)
    try:
        return DATASETS.build(dataset)
    except TypeError as error:  # an argument that does not exist, or of another type
        raise ValueError(f'The data set of {benchmark.data_config}: {error}.') from error


def _check_folders_of_imagenet(root: Path) -> None:
    """Raise ``ValueError`` for folders of classes whose order is not that of the labels."""
    folder = root / 'val'
    if (root / 'meta/val.txt').is_file() or not folder.is_dir():
        return
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    others = [name for name in names if re.fullmatch(r'n\d{8}', name) is None]
    if others or len(names) != 1000:
        named = f', such as {sorted(others)[0]}' if others else ''
        raise ValueError(
            f'{folder} has {len(names)} folders{named}: the 1,000 classes of ImageNet are folders '
            'called by WordNet ids (n01440764), or meta/val.txt lists the images.'
        )


def ignored_of(dataset: BaseDataset) -> int:
    """Return the label of the masks that does not count, as :class:`.LoadLabelMap` reads them."""
    return ignored_label(getattr(dataset, 'ignore_index', IGNORED))


def run_segmentation(
    segmentor: EvaluatedSegmentor,
    dataset: BaseDataset,
    journal: Journal,
    *,
    measure: ImageMeasures | None = None,
    **share: Unpack[Share],
) -> Iterator[int]:
    """Segment the images of one process that are not in the journal.

    Args:
        segmentor (EvaluatedSegmentor): Set up by :func:`.apply_protocol`.
        dataset (BaseDataset): A segmentation data set of MMSegmentation.
        journal (Journal): Receives the results.
        measure (ImageMeasures, optional): Measures beside mIoU. Defaults to None.
        **share: Fields of :class:`Share`.

    Yields:
        int: The index of each image when it is done.

    Raises:
        ValueError: If an image or a mask cannot be used; it names the file. Results so far stay in
            the journal.
    """
    num_classes = segmentor.num_classes
    check_class_count(num_classes, dataset.metainfo['classes'], type(dataset).__name__)
    ignored = ignored_of(dataset)

    network = (
        segmentor.model if isinstance(segmentor, OpenVocabularySegmentor) else segmentor.backbone
    )

    def results(batch: dict) -> list[ImageResult]:
        _check_sizes(batch, network)
        if ignored != IGNORED:  # which the segmentor takes for a class
            check_masks(batch['data_samples'], num_classes, ignored)
        samples = segmentor.test_step(batch)
        return [result(*one) for one in zip(batch['inputs'], samples, strict=True)]

    def result(image: Tensor, sample: SegDataSample) -> ImageResult:
        label_map = sample.gt_sem_seg.get('data')[0]
        predicted = sample.pred_sem_seg.get('data')[0].to(label_map.device)
        pairs = count_pairs(label_map, predicted, num_classes, ignored)
        measured = ImageResult() if measure is None else measure(image, sample)
        return {'image': image_name(sample), 'pairs': pairs, **measured}

    yield from _run(results, dataset, journal, **share)


def run_classification(
    segmentor: EvaluatedSegmentor,
    dataset: BaseDataset,
    journal: Journal,
    *,
    names: Sequence[str],
    templates: str | Sequence[str],
    **share: Unpack[Share],
) -> Iterator[int]:
    """Classify images zero-shot by the pooled image embedding; as :func:`run_segmentation`.

    Args:
        segmentor (EvaluatedSegmentor): With weights.
        dataset (BaseDataset): A classification data set of MMPretrain.
        journal (Journal): Receives the results.
        names (Sequence[str]): Prompt of each class, in the order of the labels.
        templates (str | Sequence[str]): Prompt templates.
        **share: Fields of :class:`Share`.

    Yields:
        int: The index of each image when it is done.
    """
    check_class_count(len(names), dataset.metainfo['classes'], type(dataset).__name__)
    assert not isinstance(segmentor, OpenVocabularySegmentor)  # make_tasks refuses it
    head = segmentor.decode_head
    class_embeds = head.embed_names(names, templates)  # (K, D)

    def results(batch: dict) -> list[ImageResult]:
        _check_sizes(batch, segmentor.backbone)
        data = segmentor.data_preprocessor(batch, False)
        embeds = head.embed_images(segmentor.extract_feat(data['inputs']))  # (B, D)
        best = (embeds @ class_embeds.T).topk(min(5, len(names))).indices.tolist()
        return [
            dict(image=image_name(sample), label=int(sample.gt_label), best=nearest)
            for sample, nearest in zip(batch['data_samples'], best, strict=True)
        ]

    yield from _run(results, dataset, journal, **share)


def _run(
    results: Callable[[dict], list[ImageResult]],
    dataset: BaseDataset,
    journal: Journal,
    *,
    rank: int = 0,
    world: int = 1,
    num_workers: int = 0,
    batch_size: int = 1,
    limit: int | None = None,
) -> Iterator[int]:
    """Run the images of one process that are not in the journal, and write each there."""
    done = journal.results()
    count = len(dataset) if limit is None else min(limit, len(dataset))
    pending = [index for index in range(rank, count, world) if index not in done]
    loader = DataLoader(
        PendingImages(dataset, pending),
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate_readable,
    )
    indices = iter(pending)
    with journal.writer(rank) as writer, torch.inference_mode():
        for batch in loader:
            if isinstance(batch, UnreadableImage):
                raise ValueError(batch.reason)
            for result in _with_image_names(results, batch):
                index = next(indices)
                writer.add(index, **result)
                yield index


def _check_sizes(batch: dict, backbone: nn.Module) -> None:
    """Refuse images smaller than a patch, as they are or resized."""
    for sample, image in zip(batch['data_samples'], batch['inputs'], strict=True):
        name = str(sample.metainfo.get('img_path', 'An image'))
        check_image_size(sample.metainfo['ori_shape'], backbone, name=name)
        check_image_size(image.shape[-2:], backbone, name=f'{name}, resized,')


def _with_image_names(
    results: Callable[[dict], list[ImageResult]], batch: dict
) -> list[ImageResult]:
    """Compute the results of a batch; add the names of the images to an error."""
    try:
        return results(batch)
    except ValueError as error:
        metas = [sample.metainfo for sample in batch['data_samples']]
        paths = [str(meta.get(key)) for meta in metas for key in ('img_path', 'seg_map_path')]
        if any(path in str(error) for path in paths):
            raise
        names = ', '.join(str(meta.get('img_path')) for meta in metas)
        raise ValueError(f'{names} cannot be evaluated: {error}') from error


def image_name(sample: BaseDataElement) -> str:
    """Return the name of a sample's file, without the machine's folders."""
    return str(sample.metainfo.get('img_path', '')).rsplit('/', 1)[-1]


def digest(names: Sequence[str]) -> str:
    """Return the first twelve hexadecimal digits of the SHA-256 of a list of names.

    Example:
        >>> digest(['cat', 'dog'])
        '3a450eb155d6'
    """
    return hashlib.sha256('\n'.join(names).encode()).hexdigest()[:12]
