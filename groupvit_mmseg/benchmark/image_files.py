"""What tells whether an image or its mask was replaced between two runs of an evaluation."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any


class ImageFiles:
    """Size of an image and checksum of its mask, by index, as they were when first asked for.

    Dates would differ between copies on several machines; masks are small enough to be read.

    Args:
        dataset (Any): A data set of OpenMMLab that lists ``img_path`` and perhaps
            ``seg_map_path``; of files elsewhere nothing is told.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._known: dict[int, list[int]] = {}

    def __call__(self, index: int) -> list[int]:
        """Two whole numbers; none for an index beyond the end of the set."""
        if index >= len(self._dataset):
            return []
        if index not in self._known:
            info = self._dataset.get_data_info(index)
            image, mask = (Path(info.get(key) or '') for key in ('img_path', 'seg_map_path'))
            size = image.stat().st_size if image.is_file() else 0
            checksum = zlib.crc32(mask.read_bytes()) if mask.is_file() else 0
            self._known[index] = [size, checksum]
        return self._known[index]
