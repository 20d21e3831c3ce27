"""Rows of images and captions in two arrays, which the workers of a loader share.

A list of objects would be copied into every forked worker as soon as its reference counts change;
the arrays are not.
"""

import json
from array import array
from collections.abc import Iterable

import numpy as np

from groupvit_mmseg.datasets.caption_tables import Row


class PackedRows:
    """A sequence of rows without their locations.

    Args:
        rows (Iterable[Row]): The rows.

    Example:
        >>> rows = PackedRows([Row('a.jpg', ['a dog'], 'pairs.csv, line 2')])
        >>> len(rows), rows[0].image, rows[0].captions
        (1, 'a.jpg', ['a dog'])
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        text, ends = bytearray(), array('q', [0])
        for row in rows:
            text += json.dumps((row.image, row.captions)).encode()
            ends.append(len(text))
        self._text = np.frombuffer(bytes(text), np.uint8)
        self._ends = np.array(ends)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(index)
        text = self._text[self._ends[index] : self._ends[index + 1]].tobytes()
        image, captions = json.loads(text)
        return Row(image, captions, '')
