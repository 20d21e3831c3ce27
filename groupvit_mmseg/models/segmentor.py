"""MMSegmentation's ``EncoderDecoder`` for a GroupViT backbone and its zero-shot head.

Shapes: ``B`` images, ``H, W`` pixels of an image, ``S`` segments of a window, ``K`` words.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.models.backbone_precision import QuantizedCopy, check_device_of, encode_in
from groupvit_mmseg.models.checked_segmentor import CheckedSegmentor
from groupvit_mmseg.models.encoded_windows import run_windows, scores_of_views
from groupvit_mmseg.models.fastest_precision import PrecisionChoice
from groupvit_mmseg.models.finite_scores import check_finite
from groupvit_mmseg.models.original_size import resize_scores_to_image, resize_to_image
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.pretrainer_weights import from_pretrainer
from groupvit_mmseg.models.windows import (
    WindowedImage,
    confidence_of,
    crop_windows,
    in_fitting_chunks,
    smallest_integers,
    window_size,
)
from groupvit_mmseg.out_of_memory import memory_sentence
from groupvit_mmseg.text.class_list import ClassList

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead
    from groupvit_mmseg.text.class_list import ClassOptions


@MODELS.register_module()
class GroupViTSegmentor(  # type: ignore[misc]  # EncoderDecoder does not check its test_cfg
    PretrainedInit, CheckedSegmentor, EncoderDecoder
):
    """Zero-shot segmentation, whole or in sliding windows (paper: section 3.3 and 4.1).

    Arguments are those of ``EncoderDecoder``; a ``neck`` maps a :class:`GroupViTOutput` and the
    images to another output, as :class:`PatchClustering` does for towers that do not group.
    Checkpoints of :class:`GroupViTPretrainer` can be loaded directly. ``test_cfg`` has the fields
    of :class:`InferenceOptions`: MMSegmentation's ``mode``, ``crop_size`` and ``stride``, and more.
    A whole image is one window: every option means the same in both modes.

    Raises:
        ValueError: If ``test_cfg`` has an option that does not exist, or a value out of its range.
        ImportError: If it requests a CRF and pydensecrf2 is not installed.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupViTSegmentor
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> projector = dict(type='GroupViTProjector', out_channels=8)
        >>> head = dict(
        ...     type='GroupViTZeroShotHead', class_names='pascal_voc',
        ...     text_encoder=dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1),
        ...     image_projector=dict(projector, in_channels=48),
        ...     text_projector=dict(projector, in_channels=16))
        >>> backbone = dict(type='GroupViT', embed_dims=48, depths=(1, 1, 1))
        >>> segmentor = GroupViTSegmentor(backbone, head).eval()
        >>> segmentor.set_classes(make_class_list(['cat', 'dog'], aliases={'cat': ['kitten']}))
        >>> (result,) = segmentor.predict(torch.randn(1, 3, 40, 56))
        >>> result.pred_sem_seg.data.shape, result.seg_logits.data.shape
        (torch.Size([1, 40, 56]), torch.Size([2, 40, 56]))
    """

    decode_head: GroupViTZeroShotHead

    def _init_decode_head(self, decode_head: dict) -> None:
        """Build the head; its classes may change, so nothing is copied from it."""
        self.decode_head = MODELS.build(decode_head)

    @property
    def out_channels(self) -> int:
        """Channels of the scores."""
        return self.decode_head.out_channels

    @property
    def align_corners(self) -> bool:
        """Whether scores are resized with aligned corners: the head's option."""
        return self.decode_head.align_corners

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, the background included."""
        return self.decode_head.class_names

    @property
    def classes(self) -> ClassList:
        """The classes with everything that is prompted; :meth:`set_classes` changes them."""
        return self.decode_head.classes

    def set_classes(
        self,
        class_names: ClassList | str | Sequence[str],
        **class_options: Unpack[ClassOptions],
    ) -> None:
        """Set the classes to segment; see :meth:`.GroupViTZeroShotHead.set_classes`."""
        self.decode_head.set_classes(class_names, **class_options)

    def extract_feat(  # type: ignore[override]  # not feature maps: the head takes assignments too
        self, inputs: Tensor
    ) -> GroupViTOutput:
        """Compute segments and assignments of images ``(B, 3, H, W)`` in one pass, float32."""
        output = self._encode(inputs)
        return self.neck(output, inputs) if self.with_neck else output

    @cached_property
    def _fastest(self) -> PrecisionChoice:
        """What ``precision='auto'`` stands for."""
        return PrecisionChoice()

    @cached_property
    def _quantized(self) -> QuantizedCopy:
        """The backbone of ``precision='int8'``."""
        return QuantizedCopy()

    @property
    def precision(self) -> str:
        """Precision of the backbone: that of ``test_cfg``, or what ``'auto'`` stands for."""
        precision = self.options.precision
        return self._fastest.of(self) if precision == 'auto' else precision

    @property
    def encoder(self) -> nn.Module:
        """Module that encodes: the backbone, or with ``precision='int8'`` its quantised copy.

        Raises:
            ValueError: If int8 is requested in training, or on another device than a CPU.
        """
        return self._encoder_in(self.precision)

    def _encoder_in(self, precision: str) -> nn.Module:
        """Return :attr:`encoder` for a precision; to know that of 'auto' takes all weights."""
        if precision != 'int8':
            return self.backbone
        if self.training:
            raise ValueError("precision 'int8' has no gradients: train with 'fp32'.")
        check_device_of('int8', next(self.backbone.parameters()).device.type)
        return self._quantized.of(self.backbone)

    def _encode(self, inputs: Tensor) -> GroupViTOutput:
        """Run the backbone in the precision of ``test_cfg``; in training, in float32."""
        precision = self.precision
        encoder = self._encoder_in(precision)
        return encode_in('fp32' if self.training else precision, encoder, inputs)

    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Segment a batch.

        Args:
            inputs (Tensor | Sequence[Tensor]): ``(B, 3, H, W)``, or ``B`` images of any sizes,
                normalised.
            data_samples (Sequence[SegDataSample], optional): Samples with the images' metas.
                Defaults to None.

        Returns:
            list[SegDataSample]: With ``pred_sem_seg`` and the other results that ``test_cfg``
            requests, all at the original size.
        """
        samples = list(data_samples) if data_samples is not None else [None] * len(inputs)
        predict_one = self._scored if self.options.with_scores else self.label_windows
        with memory_sentence(lambda: self.too_large(inputs)):
            windowed = self.segment_windows(inputs)
            return [predict_one(*one) for one in zip(windowed, inputs, samples, strict=True)]

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Compute refined scores as :meth:`predict` does, ``(B, num_classes, H, W)``."""
        pairs = zip(inputs, self.segment_windows(inputs), strict=True)
        return torch.stack([self.refiner(image)(one.pixel_scores()) for image, one in pairs])

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Average the scores of all windows, ``(B, num_classes, H, W)``."""
        return torch.stack([image.pixel_scores() for image in self.segment_windows(inputs)])

    def segment_windows(self, images: Tensor | Sequence[Tensor]) -> list[WindowedImage]:
        """Segment the windows of images, in batches of ``window_batch_size``.

        Args:
            images (Tensor | Sequence[Tensor]): ``(3, H, W)`` each, of any sizes, normalised.

        Returns:
            list[WindowedImage]: One per image.
        """
        options, sizes = self.options, [(image.shape[1], image.shape[2]) for image in images]
        windows, views = [crop_windows(size, self.test_cfg) for size in sizes], options.views
        results = [
            WindowedImage(size, [each for each in places for _ in views], [], [])
            for size, places in zip(sizes, windows, strict=True)
        ]
        for indices, (tables, group_maps) in run_windows(
            self._tables_and_maps,
            list(images),
            windows,
            options.window_batch_size,
            views=views,
            fitting=self.fitting,
        ):
            for (image, number), table, group_map in zip(indices, tables, group_maps, strict=True):
                view, window = views[number % len(views)], results[image].windows[number]
                results[image].put(number, view.undo_map(group_map, window_size(window)), table)
        for result in results if len(views) > 1 else []:  # logits, until all views are there
            result.scores[:] = scores_of_views(result.scores, len(views), self.decode_head)
        return results

    def _tables_and_maps(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return scores and group maps of windows ``(B, 3, h, w)``; of views, logits of words."""
        output, head = self.extract_feat(crops), self.decode_head
        table = head.word_logits(output)  # (B, 1 + S, K)
        affinity = head.word_affinity(table)  # (B, S, K)
        check_finite(affinity, crops, self)
        if len(self.options.views) == 1:
            table = head.segment_scores(affinity)  # (B, S, num_classes)
        return table, smallest_integers(output.group_map(), affinity.shape[1])

    def _scored(
        self, windowed: WindowedImage, image: Tensor, sample: SegDataSample | None
    ) -> SegDataSample:
        """Add scores and labels to the sample."""
        result = SegDataSample() if sample is None else sample
        scores = self.refiner(image)(windowed.pixel_scores())  # (num_classes, H, W)
        scores = resize_scores_to_image(scores, result)
        result.seg_logits = PixelData(data=scores)
        labels = scores.argmax(dim=0)
        if self.options.with_confidence:
            best = scores[int(self.classes.with_background) :].amax(dim=0)
            self._add_confidence(result, labels, best)
        return self._finished(result, windowed, labels)

    def label_windows(
        self, windowed: WindowedImage, image: Tensor, sample: SegDataSample | None
    ) -> SegDataSample:
        """Add the label of each pixel to a sample, computed a few classes at a time.

        Args:
            windowed (WindowedImage): Segments and scores of the windows, for any classes.
            image (Tensor): Normalised ``(3, H, W)``, by which scores are refined.
            sample (SegDataSample, optional): With the meta of the image; None for a new one.
        """
        result = SegDataSample() if sample is None else sample
        size = tuple(result.metainfo.get('ori_shape', windowed.size))
        refined = self.refiner(image)

        def finish(scores: Tensor) -> Tensor:
            return resize_scores_to_image(refined(scores), result)

        num_pixels = size[0] * size[1]
        first = int(self.classes.with_background)
        if self.options.crf_steps:  # a CRF compares all classes with each other
            labels = windowed.label_map(finish, num_pixels, chunk_bytes=sys.maxsize)
        else:
            labels = in_fitting_chunks(partial(windowed.label_map, finish, num_pixels))
        if self.options.with_confidence:
            if self.options.crf_steps:
                best = finish(windowed.pixel_scores())[first:].amax(dim=0)
            else:
                scores_of = partial(windowed.best_scores, finish, num_pixels, first=first)
                best = in_fitting_chunks(scores_of)
            self._add_confidence(result, labels, best)
        return self._finished(result, windowed, labels)

    def _add_confidence(self, result: SegDataSample, labels: Tensor, best: Tensor) -> None:
        """Add the score of each pixel's class to the sample, as :func:`.confidence_of`."""
        confidence = confidence_of(labels, best, self.classes.with_background)
        result.seg_confidence = PixelData(data=confidence[None])

    def _finished(
        self, result: SegDataSample, windowed: WindowedImage, labels: Tensor
    ) -> SegDataSample:
        """Add the labels and, if requested, the group map to the sample."""
        result.pred_sem_seg = PixelData(data=labels[None])
        if self.options.with_group_map:
            (group_map,) = windowed.group_maps
            result.pred_group_map = PixelData(data=resize_to_image(group_map, result))
        return result

    def _load_from_state_dict(self, state_dict: dict, *args: object, **kwargs: object) -> None:
        """Load a pretrainer's weights under the segmentor's names."""
        renamed = from_pretrainer(state_dict)
        state_dict.clear()
        state_dict.update(renamed)
        super()._load_from_state_dict(state_dict, *args, **kwargs)
