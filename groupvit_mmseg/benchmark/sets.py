"""The benchmark sets: where their files lie, what they prompt, and what has been published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.fileio import list_from_file
from mmseg.registry import DATASETS

from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.segmentation_checks import check_class_names_of_set

PUBLISHED_BY = (
    'GroupViT GCC+YFCC',
    'GroupViT GCC+RedCaps',
    'GroupViT GCC+RedCaps, TCL protocol',
    'TCL + PAMR',
    'SCLIP',
    'NACLIP',
)
"""tuple[str, ...]: Whose numbers :attr:`Benchmark.published` holds, in this order."""


class Benchmark(NamedTuple):
    """A set and its published numbers.

    Attributes:
        name (str): What the command line takes.
        title (str): For tables.
        class_set (str | tuple[str, ...]): What ``class_names`` calls its classes, or their names.
        data_config (str): Config of its files: below ``configs/_base_/datasets``, or anywhere.
        root (str): Folder of its files: under the data root, or for a set of the user's anywhere.
        num_images (int | None): Images of the whole split; None for a set of the user's own.
        published (tuple[float | None, ...]): mIoU (ImageNet: top-1) by ``PUBLISHED_BY``.
    """

    name: str
    title: str
    class_set: str | tuple[str, ...]
    data_config: str
    root: str
    num_images: int | None
    published: tuple[float | None, ...]

    def folder(self, data_root: str | Path) -> Path:
        """Where its files lie."""
        return Path(self.root) if self.num_images is None else Path(data_root) / self.root


_SETS = (
    Benchmark(
        'voc21',
        'VOC21',
        'pascal_voc',
        'pascal_voc12_448.py',
        'VOCdevkit/VOC2012',
        1449,
        (52.3, 50.8, 50.4, 55.0, 59.6, 64.1),
    ),
    Benchmark(
        'context60',
        'Context60',
        'pascal_context',
        'pascal_context_448.py',
        'VOCdevkit/VOC2010',
        5104,
        (22.4, 23.7, 18.7, 30.4, 31.7, 35.0),
    ),
    Benchmark(
        'coco_object',
        'COCO-Object',
        'coco_object',
        'coco_object_448.py',
        'coco_object',
        5000,
        (24.3, 27.5, 27.5, 31.6, 33.5, 36.2),
    ),
    Benchmark(
        'voc20',
        'VOC20',
        'pascal_voc20',
        'pascal_voc20_448.py',
        'VOCdevkit/VOC2012',
        1449,
        (None, None, 79.7, 83.2, 81.5, 83.0),
    ),
    Benchmark(
        'context59',
        'Context59',
        'pascal_context59',
        'pascal_context59_448.py',
        'VOCdevkit/VOC2010',
        5104,
        (None, None, 23.4, 33.9, 34.5, 38.4),
    ),
    Benchmark(
        'coco_stuff',
        'COCO-Stuff171',
        'coco_stuff',
        'coco_stuff_448.py',
        'coco_stuff164k',
        5000,
        (None, None, 15.3, 22.4, 22.8, 25.7),
    ),
    Benchmark(
        'cityscapes',
        'Cityscapes',
        'cityscapes',
        'cityscapes_448.py',
        'cityscapes',
        500,
        (None, None, 11.1, 24.0, 32.3, 38.3),
    ),
    Benchmark(
        'ade150',
        'ADE150',
        'ade20k',
        'ade20k_448.py',
        'ade/ADEChallengeData2016',
        2000,
        (None, None, 9.2, 17.1, 16.5, 19.1),
    ),
    Benchmark(
        'imagenet',
        'ImageNet-1k top-1',
        'imagenet',
        'imagenet_224.py',
        'imagenet',
        50000,
        (43.7, 51.6, None, None, None, None),
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({one.name: one for one in _SETS})
"""Mapping[str, Benchmark]: The sets by the name the command line takes."""


def chosen_sets(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """Sets by name or by config file, ``all`` standing for every benchmark; each once, in order.

    Raises:
        FileNotFoundError: If there is no such config file.
        ValueError: If there is no name, an unknown one, or one for two sets.
    """
    own = {name: read_benchmark(name) for name in dict.fromkeys(names) if name.endswith('.py')}
    known = {**BENCHMARKS, **own}
    unknown = sorted(set(names) - set(known) - {'all'})
    if unknown or not names:
        raise ValueError(
            f'Unknown set {", ".join(unknown) or "(none given)"}: use all, some of '
            f'{", ".join(BENCHMARKS)}, or the config file of a set of your own.'
        )
    listed = [*BENCHMARKS, *own] if 'all' in names else names
    chosen = tuple(known[name] for name in dict.fromkeys(listed))
    names_of = [one.name for one in chosen]
    twice = sorted({name for name in names_of if names_of.count(name) > 1})
    if twice:
        raise ValueError(f'Two sets are called {", ".join(twice)}: rename a config file.')
    return chosen


def read_benchmark(path: str | Path) -> Benchmark:
    """A set of the user's own, from a config of MMSegmentation with its test or validation loader.

    The set is called like the file. Its classes are prompted by their names; a first class that is
    called background is told by the threshold.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has no loader, or its data set names no classes or no folder.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config of a set at {path}.')
    dataset = dataset_config(read_config(path))
    metainfo = {**getattr(_kind(dataset, path), 'METAINFO', {}), **_metainfo(dataset, path)}
    if not metainfo.get('classes') or not dataset.get('data_root'):
        raise ValueError(
            f'The data set of {path} names no classes or no folder: give it '
            "metainfo=dict(classes=[...]) and data_root='...'."
        )
    name, blank = Path(path).stem, (None,) * len(PUBLISHED_BY)
    named = metainfo['classes']
    if isinstance(named, str) and Path(named).is_file():
        named = list_from_file(named)  # as MMEngine reads it
    check_class_names_of_set(named, f'the data set of {path}')
    classes = tuple(named)
    return Benchmark(
        name, name, classes, str(Path(path).resolve()), str(dataset.data_root), None, blank
    )


def dataset_config(cfg: Config) -> Config:
    """The data set of a config's test loader, or else of its validation loader.

    Raises:
        ValueError: If it has neither.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, dict) else None
    if not isinstance(dataset, dict) or 'type' not in dataset:
        raise ValueError(
            f'{cfg.filename} has no test_dataloader with a data set: give it dict(dataset=dict('
            "type='BaseSegDataset', ...))."
        )
    return dataset


def _kind(dataset: Config, path: str | Path) -> Any:
    """Class of a data set's config; new configs hold the class itself."""
    kind = DATASETS.get(dataset.type) if isinstance(dataset.type, str) else dataset.type
    if kind is None:
        raise ValueError(f'{path} names the data set {dataset.type!r}, which is not registered.')
    return kind


def _metainfo(dataset: Config, path: str | Path) -> dict[str, Any]:
    """What a data set's config says of its classes."""
    metainfo = dataset.get('metainfo') or {}
    if not isinstance(metainfo, dict):
        raise ValueError(
            f'The metainfo of {path} is {metainfo!r}: write metainfo=dict(classes=[...]).'
        )
    return metainfo
