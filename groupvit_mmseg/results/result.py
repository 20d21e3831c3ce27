"""The result of one image: maps, scores, confidence, and its forms for other programs.

Letters: ``H, W`` pixels of the image, ``K`` classes, the background included.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.output_paths import check_figure
from groupvit_mmseg.results import formats
from groupvit_mmseg.visualization import class_palette, draw_groups, draw_labels, enlarge, legend

if TYPE_CHECKING:
    from mmseg.structures import SegDataSample
    from supervision import Detections

KINDS = ('overlay', 'groups', 'labels')
SMALLEST_SIDE = 240
"""int: Images with a shorter side are enlarged before names are written into them."""


class InferenceResult(NamedTuple):
    """The segmentation of one image.

    Attributes:
        label_map (NDArray): Class of every pixel, int64 ``(H, W)``.
        group_map (NDArray): Segment of every pixel, int64 ``(H, W)``; of one pass over the whole
            image, also where the labels come from sliding windows.
        scores (NDArray): Score of every class at every pixel in [0, 1], float32 ``(K, H, W)``. The
            background's score is 1 where a threshold decided for it; that of a class below its own
            threshold is 0 where another class is not.
        class_names (tuple[str, ...]): The ``K`` names; index 0 is the background, if there is one.
        image (NDArray): The image, RGB ``(H, W, 3)`` uint8.
        bg_thresh (float, optional): The background threshold, if there is one. Defaults to None.
        with_background (bool): Whether class 0 is the background. Defaults to False.
        class_thresholds (Mapping[str, float]): Thresholds of single classes by name, in [0, 1].
            Defaults to none.

    Example:
        >>> result = InferenceResult(
        ...     label_map=np.array([[0, 1]]),
        ...     group_map=np.array([[3, 5]]),
        ...     scores=np.array([[[0.75, 0.25]], [[0.25, 0.5]]], np.float32),
        ...     class_names=('cat', 'dog'),
        ...     image=np.zeros((1, 2, 3), np.uint8),
        ... )
        >>> result.shares
        {'cat': 0.5, 'dog': 0.5}
        >>> result.confidence.tolist(), result.margin.tolist()
        ([[0.75, 0.5]], [[0.5, 0.25]])
    """

    label_map: NDArray[np.int64]
    group_map: NDArray[np.int64]
    scores: NDArray[np.float32]
    class_names: tuple[str, ...]
    image: NDArray[np.uint8]
    bg_thresh: float | None = None
    with_background: bool = False
    class_thresholds: Mapping[str, float] = {}

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The score of each pixel's class, in [0, 1], float32 ``(H, W)``.

        Of the background it is one minus the best score of a class, unless background words have a
        higher score.
        """
        if not self.with_background:
            return self.scores.max(axis=0)
        best = self.scores[1:].max(axis=0)
        words = np.where(self._by_threshold, 0, self.scores[0])
        return np.where(self.label_map == 0, np.maximum(words, 1 - best), best).astype(np.float32)

    @property
    def margin(self) -> NDArray[np.float32]:
        """The change of a score that would change each pixel's class, float32 ``(H, W)``.

        That is the distance to the second class, or to the threshold of the background or of the
        class where that is nearer. Classes below their own threshold do not count as second. 0
        means undecided; with a single class and no background it is 1.
        """
        ordered = np.sort(self.scores[int(self.with_background) :], axis=0)[::-1]
        best = ordered[0]
        second = ordered[1] if len(ordered) > 1 else np.zeros_like(best)
        if not self.with_background:
            return best - second if len(ordered) > 1 else np.ones_like(best)
        words = np.where(self._by_threshold, 0, self.scores[0])
        limits = self._limits  # (K - 1,)
        needed = np.maximum(words, limits[:, None, None])  # (K - 1, H, W)
        of_background = (needed - self.scores[1:]).min(axis=0)
        limit = limits[np.maximum(self.label_map - 1, 0)]  # of each pixel's class
        rival = np.maximum(np.maximum(second, words), limit)
        return np.where(self.label_map == 0, of_background, best - rival).astype(np.float32)

    @property
    def _limits(self) -> NDArray[np.float32]:
        """The score that each class needs ``(K - 1,)``: its threshold, or the background's.

        The background threshold is at most the best score of a class that reaches its own.
        """
        own = np.array([self.class_thresholds.get(name, 0) for name in self.class_names[1:]])
        scores = self.scores[1:]
        candidates = np.where(scores >= own[:, None, None], scores, 0)
        return np.maximum(own, min(self.bg_thresh or 0.0, float(candidates.max())))

    @property
    def _by_threshold(self) -> NDArray[np.bool_]:
        """Pixels ``(H, W)`` whose score of the background was set to 1 by a threshold."""
        if self.bg_thresh is None and not self.class_thresholds:
            return np.zeros_like(self.scores[0], bool)
        return self.scores[0] >= 1

    @property
    def shares(self) -> dict[str, float]:
        """Share of the pixels of every class that occurs, in (0, 1], the largest first."""
        counts = np.bincount(self.label_map.ravel(), minlength=len(self.class_names))
        order = [index for index in np.argsort(-counts, kind='stable') if counts[index]]
        return {self.class_names[i]: float(counts[i] / self.label_map.size) for i in order}

    def overlay(
        self,
        *,
        opacity: float = 0.6,
        with_legend: bool = True,
        colours: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.uint8]:
        """Draw the classes over the image.

        Args:
            opacity (float): Weight of the colours, in [0, 1]. Defaults to 0.6.
            with_legend (bool): Whether to add a strip with names and shares. Defaults to True.
            colours (NDArray, optional): RGB ``(K, 3)`` uint8, by class, black for those that are
                not painted; None takes the palette. Defaults to None.

        Returns:
            NDArray: RGB ``(h, w, 3)`` uint8; a small image is enlarged so that names are legible.
        """
        image, labels = (enlarge(array, SMALLEST_SIDE) for array in (self.image, self.label_map))
        figure = draw_labels(image, labels, self.class_names, opacity=opacity, colours=colours)
        if not with_legend:
            return figure
        strip = legend(labels, self.class_names, width=figure.shape[1], colours=colours)
        return np.concatenate([figure, strip])

    def to_image(self, kind: str = 'overlay') -> Image.Image:
        """Return a figure as a Pillow image.

        Args:
            kind (str): ``'overlay'``, ``'groups'`` (segments over the image) or ``'labels'`` (the
                label map itself, a palette image that annotation programs read). Defaults to
                'overlay'.

        Raises:
            ValueError: If there is no such kind, or more than 256 classes for a palette.
        """
        if kind == 'overlay':
            return Image.fromarray(self.overlay())
        if kind == 'groups':
            image, groups = (
                enlarge(array, SMALLEST_SIDE) for array in (self.image, self.group_map)
            )
            return Image.fromarray(draw_groups(image, groups))
        if kind != 'labels':
            raise ValueError(f'There is no kind {kind!r} of image; choose {", ".join(KINDS)}.')
        if len(self.class_names) > 256:
            raise ValueError(f'A label image holds 256 classes, not {len(self.class_names)}.')
        labels = Image.fromarray(self.label_map.astype(np.uint8), mode='P')
        labels.putpalette(class_palette(self.class_names).tobytes())
        return labels

    def save(self, path: str | Path, kind: str = 'overlay') -> Path:
        """Write a figure, all of it or nothing; its folder is made, the suffix decides the format.

        Args:
            path (str | Path): The file, such as ``out.png``.
            kind (str): As in :meth:`to_image`. Defaults to 'overlay'.

        Raises:
            ValueError: If there is no such kind, the suffix is of no image format, or labels would
                be written in a lossy format.
            OSError: If the disk is full.
        """
        path = Path(path)
        if kind == 'labels' and path.suffix.lower() != '.png':
            raise ValueError(f'Labels are written without loss: let {path} end in .png.')
        check_figure(path, name='The figure')
        image, form = self.to_image(kind), Image.registered_extensions()[path.suffix.lower()]
        write_atomically(path, lambda stream: image.save(stream, format=form), sync=False)
        return path

    def show(self) -> None:
        """Open the overlay in the system's image viewer; notebooks display a result by itself."""
        self.to_image().show()

    def _repr_png_(self) -> bytes:
        """The overlay, for notebooks."""
        stream = io.BytesIO()
        self.to_image().save(stream, format='PNG')
        return stream.getvalue()

    def to_coco(self, *, form: str = 'rle', min_area: int = 25, image_id: int = 1) -> list[dict]:
        """Return COCO annotations: one for each connected region of a class.

        Args:
            form (str): ``'rle'`` (uncompressed, exact) or ``'polygon'`` (outer outlines; holes are
                filled). Defaults to 'rle'.
            min_area (int): Pixels that a region must have. Defaults to 25.
            image_id (int): Id of the image. Defaults to 1.

        Returns:
            list[dict]: With ``category_id`` (the label; the background is left out), ``bbox``,
            ``area``, ``segmentation`` and ``score``, the mean confidence of the region.

        Raises:
            ValueError: If there is no such form.
        """
        return formats.to_coco(self, form=form, min_area=min_area, image_id=image_id)

    def to_yolo(self, *, min_area: int = 25) -> str:
        """Return the text of a YOLO segmentation label file: a line for each connected region.

        A line is ``class x1 y1 x2 y2 ...``: the class counted from 0 without the background, and
        the outer outline in [0, 1] of the image's width and height; holes are filled.

        Args:
            min_area (int): Pixels that a region must have. Defaults to 25.

        Returns:
            str: Empty if there is no region.
        """
        return formats.to_yolo(self, min_area=min_area)

    def to_labelme(self, image_path: str | Path, *, min_area: int = 25) -> dict:
        """Return the content of a LabelMe file: a polygon for each connected region of a class.

        Args:
            image_path (str | Path): Path of the image, as it is to stand in the file.
            min_area (int): Pixels that a region must have. Defaults to 25.
        """
        return formats.to_labelme(self, image_path, min_area=min_area)

    def to_detections(self) -> Detections:
        """Return ``supervision.Detections``: one mask for each class that occurs.

        Raises:
            ImportError: If ``supervision`` is not installed.
        """
        return formats.to_detections(self)

    def to_sem_seg(self) -> SegDataSample:
        """Return MMSegmentation's data sample with ``pred_sem_seg`` and ``seg_logits``."""
        return formats.to_sem_seg(self)
