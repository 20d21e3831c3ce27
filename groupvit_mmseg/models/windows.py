"""Sliding windows in bounded memory: scores are kept per segment of a window, not per pixel.

A window has few segments, so its scores are a small table and the segment of each pixel. The pixel
scores of any channel follow from these, in the same order of additions as MMSegmentation's loop
over windows: the numbers are the same bit for bit. Shapes: ``H, W`` pixels of the image, ``h, w``
of a window, ``S`` segments, ``K`` classes, ``C`` of them at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.out_of_memory import unless_out_of_memory

Window = tuple[slice, slice]


CHUNK_BYTES = 256 * 2**20
"""int: Pixel scores that exist at a time while labels are chosen; one channel always does."""


class WindowedImage(NamedTuple):
    """Segments and scores of the windows of one image.

    Attributes:
        size (tuple[int, int]): Height and width of the image.
        windows (list[Window]): Rows and columns of each window.
        group_maps (list[Tensor]): Segment of each pixel of a window, ``(h, w)`` in one byte if
            there are at most 256 segments.
        scores (list[Tensor]): Scores of a window's segments, ``(S, K)``, none below 0.
    """

    size: tuple[int, int]
    windows: list[Window]
    group_maps: list[Tensor]
    scores: list[Tensor]

    @torch.no_grad()
    def put(self, index: int, group_map: Tensor, scores: Tensor) -> None:
        """Store the group map and the scores of a window; all windows have one size.

        All windows share two blocks of memory: if small tensors that are kept lay between large
        ones that are freed, the allocator could not return the memory. Where patches are segments,
        views of other sizes have other numbers of them, and tensors of their own.
        """
        if not self.group_maps:
            count = len(self.windows)
            self.group_maps.extend(group_map.new_empty(count, *group_map.shape))
            self.scores.extend(scores.new_empty(count, *scores.shape))
        for kept, value in ((self.group_maps, group_map), (self.scores, scores)):
            if (kept[index].shape, kept[index].dtype) == (value.shape, value.dtype):
                kept[index].copy_(value)
            else:
                kept[index] = value.clone()

    def active_channels(self) -> list[int]:
        """Return the channels with a score above 0, ascending; the others are 0 everywhere."""
        # Of each window (S, K) to (K,), of all windows (K,)
        highest = torch.stack([table.amax(dim=0) for table in self.scores]).amax(dim=0)
        return highest.nonzero().flatten().tolist()

    def window_counts(self) -> Tensor:
        """Count the windows that cover each pixel, ``(H, W)``."""
        counts = self.scores[0].new_zeros(self.size)
        for rows, columns in self.windows:
            counts[rows, columns] += 1
        return counts

    def pixel_scores(self, channels: list[int] | None = None) -> Tensor:
        """Compute pixel scores: those of the pixels' segments, averaged over all windows.

        Args:
            channels (list[int], optional): Channels to compute; None takes all. Defaults to None.

        Returns:
            Tensor: ``(C, H, W)``.
        """
        tables = self.scores if channels is None else [table[:, channels] for table in self.scores]
        total = tables[0].new_zeros((tables[0].shape[1], *self.size))
        for (rows, columns), group_map, table in zip(
            self.windows, self.group_maps, tables, strict=True
        ):
            if table.any():
                indices = group_map.flatten().int()  # (h w,)
                pixels = table.T.contiguous().index_select(1, indices)  # (C, S) to (C, h w)
                total[:, rows, columns] += pixels.unflatten(1, group_map.shape)  # (C, h, w)
        return total.div_(self.window_counts())  # (C, H, W)

    def label_map(
        self,
        finish: Callable[[Tensor], Tensor],
        num_pixels: int,
        *,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Tensor:
        """Return the channel of the highest score at each pixel, the lowest of equal ones.

        Beside the windows, 24 bytes a pixel and ``chunk_bytes`` exist at a time, for any
        number of classes.

        Args:
            finish (Callable): Takes scores ``(C, H, W)`` to their final size, each channel alone.
            num_pixels (int): Pixels of the final size.
            chunk_bytes (int): Bytes of pixel scores at a time. Defaults to 256 MiB.

        Returns:
            Tensor: int64, of the final size.
        """
        count = chunk_bytes // self._channel_bytes(num_pixels)
        best, labels = best_channels(
            lambda channels: finish(self.pixel_scores(channels)),
            self.active_channels() or [0],
            count,
        )
        # Where all scores are 0, the first channel of all is the highest.
        return labels.masked_fill_(best == 0, 0).long()

    def best_scores(
        self,
        finish: Callable[[Tensor], Tensor],
        num_pixels: int,
        *,
        first: int = 0,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Tensor:
        """Return the highest score at each pixel, in the memory of :meth:`label_map`.

        Args:
            finish (Callable): As for :meth:`label_map`.
            num_pixels (int): Pixels of the final size.
            first (int): Channels below it are left out. Defaults to 0.
            chunk_bytes (int): Bytes of pixel scores at a time. Defaults to 256 MiB.

        Returns:
            Tensor: Of the final size.
        """
        channels = [channel for channel in self.active_channels() if channel >= first] or [first]
        count = chunk_bytes // self._channel_bytes(num_pixels)
        return best_channels(lambda some: finish(self.pixel_scores(some)), channels, count)[0]

    def _channel_bytes(self, num_pixels: int) -> int:
        """Bytes of the pixel scores of one channel, before and after they are finished."""
        return self.scores[0].element_size() * (2 * self.size[0] * self.size[1] + 2 * num_pixels)


def in_fitting_chunks(run: Callable[..., Tensor]) -> Tensor:
    """Compute pixel scores in chunks of the usual size, or a channel at a time if memory is short.

    Args:
        run (Callable): Takes ``chunk_bytes``.
    """
    output = unless_out_of_memory(partial(run, chunk_bytes=CHUNK_BYTES))
    return run(chunk_bytes=0) if output is None else output


def best_channels(
    scores_of: Callable[[list[int]], Tensor], channels: list[int], count: int
) -> tuple[Tensor, Tensor]:
    """Return the highest score at each pixel and its channel, the lowest of equal ones.

    Args:
        scores_of (Callable): Returns the scores ``(C, H, W)`` of some channels.
        channels (list[int]): Channels, ascending.
        count (int): Channels whose scores exist at a time; at least one.

    Returns:
        tuple[Tensor, Tensor]: Scores, and channels as int32, ``(H, W)`` each.
    """
    best: Tensor | None = None
    for some in _chunks(channels, count):
        score, index = scores_of(some).max(dim=0)  # of the final size
        label = torch.tensor(some, dtype=torch.int32, device=index.device)[index]
        del index  # 8 bytes a pixel
        if best is None:
            best, labels = score, label
            continue
        torch.where(score > best, label, labels, out=labels)
        torch.maximum(best, score, out=best)
    assert best is not None
    return best, labels


def confidence_of(labels: Tensor, best: Tensor, with_background: bool) -> Tensor:
    """Return the score of each pixel's class; of the background, one minus the best other score.

    Args:
        labels (Tensor): Class of each pixel ``(H, W)``.
        best (Tensor): Highest score of each pixel ``(H, W)``, that of the background left out.
        with_background (bool): Whether class 0 is the background.

    Example:
        >>> labels, best = torch.tensor([[0, 2]]), torch.tensor([[0.25, 0.75]])
        >>> confidence_of(labels, best, with_background=True)
        tensor([[0.7500, 0.7500]])
    """
    return torch.where(labels == 0, 1 - best, best) if with_background else best


def smallest_integers(group_map: Tensor, num_groups: int) -> Tensor:
    """Convert a group map to the smallest type that holds its segments."""
    return group_map.to(torch.uint8 if num_groups <= 256 else torch.int32)


def _chunks(channels: list[int], count: int) -> Iterator[list[int]]:
    """Split channels into groups of ``count``, at least one."""
    count = max(1, count)
    for start in range(0, len(channels), count):
        yield channels[start : start + count]


def window_size(window: Window) -> tuple[int, int]:
    """Return the height and width of a window."""
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


def crop_windows(size: tuple[int, int], test_cfg: dict) -> list[Window]:
    """List the windows of an image as MMSeg does: the last of a row is shifted to the border.

    Args:
        size (tuple[int, int]): Image height and width.
        test_cfg (dict): ``mode``, and for ``'slide'`` ``crop_size`` and ``stride``.

    Returns:
        list[tuple[slice, slice]]: Rows and columns of each window.
    """
    if test_cfg.get('mode', 'whole') == 'whole':
        return [(slice(0, size[0]), slice(0, size[1]))]
    spans = [
        _spans(*numbers)
        for numbers in zip(size, test_cfg['crop_size'], test_cfg['stride'], strict=True)
    ]
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _spans(length: int, crop: int, stride: int) -> list[slice]:
    """List the windows along one axis."""
    count = max(length - crop + stride - 1, 0) // stride + 1
    starts = [max(min(index * stride, length - crop), 0) for index in range(count)]
    return [slice(start, min(start + crop, length)) for start in starts]
