"""Sets beside the nine benchmarks: evaluated by name, no part of ``all``, without published scores.

Their layouts and class names are those of MMSegmentation's data sets.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mmseg.datasets import (
    BaseSegDataset,
    BDD100KDataset,
    CityscapesDataset,
    DarkZurichDataset,
    MapillaryDataset_v1,
    MapillaryDataset_v2,
    NightDrivingDataset,
)


class FurtherSet(NamedTuple):
    """A set by its data set of MMSegmentation.

    Attributes:
        title (str): Name in tables.
        dataset (type[BaseSegDataset]): Its class names.
        data_config (str): Config of its files, in ``configs/_base_/datasets``.
        root (str): Folder of its files below the data root.
        num_images (int): Images of the split.
    """

    title: str
    dataset: type[BaseSegDataset]
    data_config: str
    root: str
    num_images: int


FURTHER_SETS: Mapping[str, FurtherSet] = MappingProxyType(
    {
        'bdd100k': FurtherSet('BDD100K', BDD100KDataset, 'bdd100k_448.py', 'bdd100k', 1000),
        'mapillary66': FurtherSet(
            'Mapillary 1.2', MapillaryDataset_v1, 'mapillary_v1_448.py', 'mapillary', 2000
        ),
        'mapillary124': FurtherSet(
            'Mapillary 2.0', MapillaryDataset_v2, 'mapillary_v2_448.py', 'mapillary', 2000
        ),
        'acdc': FurtherSet('ACDC', CityscapesDataset, 'acdc_448.py', 'acdc', 406),
        'dark_zurich': FurtherSet(
            'Dark Zurich', DarkZurichDataset, 'dark_zurich_448.py', 'dark_zurich', 50
        ),
        'night_driving': FurtherSet(
            'Night Driving',
            NightDrivingDataset,
            'night_driving_448.py',
            'NighttimeDrivingTest',
            50,
        ),
    }
)
"""Mapping[str, FurtherSet]: The sets by their name on the command line."""
