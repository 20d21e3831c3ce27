"""Scores of words in a picture: computed once for all thresholds, opacities and colours.

Letters: ``H, W`` pixels of the network's input, ``h, w`` of the view, ``S`` segments of a window,
``K`` words, ``C`` classes without the background.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.models.encoded_windows import EmbeddedClasses
from groupvit_mmseg.models.refinement import affinities, refine
from groupvit_mmseg.models.windows import WindowedImage
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import Deadline
from groupvit_web.encodings import EncodedPicture

CHANNELS_AT_A_TIME = 8
"""int: Classes that PAMR refines together, between two checks of the time limit."""


BACKGROUNDS = 10
"""int: Refined backgrounds that are kept for a picture and words."""


class WordScores(NamedTuple):
    """Scores of all classes but the background.

    A threshold takes milliseconds: one channel of one number per segment, in NumPy, because the
    threads of PyTorch take longer to meet than to compute it.

    Attributes:
        picture (EncodedPicture): The picture.
        tables (tuple[Tensor, ...]): Affinity of each segment of a window to each word, ``(S, K)``.
        neighbours (Tensor, optional): PAMR's weights of neighbours, ``(48, H, W)``; None without
            PAMR.
        pamr_steps (int): Steps of PAMR.
        foreground (Tensor): Score of each class, ``(C, H, W)``.
        best (NDArray): Highest score of a class, float32 ``(h, w)``.
        second (NDArray, optional): Second highest, ``(h, w)``; None with one class.
        label (NDArray): Class of the highest score, counted without the background, int64
            ``(h, w)``.
        backgrounds (ByteCache): Refined backgrounds, ``(h, w)``, by the scores of the segments:
            a slider that passes all thresholds meets few different ones.
    """

    picture: EncodedPicture
    tables: tuple[Tensor, ...]
    neighbours: Tensor | None
    pamr_steps: int
    foreground: Tensor
    best: NDArray[np.float32]
    second: NDArray[np.float32] | None
    label: NDArray[np.int64]
    backgrounds: ByteCache[NDArray[np.float32]]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays and tensors but the picture's."""
        tensors = [*self.tables, self.foreground]
        tensors += [] if self.neighbours is None else [self.neighbours]
        arrays = [self.best, self.label, *([] if self.second is None else [self.second])]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return size + self.backgrounds.capacity + sum(array.nbytes for array in arrays)

    def at_view_size(self, first: int = 0, last: int | None = None) -> Tensor:
        """Resize the scores of classes ``first:last``, ``(C', h, w)``."""
        return self.picture.encoded.at_image_size(self.foreground[first:last])

    def background(self, head: GroupViTZeroShotHead, classes: ClassList) -> NDArray[np.float32]:
        """Compute the score of the background for a threshold and background words, ``(h, w)``."""
        tables = [
            head.segment_scores(table[None], classes)[0, :, 0].float().cpu().numpy()  # (S,)
            for table in self.tables
        ]
        if self.neighbours is None:
            return self._resized(self.picture.pixels_of_windows(tables))
        key = b''.join(table.tobytes() for table in tables)
        background = self.backgrounds.get(key)
        if background is None:
            background = self._resized(self.picture.pixels_of_windows(tables))
            self.backgrounds.put(key, background, background.nbytes)
        return background

    def _resized(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Refine scores ``(H, W)`` if there is PAMR, and resize them to ``(h, w)``."""
        if self.neighbours is None and scores.shape == self.best.shape:
            return scores
        channel = torch.from_numpy(scores)[None].to(self.foreground)  # (1, H, W)
        if self.neighbours is not None:
            channel = refine(channel, self.neighbours, self.pamr_steps)
        return self.picture.encoded.at_image_size(channel)[0].float().cpu().numpy()

    @torch.no_grad()
    def result(self, head: GroupViTZeroShotHead, classes: ClassList) -> InferenceResult:
        """Decide the class of each pixel.

        Args:
            head (GroupViTZeroShotHead): Head of the model.
            classes (ClassList): The classes, with any threshold.

        Returns:
            InferenceResult: Of the size of the view. Its ``scores`` have only the channels that
            confidence and margin depend on: background, best and second best class.
        """
        channels = [self.best] if self.second is None else [self.best, self.second]
        labels = self.label
        if classes.with_background:
            background = self.background(head, classes)
            # Of equal scores the first class counts, and the background is the first.
            labels = np.where(background >= self.best, 0, labels + 1)
            channels.insert(0, background)
        return InferenceResult(
            label_map=labels,
            group_map=self.picture.group_maps[-1].astype(np.int64),
            scores=np.stack(channels),
            class_names=classes.class_names,
            image=self.picture.encoded.image,
            bg_thresh=classes.bg_thresh,
            with_background=classes.with_background,
        )


@torch.no_grad()
def score_words(
    picture: EncodedPicture,
    head: GroupViTZeroShotHead,
    embedded: EmbeddedClasses,
    *,
    pamr_steps: int,
    deadline: Deadline,
) -> WordScores:
    """Score the classes in a picture.

    Args:
        picture (EncodedPicture): The picture.
        head (GroupViTZeroShotHead): Head of the model.
        embedded (EmbeddedClasses): The classes and the embeddings of their words.
        pamr_steps (int): Steps of PAMR.
        deadline (Deadline): Time limit of the request.

    Raises:
        PageError: If the time is over.
    """
    tables = tuple(
        head.segment_affinity(output, embedded.class_embeds)[0]  # (S, K)
        for output in picture.encoded.windows.outputs
    )
    classes = [head.foreground_affinity(table[None], embedded.classes)[0] for table in tables]
    foreground = _pixel_scores(picture, classes)  # (C, H, W)
    neighbours = None
    if pamr_steps:
        deadline.check()
        neighbours = affinities(picture.encoded.inputs)
        foreground = _refined(foreground, neighbours, pamr_steps, deadline)
    resized = picture.encoded.at_image_size(foreground)  # (C, h, w)
    best, label = resized.max(dim=0)  # (h, w); of equal scores the first
    second = resized.scatter(0, label[None], -1).amax(dim=0) if len(resized) > 1 else None
    return WordScores(
        picture,
        tables,
        neighbours,
        pamr_steps,
        foreground,
        best.float().cpu().numpy(),
        None if second is None else second.float().cpu().numpy(),
        label.cpu().numpy(),
        ByteCache(BACKGROUNDS * 4 * label.numel() if pamr_steps else 0),
    )


def _pixel_scores(picture: EncodedPicture, tables: list[Tensor]) -> Tensor:
    """Return the pixels' scores ``(C, H, W)`` of scores ``(S, C)`` of the segments by window."""
    size, windows, _, group_maps = picture.encoded.windows
    return WindowedImage(size, windows, group_maps, tables).pixel_scores()


def _refined(scores: Tensor, neighbours: Tensor, steps: int, deadline: Deadline) -> Tensor:
    """Apply PAMR to scores ``(C, H, W)``, a few channels and one step at a time."""
    refined = []
    for part in scores.split(CHANNELS_AT_A_TIME):
        for _ in range(steps):
            deadline.check()
            part = refine(part, neighbours, 1)
        refined.append(part)
    return torch.cat(refined)
