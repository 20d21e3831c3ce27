"""Segmentation for the page: what is computed for a picture and words is kept and used again.

Letters: ``H, W`` pixels of the picture, ``h, w`` of the displayed one, ``K`` classes, the
background included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from groupvit_mmseg.models.inference_options import read_options
from groupvit_mmseg.out_of_memory import memory_sentence
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList
from groupvit_web import drawing
from groupvit_web.byte_cache import ByteCache
from groupvit_web.deadline import ADVICE, Deadline
from groupvit_web.encodings import EncodedPicture, EncodingCache, checked_between_layers
from groupvit_web.errors import PageError
from groupvit_web.figures import Figure
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.request import SegmentationRequest
from groupvit_web.shares import Share, table_of_shares
from groupvit_web.uploads import Picture
from groupvit_web.word_scores import WordScores, score_words

__all__ = ['PageResult', 'PageSegmenter', 'SegmentationRequest', 'Share']


class PageResult(NamedTuple):
    """Everything that the page shows about a picture.

    Attributes:
        overlay (Figure): The classes over the picture.
        groups (tuple[Figure, ...]): The segments over the picture, for each grouping stage.
        heat_maps (tuple[Figure, ...]): Score of each class over the picture; the title is its name.
        confidence (Figure): Confidence of each pixel.
        shares (tuple[Share, ...]): The largest first; classes that do not occur are included.
        classes (ClassList): The classes.
        seconds (float): Time that this result took.
        was_encoded (bool): Whether the picture had to be encoded for it.
    """

    overlay: Figure
    groups: tuple[Figure, ...]
    heat_maps: tuple[Figure, ...]
    confidence: Figure
    shares: tuple[Share, ...]
    classes: ClassList
    seconds: float
    was_encoded: bool


class _Scored(NamedTuple):
    """Scores of words, and the figures that depend on them alone."""

    scores: WordScores
    heat_maps: tuple[Figure, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the scores and the figures."""
        return self.scores.nbytes + sum(len(figure.content) for figure in self.heat_maps)


