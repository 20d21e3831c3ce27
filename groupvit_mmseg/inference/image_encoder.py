"""Encodes an image once and segments it by any classes; the base of the inferencer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.inference.encoded_image import EncodedImage, make_result
from groupvit_mmseg.inference.preparation import (
    PreparedImage,
    RGBImage,
    as_array,
    prepare,
    short_side_of,
)
from groupvit_mmseg.models.backbone_precision import check_device_of
from groupvit_mmseg.models.encoded_windows import EmbeddedClasses, encode_windows
from groupvit_mmseg.models.groupvit import GroupViT
from groupvit_mmseg.models.inference_options import read_options
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.models.window_views import WindowView
from groupvit_mmseg.out_of_memory import memory_sentence
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import ClassList

ORIGINAL = (WindowView(),)  # the views of a segmentation without test-time augmentation


class ImageEncoder:
    """Encoding of images, and segmentation of encoded images.

    Attributes:
        segmentor (GroupViTSegmentor): In evaluation mode.
    """

    segmentor: GroupViTSegmentor
    _pipeline: Compose
    _pipeline_config: Sequence[dict]

    def options_with(self, **test_cfg: object) -> dict[str, object]:
        """Return the options of the segmentation with some changed, for :meth:`set_options`.

        Args:
            **test_cfg: Fields of :class:`.InferenceOptions`. Windows without a size, as of
                ``mode='slide'`` alone, have twice the sides of the images that the model was
                trained with, and overlap by half. The default of ``precision`` is ``'auto'``.

        Raises:
            ValueError: If there is no such option, or a value is out of its range.
        """
        options: dict[str, object] = {
            'precision': 'auto',
            **self.segmentor.test_cfg,
            **test_cfg,
        }
        # A result has scores and a group map; all other options are those of the config.
        options |= dict(with_scores=True, with_group_map=False)
        backbone = self.segmentor.backbone
        if options.get('mode') == 'slide' and isinstance(backbone, GroupViT):
            sides = tuple(count * backbone.patch_size for count in backbone.grid_shape)
            windows = dict(crop_size=tuple(2 * side for side in sides), stride=sides)
            options = {**windows, **options}
        known = read_options(options)
        check_device_of(known.precision, next(backbone.parameters()).device.type)
        # Windows and views have other groups than the image; a pass of its own gives its groups.
        return options | dict(with_group_map=known.mode == 'whole' and known.views == ORIGINAL)

    def set_options(self, **test_cfg: object) -> None:
        """Change options of the segmentation from now on.

        Args:
            **test_cfg: As :meth:`options_with` takes them, such as ``pamr_steps=10``.

        Raises:
            ValueError: If there is no such option, or a value is out of its range; the options stay
                as they are.
        """
        self.segmentor.test_cfg = self.options_with(**test_cfg)

    @property
    def precision(self) -> str:
        """Precision of the backbone; of ``'auto'``, the one that it stands for here.

        It is measured when it is first used, in about a second, and kept in the folder
        ``precision`` of the user's cache.
        """
        return self.segmentor.precision

    def short_side(self) -> int:
        """Return the pixels to which the shorter side of an image is resized, for exports.

        Without a resize, the side of the images that the backbone was trained on.

        Raises:
            ValueError: If the pipeline has other transforms, or the backbone is no GroupViT.
        """
        backbone = self.segmentor.backbone
        if not isinstance(backbone, GroupViT):
            raise ValueError('Exports take a GroupViT: other backbones have no size of their own.')
        native = min(backbone.grid_shape) * backbone.patch_size
        return short_side_of(self._pipeline_config, native)

    def prepare(self, image: str | Path | RGBImage) -> PreparedImage:
        """Read an image and run the pipeline on it, for :meth:`.GroupViTInferencer.batch`.

        Args:
            image (str | Path | NDArray): A file, or RGB ``(H, W, 3)`` uint8.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the image cannot be read, or is smaller than a patch as it is or as the
                pipeline resizes it.
        """
        array = as_array(image)
        name = 'The image' if isinstance(image, np.ndarray) else str(image)
        data = prepare(array, self._pipeline, self.segmentor.backbone, name=name)
        return PreparedImage(array, data)

    @torch.no_grad()
    def encode(
        self, image: str | Path | RGBImage, *, test_cfg: Mapping[str, object] | None = None
    ) -> EncodedImage:
        """Compute everything of an image that does not depend on the classes, for :meth:`classify`.

        Args:
            image (str | Path | NDArray): A file, or RGB ``(H, W, 3)`` uint8.
            test_cfg (Mapping[str, object], optional): Windows other than those of the config:
                ``mode``, ``crop_size`` and ``stride``, as :meth:`options_with` takes them; other
                options have no effect here. Defaults to None.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the image or an option cannot be used.
            RuntimeError: If the memory is too small for one window, or for the whole image.
        """
        options = self.options_with(**(test_cfg or {}))
        prepared = self.prepare(image)
        inputs, sample = self._inputs(prepared)
        with memory_sentence(lambda: self.segmentor.too_large([inputs])):
            windows = encode_windows(self.segmentor, inputs, options)
            is_whole = len(windows.outputs) == 1 and self.segmentor.options.views == ORIGINAL
            whole = windows.outputs[0] if is_whole else self.segmentor.extract_feat(inputs[None])
        return EncodedImage(prepared.image, inputs, sample, windows, whole)

    def embed(self, classes: ClassList | None = None) -> EmbeddedClasses:
        """Embed the words of classes, for :meth:`classify`; None for the present classes."""
        head = self.segmentor.decode_head
        if classes is None and head.class_embeds is not None:
            return EmbeddedClasses(head.classes, head.class_embeds)
        classes = head.classes if classes is None else classes
        return EmbeddedClasses(classes, head.embed_classes(classes))

    @torch.no_grad()
    def classify(
        self, encoded: EncodedImage, embedded: EmbeddedClasses | None = None
    ) -> InferenceResult:
        """Segment an encoded image by any classes; up to rounding as calling the inferencer does.

        Args:
            encoded (EncodedImage): From :meth:`encode`.
            embedded (EmbeddedClasses, optional): From :meth:`embed`; None for the present classes.
                Defaults to None.

        Raises:
            RuntimeError: If the memory is too small for the scores.
        """
        with memory_sentence(lambda: self.segmentor.too_large([encoded.inputs])):
            embedded = self.embed() if embedded is None else embedded
            windowed = encoded.windows.scored(self.segmentor.decode_head, embedded)
            scores = self.segmentor.refiner(encoded.inputs)(windowed.pixel_scores())
            scores = encoded.at_image_size(scores)
            group_map = encoded.group_map()
            return make_result(encoded.image, embedded.classes, scores=scores, group_map=group_map)

    def _inputs(self, prepared: PreparedImage) -> tuple[Tensor, SegDataSample]:
        """Return an image as the input of the segmentor ``(3, h, w)``, and its sample."""
        data = self.segmentor.data_preprocessor(pseudo_collate([prepared.data]), False)
        return data['inputs'][0], data['data_samples'][0]
