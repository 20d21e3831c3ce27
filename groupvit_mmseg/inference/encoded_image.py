"""An image after the backbone: its groups, and its segmentation by any classes.

Shapes: ``H, W`` pixels of the image, ``K`` classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.inference.preparation import RGBImage
from groupvit_mmseg.models.encoded_windows import EncodedWindows
from groupvit_mmseg.models.original_size import resize_scores_to_image, resize_to_image
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList


class EncodedImage(NamedTuple):
    """Everything of one image that does not depend on the classes.

    Attributes:
        image (NDArray): The image, RGB ``(H, W, 3)`` uint8.
        inputs (Tensor): Input of the segmentor, ``(3, h, w)``, resized and normalised.
        sample (SegDataSample): Size of the image, and what the pipeline did to it.
        windows (EncodedWindows): The windows that classes are scored in.
        whole (GroupViTOutput): Output of one pass over the whole image, which shows the groups.
    """

    image: RGBImage
    inputs: Tensor
    sample: SegDataSample
    windows: EncodedWindows
    whole: GroupViTOutput

    @property
    def num_stages(self) -> int:
        """Stages that group."""
        return len(self.whole.soft_assignments)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays and tensors."""
        tensors = [self.inputs, *self.whole.tensors()]
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return size + self.image.nbytes + self.windows.nbytes

    def group_map(self, num_stages: int | None = None) -> NDArray[np.int64]:
        """Return the segment of every pixel in one pass over the whole image.

        Args:
            num_stages (int, optional): Grouping stage whose segments are returned, counted from 1;
                None for the last. Defaults to None.

        Returns:
            NDArray: int64 ``(H, W)``.

        Raises:
            ValueError: If there is no such stage.
        """
        if num_stages is not None and not 1 <= num_stages <= self.num_stages:
            raise ValueError(
                f'There is no grouping stage {num_stages}: the model has {self.num_stages}, '
                'counted from 1.'
            )
        group_map = self.whole.group_map(num_stages)[0]
        return resize_to_image(group_map, self.sample)[0].cpu().numpy()

    def at_image_size(self, scores: Tensor) -> Tensor:
        """Resize scores ``(K, h, w)`` of the input to the image, ``(K, H, W)``."""
        return resize_scores_to_image(scores, self.sample)


def make_result(
    image: RGBImage,
    classes: ClassList,
    *,
    scores: Tensor,
    group_map: NDArray[np.int64],
    labels: Tensor | None = None,
) -> InferenceResult:
    """Collect the maps of an image.

    Args:
        image (NDArray): RGB ``(H, W, 3)`` uint8.
        classes (ClassList): The ``K`` classes.
        scores (Tensor): ``(K, H, W)``.
        group_map (NDArray): ``(H, W)``.
        labels (Tensor, optional): ``(H, W)``; None for the class of the highest score. Defaults to
            None.
    """
    labels = scores.argmax(dim=0) if labels is None else labels
    return InferenceResult(
        label_map=labels.cpu().numpy(),
        group_map=group_map,
        scores=scores.float().cpu().numpy(),
        class_names=classes.class_names,
        image=image,
        bg_thresh=classes.bg_thresh,
        with_background=classes.with_background,
        class_thresholds=classes.class_thresholds,
    )
