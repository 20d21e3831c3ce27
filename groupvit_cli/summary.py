"""What ``groupvit segment`` did: numbers and names for its last lines."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from groupvit_mmseg.results import InferenceResult

LISTED = 5
"""int: Unreadable files that the summary names; the others are counted."""


class Summary:
    """What happened: numbers for the last lines."""

    def __init__(self) -> None:
        self.images, self.frames, self.done_before = 0, 0, 0
        self.failures: list[str] = []
        self.pixels: Counter[str] = Counter()
        self.started = time.perf_counter()

    def add(self, result: InferenceResult) -> None:
        """Count the pixels of each class."""
        for name, share in result.shares.items():
            self.pixels[name] += round(share * result.label_map.size)

    def lines(self) -> Iterator[str]:
        """Yield the lines at the end."""
        seconds = time.perf_counter() - self.started
        total = self.images + self.frames
        parts = [f'{self.images} images'] + ([f'{self.frames} frames'] if self.frames else [])
        speed = f', {total / seconds:.2f} images/s' if total else ''
        yield f'{" and ".join(parts)} in {seconds:.1f} s{speed}'
        if self.done_before:
            yield f'{self.done_before} were segmented before and are unchanged'
        count = sum(self.pixels.values())
        if count:
            from groupvit_mmseg.visualization import percent  # it imports OpenCV

            classes = self.pixels.most_common()
            shares = [f'{name} {percent(pixels / count, 1)}' for name, pixels in classes]
            yield f'pixels: {", ".join(shares)}'
        for failure in self.failures[:LISTED]:
            yield f'not segmented: {failure}'
        if len(self.failures) > LISTED:
            yield f'... and {len(self.failures) - LISTED} more'