class PageSegmenter:
    """Segments pictures with one model, for any number of visitors.

    A picture is encoded once, and scored once for its words; a threshold, an opacity or colours
    only draw again. What is kept is bounded in bytes and shared by all visitors.

    Args:
        model (PageModel): The model.
        limits (Limits, optional): None takes the defaults. Defaults to None.
    """

    def __init__(self, model: PageModel, limits: Limits | None = None) -> None:
        self.model, self.limits = model, limits or Limits()
        self.encodings = EncodingCache(model, self.limits.encoding_bytes)
        self._scored = ByteCache[_Scored](self.limits.score_bytes)
        self.exports = ByteCache[bytes](self.limits.export_bytes)

    def deadline(self, is_cancelled: Callable[[], bool] | None = None) -> Deadline:
        """Return a time limit that begins now.

        Args:
            is_cancelled (Callable[[], bool], optional): Whether the visitor has left. Defaults to
                None.
        """
        return Deadline(self.limits.seconds, is_cancelled)

    def segment(
        self, picture: Picture, request: SegmentationRequest, *, deadline: Deadline | None = None
    ) -> PageResult:
        """Segment a picture.

        Args:
            picture (Picture): From :func:`.read_picture`.
            request (SegmentationRequest): Words and options.
            deadline (Deadline, optional): None takes the time limit of the page. Defaults to None.

        Raises:
            PageError: If the picture or the request cannot be used, or takes too long.
        """
        with _memory_of(picture):
            return self._segment(picture, request, deadline or self.deadline())

    def _segment(
        self, picture: Picture, request: SegmentationRequest, deadline: Deadline
    ) -> PageResult:
        """Segment a picture; errors of memory keep their type."""
        begin = time.perf_counter()
        classes = self.classes(request)
        scored, was_encoded = self._score(picture, request, classes, deadline)
        decision = scored.scores.decide(self.model.head, classes)
        confidence = decision.confidence
        colours = drawing.colours_of(classes, request.colours)
        shares = table_of_shares(decision.label_map, classes, colours, confidence)
        return PageResult(
            overlay=drawing.draw_overlay(
                picture, decision, colours, opacity=request.opacity, shares=shares
            ),
            groups=scored.scores.picture.groups,
            heat_maps=scored.heat_maps,
            confidence=drawing.draw_confidence(picture, confidence),
            shares=shares,
            classes=classes,
            seconds=time.perf_counter() - begin,
            was_encoded=was_encoded,
        )

    def classes(self, request: SegmentationRequest) -> ClassList:
        """Return the classes of a request.

        Raises:
            PageError: If they, or another value of the request, cannot be used.
        """
        return request.class_list(self.model.classes, self.limits)

    def scores(
        self, picture: Picture, request: SegmentationRequest, *, deadline: Deadline | None = None
    ) -> WordScores:
        """Score the words of a request in a picture, or look the scores up.

        Raises:
            PageError: As :meth:`segment`.
        """
        classes = self.classes(request)
        with _memory_of(picture):
            scored, _ = self._score(picture, request, classes, deadline or self.deadline())
        return scored.scores

    def result(
        self, picture: Picture, request: SegmentationRequest, *, deadline: Deadline | None = None
    ) -> InferenceResult:
        """Segment a picture at its full size as ``groupvit segment`` does, for downloads.

        Raises:
            PageError: As :meth:`segment`, or if the scores at full size need too much memory.
        """
        deadline, classes = deadline or self.deadline(), self.classes(request)
        num_bytes = 4 * len(classes.class_names) * picture.size[0] * picture.size[1]
        if num_bytes > self.limits.result_bytes:
            raise PageError(
                f'The scores of {len(classes.class_names)} classes at {picture.size[1]} x '
                f'{picture.size[0]} pixels need {num_bytes / 2**30:.1f} GiB, more than the limit '
                f'of {self.limits.result_bytes / 2**30:.1f} GiB: reduce the picture, or remove '
                'words.'
            )
        test_cfg = self.model.test_cfg(request.mode, request.pamr_steps)
        with _memory_of(picture), self.model.turn(deadline) as inferencer:
            with self.model.configured(inferencer, classes, test_cfg):
                with checked_between_layers(inferencer.segmentor.encoder, deadline):
                    return inferencer(picture.pixels())

    def _score(
        self,
        picture: Picture,
        request: SegmentationRequest,
        classes: ClassList,
        deadline: Deadline,
    ) -> tuple[_Scored, bool]:
        """Score classes in a picture, or look them up; return also whether it was encoded now."""
        test_cfg = self.model.test_cfg(request.mode, request.pamr_steps)
        key = (*picture.view_key, test_cfg['mode'], test_cfg['pamr_steps'], _words_key(classes))
        scored, was_encoded = self._scored.get(key), False
        if scored is None:
            encoded, was_encoded = self.encodings.get(picture, test_cfg, deadline)
            with self.model.turn(deadline):
                scored = self._scored.get(key)  # scored while this request waited
                if scored is None:
                    scored = self._compute(picture, encoded, classes, test_cfg, deadline)
                    self._scored.put(key, scored, scored.nbytes)
        return scored, was_encoded

    def _compute(
        self,
        picture: Picture,
        encoded: EncodedPicture,
        classes: ClassList,
        test_cfg: Mapping[str, object],
        deadline: Deadline,
    ) -> _Scored:
        """Embed words that are new, score all, and draw their heat maps."""
        steps = read_options(test_cfg).pamr_steps
        embedded = self.model.words.embed(classes, deadline)
        scores = score_words(
            encoded, self.model.head, embedded, pamr_steps=steps, deadline=deadline
        )
        return _Scored(scores, drawing.draw_heat_maps(picture, scores, classes.foreground))


def _memory_of(picture: Picture) -> AbstractContextManager[None]:
    """Replace an error of memory that runs out within the block by a sentence for the visitor."""
    height, width = picture.size
    sentence = f'The memory is too small for {picture.name}, {width} x {height} pixels: {ADVICE}.'
    return memory_sentence(lambda: sentence, PageError)


def _words_key(classes: ClassList) -> tuple[object, ...]:
    """Return what the scores of classes depend on: everything but the threshold."""
    first = int(classes.with_background)
    prompts = ((prompt.word, prompt.templates, prompt.label - first) for prompt in classes.prompts)
    return (classes.alias_pooling, *prompts)
