"""The windows of an image after the backbone, to be scored for any classes without encoding again.

Shapes: ``H, W`` pixels of the image, ``h, w`` of a window, ``S`` segments, ``K`` words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.windows import Window, WindowedImage, crop_windows, smallest_integers

if TYPE_CHECKING:
    from groupvit_mmseg.models.segmentor import GroupViTSegmentor
    from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
    from groupvit_mmseg.text.class_list import ClassList


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
        windows (list[Window]): Rows and columns of each window.
        outputs (list[GroupViTOutput]): Of one window each, ``B = 1``.
        group_maps (list[Tensor]): Segment of each pixel of a window, ``(h, w)`` in one byte if
            there are at most 256 segments.
    """

    size: tuple[int, int]
    windows: list[Window]
    outputs: list[GroupViTOutput]
    group_maps: list[Tensor]

    def put(self, output: GroupViTOutput) -> None:
        """Append the output of the next window."""
        self.outputs.append(output)
        group_map = output.group_map()[0]  # (h, w)
        self.group_maps.append(smallest_integers(group_map, output.segments.shape[1]))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = [tensor for output in self.outputs for tensor in output.tensors()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors + self.group_maps)

    @torch.no_grad()
    def scored(self, head: GroupViTZeroShotHead, embedded: EmbeddedClasses) -> WindowedImage:
        """Compute the scores of all segments for classes; a millisecond or two per window."""
        image = WindowedImage(self.size, self.windows, self.group_maps, [])
        for output in self.outputs:
            affinity = head.segment_affinity(output, embedded.class_embeds)  # (1, S, K)
            image.scores.append(head.segment_scores(affinity, embedded.classes)[0])
        return image


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
    encoded = EncodedWindows(size, windows, [], [])
    batch_size = segmentor.options.window_batch_size
    for indices, crops in batches_of_one_size([image], [windows], batch_size):
        output = segmentor.extract_feat(crops)
        for row in range(len(indices)):
            encoded.put(output.of_image(row))
    return encoded


def batches_of_one_size(
    images: Sequence[Tensor], windows: Sequence[Sequence[Window]], batch_size: int
) -> Iterator[tuple[list[tuple[int, int]], Tensor]]:
    """Yield batches of windows of one size, of one image or of several.

    Args:
        images (Sequence[Tensor]): ``(3, H, W)`` each, of any sizes.
        windows (Sequence[Sequence[Window]]): Windows of each image.
        batch_size (int): Windows per batch.

    Yields:
        tuple[list[tuple[int, int]], Tensor]: Index of the image and of its window, and the windows
        ``(B, 3, h, w)``. Windows of an image are in order if they have one size, as those of
        :func:`.crop_windows` have.
    """
    by_size: dict[tuple[int, ...], list] = defaultdict(list)
    for index, (image, places) in enumerate(zip(images, windows, strict=True)):
        for number, (rows, columns) in enumerate(places):
            crop = image[:, rows, columns]
            by_size[tuple(crop.shape)].append(((index, number), crop))
    for same_size in by_size.values():
        for start in range(0, len(same_size), batch_size):
            indices, crops = zip(*same_size[start : start + batch_size])
            yield list(indices), torch.stack(crops)
