"""Sets of more than 255 classes: masks of 16 bits, and class names in a file beside the masks.

A converter writes both from the published files, which hold the names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from groupvit_mmseg.text.class_file import read_class_file


class LargeSet(NamedTuple):
    """A set whose classes are in a file.

    Attributes:
        title (str): Name in tables.
        num_classes (int): Number of its classes.
        data_config (str): Config of its files, in ``configs/_base_/datasets``.
        root (str): Folder of its files below the data root.
        num_images (int): Images of the split.
        class_file (str): The file of the classes, below its folder.
        neighbour (str): Class set whose sizes stand in, because no protocol states any.
        converter (str): Tool that writes masks and class file.
    """

    title: str
    num_classes: int
    data_config: str
    root: str
    num_images: int
    class_file: str
    neighbour: str
    converter: str


LARGE_SETS: Mapping[str, LargeSet] = MappingProxyType(
    {
        'ade847': LargeSet(
            title='ADE-847',
            num_classes=847,
            data_config='ade20k_847_448.py',
            root='ADE20K_2021_17_01',
            num_images=2000,
            class_file='ade847/classes.json',
            neighbour='ade20k',
            converter='tools/dataset_converters/ade20k_847.py',
        ),
        'context459': LargeSet(
            title='Context459',
            num_classes=459,
            data_config='pascal_context_459_448.py',
            root='VOCdevkit/VOC2010',
            num_images=5104,
            class_file='context459/classes.json',
            neighbour='pascal_context59',
            converter='tools/dataset_converters/pascal_context_459.py',
        ),
    }
)
"""Mapping[str, LargeSet]: The sets by their name on the command line."""


def read_classes(name: str, folder: Path) -> tuple[str, ...]:
    """Read the class names of a large set.

    Args:
        name (str): Its name on the command line.
        folder (Path): Folder of its files.

    Raises:
        FileNotFoundError: If there is no class file.
        ValueError: If it names another number of classes.
    """
    each = LARGE_SETS[name]
    path = folder / each.class_file
    if not path.is_file():
        raise FileNotFoundError(
            f'There is no {path} for {name}: write it and the masks with {each.converter}, or name '
            f'the folder with --data-root or --root {name}=FOLDER.'
        )
    names = read_class_file(path)['class_names']
    if len(names) != each.num_classes:
        raise ValueError(
            f'{path} names {len(names)} classes, {each.title} has {each.num_classes}: write it '
            f'again with {each.converter}.'
        )
    return tuple(names)
