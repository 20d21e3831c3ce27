"""The benchmark sets: where their files lie, what they prompt, and what has been published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

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
        title (str): For tables.
        class_set (str): What ``class_names`` calls its classes.
        data_config (str): Config of its files in ``configs/_base_/datasets``.
        root (str): Folder of its files under the data root.
        num_images (int): Images of the whole split.
        published (tuple[float | None, ...]): mIoU (ImageNet: top-1) by ``PUBLISHED_BY``.
    """

    title: str
    class_set: str
    data_config: str
    root: str
    num_images: int
    published: tuple[float | None, ...]


BENCHMARKS: Mapping[str, Benchmark] = MappingProxyType(
    {
        'voc21': Benchmark(
            'VOC21',
            'pascal_voc',
            'pascal_voc12_448.py',
            'VOCdevkit/VOC2012',
            1449,
            (52.3, 50.8, 50.4, 55.0, 59.6, 64.1),
        ),
        'context60': Benchmark(
            'Context60',
            'pascal_context',
            'pascal_context_448.py',
            'VOCdevkit/VOC2010',
            5104,
            (22.4, 23.7, 18.7, 30.4, 31.7, 35.0),
        ),
        'coco_object': Benchmark(
            'COCO-Object',
            'coco_object',
            'coco_object_448.py',
            'coco_object',
            5000,
            (24.3, 27.5, 27.5, 31.6, 33.5, 36.2),
        ),
        'voc20': Benchmark(
            'VOC20',
            'pascal_voc20',
            'pascal_voc20_448.py',
            'VOCdevkit/VOC2012',
            1449,
            (None, None, 79.7, 83.2, 81.5, 83.0),
        ),
        'context59': Benchmark(
            'Context59',
            'pascal_context59',
            'pascal_context59_448.py',
            'VOCdevkit/VOC2010',
            5104,
            (None, None, 23.4, 33.9, 34.5, 38.4),
        ),
        'coco_stuff': Benchmark(
            'COCO-Stuff171',
            'coco_stuff',
            'coco_stuff_448.py',
            'coco_stuff164k',
            5000,
            (None, None, 15.3, 22.4, 22.8, 25.7),
        ),
        'cityscapes': Benchmark(
            'Cityscapes',
            'cityscapes',
            'cityscapes_448.py',
            'cityscapes',
            500,
            (None, None, 11.1, 24.0, 32.3, 38.3),
        ),
        'ade150': Benchmark(
            'ADE150',
            'ade20k',
            'ade20k_448.py',
            'ade/ADEChallengeData2016',
            2000,
            (None, None, 9.2, 17.1, 16.5, 19.1),
        ),
        'imagenet': Benchmark(
            'ImageNet-1k top-1',
            'imagenet',
            'imagenet_224.py',
            'imagenet',
            50000,
            (43.7, 51.6, None, None, None, None),
        ),
    }
)
"""Mapping[str, Benchmark]: The sets by the name the command line takes."""


def chosen_sets(names: Sequence[str]) -> tuple[str, ...]:
    """Names of sets, ``all`` standing for every one; each once, in the order given.

    Raises:
        ValueError: If there is no name, or an unknown one.
    """
    unknown = sorted(set(names) - set(BENCHMARKS) - {'all'})
    if unknown or not names:
        raise ValueError(
            f'Unknown set {", ".join(unknown) or "(none given)"}: use all, or some of '
            f'{", ".join(BENCHMARKS)}.'
        )
    listed = list(BENCHMARKS) if 'all' in names else list(names)
    return tuple(dict.fromkeys(listed))
