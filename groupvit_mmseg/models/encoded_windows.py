"""The windows of an image after the backbone, to be scored for any classes without encoding again.

Shapes: ``H, W`` pixels of the image, ``h, w`` of a window, ``S`` segments, ``K`` words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from groupvit_mmseg.models.finite_scores import check_finite
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.window_views import WindowView
from groupvit_mmseg.models.windows import (
    Window,
    WindowedImage,
    crop_windows,
    smallest_integers,
    window_size,
)
from groupvit_mmseg.out_of_memory import FittingSizes, in_fitting_parts

if TYPE_CHECKING:
    from groupvit_mmseg.models.segmentor import GroupViTSegmentor
    from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
    from groupvit_mmseg.text.class_list import ClassList

Output = TypeVar('Output')


class EmbeddedClasses(NamedTuple):
    """Classes and the embeddings of their words.

    Attributes:
        classes (ClassList): The classes.
        class_embeds (Tensor): ``(K, D)``, from :meth:`.GroupViTZeroShotHead.embed_classes`.
    """

    classes: ClassList
    class_embeds: Tensor

    def with_threshold(self, bg_thresh: float | None) -> EmbeddedClasses:
        """Return them with another background threshold, or none: the embeddings stay.

        Args:
            bg_thresh (float, optional): In [0, 1]; None removes the threshold.

        Raises:
            ValueError: If it is outside [0, 1].
        """
        return self._replace(classes=self.classes.looking_for(bg_thresh=bg_thresh))


class EncodedWindows(NamedTuple):
    """Outputs of the backbone for the windows of one image.

    Attributes:
        size (tuple[int, int]): Height and width of the image.
        windows (list[Window]): Rows and columns of each window, again for each of its views.
        outputs (list[GroupViTOutput]): Of one view each, ``B = 1``.
        group_maps (list[Tensor]): Segment of each pixel of a window in each view, ``(h, w)`` in one
            byte if there are at most 256 segments.
        num_views (int): Views of each window; they follow one another. Defaults to 1.
    """

    size: tuple[int, int]
    windows: list[Window]
    outputs: list[GroupViTOutput]
    group_maps: list[Tensor]
    num_views: int = 1

    def put(self, output: GroupViTOutput, group_map: Tensor) -> None:
        """Append the output of the next window, and the segment of each of its pixels."""
        self.outputs.append(output)
        self.group_maps.append(smallest_integers(group_map, output.segments.shape[1]))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = [tensor for output in self.outputs for tensor in output.tensors()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors + self.group_maps)

    @torch.no_grad()
    def affinities(
        self, head: GroupViTZeroShotHead, class_embeds: Tensor | None = None
    ) -> list[Tensor]:
        """Compute the affinities of the segments of each view to words, ``(S, K)`` each.

        Args:
            head (GroupViTZeroShotHead): The head.
            class_embeds (Tensor, optional): As :meth:`.GroupViTZeroShotHead.word_logits` takes
                them. Defaults to None.

        Raises:
            ValueError: If an affinity is NaN or infinite.
        """
        return list(affinities_of_views(self._logits(head, class_embeds), self.num_views, head))

    def _logits(self, head: GroupViTZeroShotHead, class_embeds: Tensor | None) -> list[Tensor]:
        """Compute the logits of words of each view, ``(1 + S, K)``."""
        return [head.word_logits(output, class_embeds)[0] for output in self.outputs]

    @torch.no_grad()
    def scored(self, head: GroupViTZeroShotHead, embedded: EmbeddedClasses) -> WindowedImage:
        """Compute the scores of all segments for classes; a millisecond or two per window."""
        logits = self._logits(head, embedded.class_embeds)
        return self.with_scores(scores_of_views(logits, self.num_views, head, embedded.classes))

    def with_scores(self, scores: Iterable[Tensor]) -> WindowedImage:
        """Return the image with any scores of the segments of each view, ``(S, C)``."""
        return WindowedImage(self.size, self.windows, self.group_maps, list(scores))


@torch.no_grad()
def affinities_of_views(
    logits: Sequence[Tensor], num_views: int, head: GroupViTZeroShotHead
) -> Iterator[Tensor]:
    """Convert the logits of views to affinities, the views of one window at a time.

    All views of a window have the mean of their images in common, and so the words that they may
    contain. If each chose its own, a word that some leave out would lose their part of its score.

    Args:
        logits (Sequence[Tensor]): From :meth:`.GroupViTZeroShotHead.word_logits`, ``(1 + S, K)`` of
            each view; those of a window follow one another.
        num_views (int): Views of a window.
        head (GroupViTZeroShotHead): The head.

    Yields:
        Tensor: ``(S, K)`` of the next view.

    Raises:
        ValueError: If an affinity is NaN or infinite.
    """
    for start in range(0, len(logits), num_views):
        views = logits[start : start + num_views]
        image_logits = torch.stack([view[:1] for view in views]).mean(dim=0)  # (1, K)
        for view in views:
            together = torch.cat([image_logits, view[1:]])  # (1 + S, K)
            affinity = head.word_affinity(together[None])  # (1, S, K)
            check_finite(affinity, None, head)
            yield affinity[0]


@torch.no_grad()
def scores_of_views(
    logits: Sequence[Tensor],
    num_views: int,
    head: GroupViTZeroShotHead,
    classes: ClassList | None = None,
) -> Iterator[Tensor]:
    """Convert logits as :func:`affinities_of_views` takes them to scores ``(S, num_classes)``.

    They are scores of the head's classes, or of ``classes``, to whose words the logits belong.
    """
    for affinity in affinities_of_views(logits, num_views, head):
        yield head.segment_scores(affinity[None], classes)[0]


@torch.no_grad()
def encode_windows(
    segmentor: GroupViTSegmentor, image: Tensor, test_cfg: Mapping[str, object] | None = None
) -> EncodedWindows:
    """Encode the windows of an image, in batches of ``window_batch_size``.

    Args:
        segmentor (GroupViTSegmentor): In evaluation mode.
        image (Tensor): ``(3, H, W)``, normalised.
        test_cfg (Mapping[str, object], optional): Windows other than those of the segmentor's
            ``test_cfg``: ``mode``, ``crop_size`` and ``stride``. Defaults to None.
    """
    size = (image.shape[1], image.shape[2])
    windows = crop_windows(size, {**segmentor.test_cfg, **(test_cfg or {})})
    options = segmentor.options
    views = options.views
    encoded = EncodedWindows(size, [each for each in windows for _ in views], [], [], len(views))
    outputs: dict[int, GroupViTOutput] = {}

    def run(crops: Tensor) -> GroupViTOutput:
        output = segmentor.extract_feat(crops)
        check_finite(output.segments, crops, segmentor)
        return output

    for indices, output in run_windows(
        run,
        [image],
        [windows],
        options.window_batch_size,
        views=views,
        fitting=segmentor.fitting,
    ):
        outputs |= {number: output.of_image(row) for row, (_, number) in enumerate(indices)}
    for number, window in enumerate(encoded.windows):
        group_map = views[number % len(views)].undo_map(
            outputs[number].group_map()[0], window_size(window)
        )
        encoded.put(outputs[number], group_map)
    return encoded


def run_windows(
    run: Callable[[Tensor], Output],
    images: Sequence[Tensor],
    windows: Sequence[Sequence[Window]],
    batch_size: int,
    *,
    views: Sequence[WindowView] = (WindowView(),),
    fitting: FittingSizes | None = None,
) -> Iterator[tuple[list[tuple[int, int]], Output]]:
    """Run a function on batches of windows of one size, on smaller ones if memory is short.

    Args:
        run (Callable): Takes views of windows ``(B, 3, h, w)``.
        images (Sequence[Tensor]): ``(3, H, W)`` each, of any sizes.
        windows (Sequence[Sequence[Window]]): Windows of each image.
        batch_size (int): Windows per batch.
        views (Sequence[WindowView]): Views of each window. Defaults to the window itself.
        fitting (FittingSizes, optional): As :func:`.in_fitting_parts` takes it. Defaults to None.

    Yields:
        tuple[list[tuple[int, int]], Output]: Index of the image and of its view, and the output.

    Raises:
        RuntimeError: If the memory is too small for one window.
    """
    for indices, crops in batches_of_one_size(images, windows, batch_size, views=views):
        for part, output in in_fitting_parts(run, crops, fitting):
            yield indices[part], output


def batches_of_one_size(
    images: Sequence[Tensor],
    windows: Sequence[Sequence[Window]],
    batch_size: int,
    *,
    views: Sequence[WindowView] = (WindowView(),),
) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Yield batches of windows of one size, of one image or of several.

    Args:
        images (Sequence[Tensor]): ``(3, H, W)`` each, of any sizes.
        windows (Sequence[Sequence[Window]]): Windows of each image.
        batch_size (int): Windows per batch.
        views (Sequence[WindowView]): Views of each window. Defaults to the window itself.

    Yields:
        tuple[list[tuple[int, int]], Tensor]: Index of the image and of its view, and the views
        ``(B, 3, h, w)``; the views of each window follow one another. Without views, windows of an
        image are in order, because those of :func:`.crop_windows` have one size.
    """
    by_size: dict[tuple[int, ...], list] = defaultdict(list)
    for index, (image, places) in enumerate(zip(images, windows, strict=True)):
        for number, (rows, columns) in enumerate(places):
            for offset, view in enumerate(views):
                crop = view.apply(image[:, rows, columns])
                place = (index, number * len(views) + offset)
                by_size[tuple(crop.shape)].append((place, crop))
    for same_size in by_size.values():
        for start in range(0, len(same_size), batch_size):
            indices, crops = zip(*same_size[start : start + batch_size])
            yield list(indices), torch.stack(crops)
