"""Fingerprints that reveal whether an image or its mask was replaced between two evaluations."""

from __future__ import annotations

import zlib
from pathlib import Path

from mmengine.dataset import BaseDataset

UNCOMPRESSED = ('.bmp', '.tif', '.tiff', '.ppm', '.pgm', '.pnm')
"""tuple[str, ...]: Images that have the same size whatever they show."""


class ImageFiles:
    """Size of an image and checksum of its mask, by index; each is read once.

    Dates would differ between copies on several machines; masks are small enough to be read, and
    images are if their size does not depend on what they show.

    Args:
        dataset (BaseDataset): Lists ``img_path`` and perhaps ``seg_map_path``; a path that is no
            local file counts as 0.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        self._dataset = dataset
        self._fingerprints: dict[int, list[int]] = {}

    def __call__(self, index: int) -> list[int]:
        """Return size and checksum; an empty list for an index beyond the end of the set."""
        if index >= len(self._dataset):
            return []
        if index not in self._fingerprints:
            info = self._dataset.get_data_info(index)
            image, mask = (Path(info.get(key) or '') for key in ('img_path', 'seg_map_path'))
            size = image.stat().st_size if image.is_file() else 0
            if size and image.suffix.lower() in UNCOMPRESSED:
                size = zlib.crc32(image.read_bytes())
            checksum = zlib.crc32(mask.read_bytes()) if mask.is_file() else 0
            self._fingerprints[index] = [size, checksum]
        return self._fingerprints[index]
