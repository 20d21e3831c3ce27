"""Benchmark sets: their files, their classes and their published scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmseg.registry import DATASETS

from groupvit_mmseg.benchmark.further_sets import FURTHER_SETS
from groupvit_mmseg.benchmark.large_sets import LARGE_SETS, read_classes
from groupvit_mmseg.benchmark.published import scores_of
from groupvit_mmseg.config_files import read_config
from groupvit_mmseg.datasets.segmentation_checks import check_class_names_of_set


class Benchmark(NamedTuple):
    """Set with its published scores.

    Attributes:
        name (str): Name on the command line.
        title (str): Name in tables.
        class_set (str | tuple[str, ...]): Argument of ``class_names`` for its classes, or their
            names; no names for a large set before :meth:`with_classes`.
        data_config (str): Config of its files, relative to ``configs/_base_/datasets``; absolute
            for a set of the user.
        root (str): Folder of its files, relative to the data root; for a set of the user, to the
            working directory.
        num_images (int | None): Images of the whole split; None for a set of the user.
        neighbour (str): Class set whose sizes in a protocol stand in. Defaults to ``''``, none.
    """

    name: str
    title: str
    class_set: str | tuple[str, ...]
    data_config: str
    root: str
    num_images: int | None
    neighbour: str = ''

    @property
    def published(self) -> tuple[float | None, ...]:
        """Published mIoU (ImageNet: top-1) by ``PUBLISHED_BY``; None for a set of the user."""
        return scores_of('' if self.num_images is None else self.name)

    def folder(self, data_root: str | Path) -> Path:
        """Return the folder of its files.

        Example:
            >>> BENCHMARKS['voc21'].folder('data').as_posix()
            'data/VOCdevkit/VOC2012'
        """
        return Path(self.root) if self.num_images is None else Path(data_root) / self.root

    def with_classes(self, folder: Path) -> Benchmark:
        """Return a large set with the class names of its folder; any other set as it is."""
        if self.class_set:
            return self
        return self._replace(class_set=read_classes(self.name, folder))


_SETS = (
    Benchmark(
        'voc21',
        'VOC21',
        'pascal_voc',
        'pascal_voc12_448.py',
        'VOCdevkit/VOC2012',
        1449,
    ),
    Benchmark(
        'context60',
        'Context60',
        'pascal_context',
        'pascal_context_448.py',
        'VOCdevkit/VOC2010',
        5104,
    ),
    Benchmark(
        'coco_object',
        'COCO-Object',
        'coco_object',
        'coco_object_448.py',
        'coco_object',
        5000,
    ),
    Benchmark(
        'voc20',
        'VOC20',
        'pascal_voc20',
        'pascal_voc20_448.py',
        'VOCdevkit/VOC2012',
        1449,
    ),
    Benchmark(
        'context59',
        'Context59',
        'pascal_context59',
        'pascal_context59_448.py',
        'VOCdevkit/VOC2010',
        5104,
    ),
    Benchmark(
        'coco_stuff',
        'COCO-Stuff171',
        'coco_stuff',
        'coco_stuff_448.py',
        'coco_stuff164k',
        5000,
    ),
    Benchmark(
        'cityscapes',
        'Cityscapes',
        'cityscapes',
        'cityscapes_448.py',
        'cityscapes',
        500,
    ),
    Benchmark(
        'ade150',
        'ADE150',
        'ade20k',
        'ade20k_448.py',
        'ade/ADEChallengeData2016',
        2000,
    ),
    Benchmark(
        'imagenet',
        'ImageNet-1k top-1',
        'imagenet',
        'imagenet_224.py',
        'imagenet',
        50000,
    ),
)
BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType({one.name: one for one in _SETS})
"""Mapping[str, Benchmark]: The sets by their name on the command line."""
KNOWN_SETS: Mapping[str, Benchmark] = MappingProxyType(
    {
        **BENCHMARKS,
        **{
            name: Benchmark(
                name,
                each.title,
                tuple(each.dataset.METAINFO['classes']),
                each.data_config,
                each.root,
                each.num_images,
            )
            for name, each in FURTHER_SETS.items()
        },
        **{
            name: Benchmark(
                name, each.title, (), each.data_config, each.root, each.num_images, each.neighbour
            )
            for name, each in LARGE_SETS.items()
        },
    }
)
"""Mapping[str, Benchmark]: The benchmarks, and further sets that are no part of ``all``."""
IMAGENET_TEMPLATES = {'imagenet_7': 'subset', 'imagenet_80': 'full'}
"""dict: Prompt templates by the name of a row of ImageNet."""


def select_sets(names: Sequence[str]) -> tuple[Benchmark, ...]:
    """Return sets by name, each once, in the order of the names.

    Args:
        names (Sequence[str]): Names of sets, config files of other sets, or ``all`` for every
            benchmark.

    Raises:
        FileNotFoundError: If there is no such config file.
        ValueError: If there is no name, an unknown one, or one for two sets.

    Example:
        >>> [benchmark.title for benchmark in select_sets(['voc20', 'ade150'])]
        ['VOC20', 'ADE150']
        >>> BENCHMARKS['voc21'].published[0]
        52.3
    """
    files = [name for name in dict.fromkeys(names) if name.endswith('.py')]
    by_name = {**KNOWN_SETS, **{file: read_benchmark(file) for file in files}}
    unknown = sorted(set(names) - set(by_name) - {'all'})
    if unknown or not names:
        raise ValueError(
            f'Unknown set {", ".join(unknown) or "(none given)"}: use all, some of '
            f'{", ".join(KNOWN_SETS)}, or the config file of a set of your own.'
        )
    order = [*BENCHMARKS, *files] if 'all' in names else names
    sets = tuple(by_name[name] for name in dict.fromkeys(order))
    set_names = [benchmark.name for benchmark in sets]
    twice = sorted({name for name in set_names if set_names.count(name) > 1})
    if twice:
        raise ValueError(f'Two sets are called {", ".join(twice)}: rename a config file.')
    return sets


def read_benchmark(path: str | Path) -> Benchmark:
    """Read a set from a config of MMSegmentation with a test or validation loader.

    The set has the name of the file. Its classes are prompted by their names, except for a first
    class called background, which has a threshold.

    Args:
        path (str | Path): The config.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has no loader, or its data set names no classes or no folder.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no config of a set at {path}.')
    dataset = dataset_config(read_config(path))
    metainfo = {
        **getattr(_dataset_class(dataset, path), 'METAINFO', {}),
        **_metainfo(dataset, path),
    }
    if not metainfo.get('classes') or not dataset.get('data_root'):
        raise ValueError(
            f'The data set of {path} names no classes or no folder: give it '
            "metainfo=dict(classes=[...]) and data_root='...'."
        )
    classes = metainfo['classes']
    if isinstance(classes, str) and Path(classes).is_file():
        classes = list_from_file(classes)  # as MMEngine reads it
    check_class_names_of_set(classes, f'the data set of {path}')
    return Benchmark(
        name=Path(path).stem,
        title=Path(path).stem,
        class_set=tuple(classes),
        data_config=str(Path(path).resolve()),
        root=str(dataset.data_root),
        num_images=None,
    )


