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
from groupvit_mmseg.models.finite_scores import NotFiniteError
from groupvit_mmseg.models.refinement import affinities, refine
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import Deadline
from groupvit_web.encodings import EncodedPicture
from groupvit_web.errors import PageError

CHANNELS_AT_A_TIME = 8
"""int: Classes that PAMR refines together, between two checks of the time limit."""


class Decision(NamedTuple):
    """The class of each pixel of the view.

    Attributes:
        label_map (NDArray): int64 ``(h, w)``.
        class_names (tuple[str, ...]): By label.
        ranked (InferenceResult): With background, best and second best class as its classes, which
            are all that confidence and margin depend on.
    """

    label_map: NDArray[np.int64]
    class_names: tuple[str, ...]
    ranked: InferenceResult

    @property
    def confidence(self) -> NDArray[np.float32]:
        """As :attr:`.InferenceResult.confidence`, ``(h, w)``."""
        return self.ranked.confidence

    @property
    def margin(self) -> NDArray[np.float32]:
        """As :attr:`.InferenceResult.margin`, ``(h, w)``."""
        return self.ranked.margin

    @property
    def background(self) -> NDArray[np.float32] | None:
        """Score of the background ``(h, w)``, if there is one."""
        return self.ranked.scores[0] if self.ranked.with_background else None


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
        """Bytes of all arrays and tensors, with those of the picture, which are kept with them."""
        tensors = [*self.tables, self.foreground]
        tensors += [] if self.neighbours is None else [self.neighbours]
        arrays: list[NDArray] = [self.best, self.label]
        arrays += [] if self.second is None else [self.second]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        size += self.picture.nbytes + self.backgrounds.capacity
        return size + sum(array.nbytes for array in arrays)

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
    def decide(self, head: GroupViTZeroShotHead, classes: ClassList) -> Decision:
        """Decide the class of each pixel.

        Args:
            head (GroupViTZeroShotHead): Head of the model.
            classes (ClassList): The classes, with any threshold.
        """
        channels = [self.best] if self.second is None else [self.best, self.second]
        label_map = self.label
        if classes.with_background:
            background = self.background(head, classes)
            # Of equal scores the first class counts, and the background is the first.
            label_map = np.where(background >= self.best, 0, label_map + 1)
            channels.insert(0, background)
        ranked = InferenceResult(
            label_map=np.minimum(label_map, len(channels) - 1),
            group_map=label_map,
            scores=np.stack(channels),
            class_names=('background', 'best', 'second')[-len(channels) :],
            image=self.picture.encoded.image,
            bg_thresh=classes.bg_thresh,
            with_background=classes.with_background,
        )
        return Decision(label_map, classes.class_names, ranked)


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
        PageError: If the time is over, or the weights give no numbers.
    """
    try:
        tables = tuple(picture.encoded.windows.affinities(head, embedded.class_embeds))  # (S, K)
    except NotFiniteError as error:
        raise PageError(str(error)) from error
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
    return picture.encoded.windows.with_scores(tables).pixel_scores()


def _refined(scores: Tensor, neighbours: Tensor, steps: int, deadline: Deadline) -> Tensor:
    """Apply PAMR to scores ``(C, H, W)``, a few channels and one step at a time."""
    refined = []
    for part in scores.split(CHANNELS_AT_A_TIME):
        for _ in range(steps):
            deadline.check()
            part = refine(part, neighbours, 1)
        refined.append(part)
    return torch.cat(refined)
