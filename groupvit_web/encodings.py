"""Pictures after the backbone: each is encoded once, whoever asks for it.

Letters: ``h, w`` pixels of the view, the displayed picture before it is enlarged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import nn

from groupvit_mmseg.inference.encoded_image import EncodedImage
from groupvit_mmseg.visualization import draw_groups
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import Deadline
from groupvit_web.errors import PageError
from groupvit_web.figures import Figure, make_figure
from groupvit_web.model import PageModel
from groupvit_web.uploads import Picture


class EncodedPicture(NamedTuple):
    """Everything about a picture that does not depend on the words.

    Attributes:
        encoded (EncodedImage): Its image and all maps made of it have the size of the view.
        group_maps (tuple[NDArray, ...]): Segment of every pixel at each grouping stage, uint16
            ``(h, w)``.
        groups (tuple[Figure, ...]): The segments over the picture at each grouping stage.
        window_maps (tuple[NDArray, ...]): Segment of every pixel of each window of the network's
            input.
        window_counts (NDArray): Windows that cover each pixel of the network's input, float32.
    """

    encoded: EncodedImage
    group_maps: tuple[NDArray[np.uint16], ...]
    groups: tuple[Figure, ...]
    window_maps: tuple[NDArray[np.integer], ...]
    window_counts: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, tensors and figures."""
        figures = sum(len(figure.content) for figure in self.groups)
        arrays = [*self.group_maps, *self.window_maps, self.window_counts]
        return self.encoded.nbytes + sum(array.nbytes for array in arrays) + figures

    def pixels_of_windows(self, tables: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the scores of the network's pixels: their segments', averaged over all windows.

        As :meth:`.WindowedImage.pixel_scores` of one channel, bit for bit.

        Args:
            tables (Sequence[NDArray]): Score of each segment of each window, ``(S,)``.
        """
        if len(tables) == 1:
            return tables[0].take(self.window_maps[0])
        total = np.zeros_like(self.window_counts)
        for (rows, columns), segments, table in zip(
            self.encoded.windows.windows, self.window_maps, tables, strict=True
        ):
            total[rows, columns] += table.take(segments)
        return total / self.window_counts


class EncodingCache:
    """Encodes pictures with one model and keeps those that were used last.

    Args:
        model (PageModel): The model.
        capacity (int): Bytes of all encodings together.
    """

    def __init__(self, model: PageModel, capacity: int) -> None:
        self.model = model
        self.kept = ByteCache[EncodedPicture](capacity)

    def get(
        self, picture: Picture, test_cfg: Mapping[str, object], deadline: Deadline
    ) -> tuple[EncodedPicture, bool]:
        """Return the encoding of a picture; two requests for the same one encode it once.

        Args:
            picture (Picture): The picture.
            test_cfg (Mapping[str, object]): From :meth:`.PageModel.test_cfg`.
            deadline (Deadline): Time limit of the request.

        Returns:
            tuple[EncodedPicture, bool]: The encoding, and whether it was computed for this request.

        Raises:
            PageError: If the picture cannot be used, or the time is over.
        """
        key = (*picture.view_key, test_cfg['mode'])
        entry = self.kept.get(key)
        if entry is not None:
            return entry, False
        with self.model.turn(deadline) as inferencer:
            entry = self.kept.get(key)  # encoded while this request waited
            if entry is not None:
                return entry, False
            with checked_between_layers(inferencer.segmentor.encoder, deadline):
                try:
                    encoded = inferencer.encode(picture.pixels(), test_cfg=test_cfg)
                except PageError:
                    raise
                except ValueError as error:
                    raise PageError(str(error).replace('The image', picture.name)) from error
            entry = _for_view(encoded, picture)
            self.kept.put(key, entry, entry.nbytes)
        return entry, True


@contextmanager
def checked_between_layers(backbone: nn.Module, deadline: Deadline) -> Iterator[None]:
    """Check the time limit before every part of the backbone, so that a long pass can end early."""
    parts = [
        part
        for child in backbone.children()
        for part in (child if isinstance(child, nn.ModuleList) else [child])
    ]
    hooks = [part.register_forward_pre_hook(lambda *_: deadline.check()) for part in parts]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _for_view(encoded: EncodedImage, picture: Picture) -> EncodedPicture:
    """Let maps have the size of the view, and draw the groups."""
    view = np.ascontiguousarray(picture.view)  # which does not hold the enlarged picture
    sample = SegDataSample(metainfo={**encoded.sample.metainfo, 'ori_shape': view.shape[:2]})
    encoded = encoded._replace(image=view, sample=sample)
    group_maps = tuple(
        encoded.group_map(stage).astype(np.uint16) for stage in range(1, encoded.num_stages + 1)
    )
    windows = encoded.windows
    counts = np.zeros(windows.size, np.float32)
    for rows, columns in windows.windows:
        counts[rows, columns] += 1
    return EncodedPicture(
        encoded,
        group_maps,
        tuple(_groups_figures(picture, group_maps)),
        tuple(group_map.cpu().numpy() for group_map in windows.group_maps),
        counts,
    )


def _groups_figures(
    picture: Picture, group_maps: tuple[NDArray[np.uint16], ...]
) -> Iterator[Figure]:
    """Draw the segments of each stage."""
    for stage, group_map in enumerate(group_maps, start=1):
        count = len(np.unique(group_map))
        yield make_figure(
            draw_groups(picture.shown, picture.enlarged(group_map).astype(np.int64)),
            f'The {count} segments of stage {stage}, each in its colour over the picture.',
            title=f'Stage {stage}: {count} segments',
        )