def dataset_config(cfg: Config) -> ConfigDict:
    """Return the data set of a config's test loader, or else of its validation loader.

    Raises:
        ValueError: If it has neither.
    """
    loader = cfg.get('test_dataloader') or cfg.get('val_dataloader')
    dataset = loader.get('dataset') if isinstance(loader, ConfigDict) else None
    if not isinstance(dataset, ConfigDict) or 'type' not in dataset:
        raise ValueError(
            f'{cfg.filename} has no test_dataloader with a data set: give it dict(dataset=dict('
            "type='BaseSegDataset', ...))."
        )
    return dataset


def _dataset_class(dataset: ConfigDict, path: str | Path) -> type[BaseDataset]:
    """Return the class of a data set's config; MMEngine's new style holds the class itself."""
    by_name = isinstance(dataset.type, str)
    dataset_class = DATASETS.get(dataset.type) if by_name else dataset.type
    if dataset_class is None:
        raise ValueError(f'{path} names the data set {dataset.type!r}, which is not registered.')
    return dataset_class


def _metainfo(dataset: ConfigDict, path: str | Path) -> dict[str, object]:
    """Return the metainfo of a data set's config."""
    metainfo = dataset.get('metainfo') or {}
    if not isinstance(metainfo, dict):
        raise ValueError(
            f'The metainfo of {path} is {metainfo!r}: write metainfo=dict(classes=[...]).'
        )
    return metainfo
