"""MMSegmentation's ``EncoderDecoder`` for a GroupViT backbone and its zero-shot head."""

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.checkpoints.pretrained import PretrainedInit
from groupvit_mmseg.dataset_meta import dataset_meta_of
from groupvit_mmseg.datasets.segmentation_checks import check_masks
from groupvit_mmseg.models.inference_options import InferenceOptions, read_options
from groupvit_mmseg.models.onednn import fast_linears
from groupvit_mmseg.models.original_size import resize_scores_to_image, resize_to_image
from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.refinement import affinities, dense_crf, load_library, refine
from groupvit_mmseg.models.windows import (
    CHUNK_BYTES,
    WindowedImage,
    crop_windows,
    smallest_integers,
)
from groupvit_mmseg.text.class_list import ClassList

# Where the pretrainer's weights live in the segmentor; what has no place there is dropped.
PRETRAINER_TO_SEGMENTOR = {
    'text_encoder.': 'decode_head.text_encoder.',
    'image_projector.': 'decode_head.image_projector.',
    'text_projector.': 'decode_head.text_projector.',
    'loss_contrastive.': 'decode_head.',
}
PRETRAINER_ONLY = ('loss_multi_label.',)


def from_pretrainer(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """A pretrainer's state dict with the segmentor's names; a segmentor's stays as it is."""
    renamed = {}
    for key, value in state_dict.items():
        if key.startswith(PRETRAINER_ONLY):
            continue
        prefix = next((p for p in PRETRAINER_TO_SEGMENTOR if key.startswith(p)), '')
        renamed[PRETRAINER_TO_SEGMENTOR.get(prefix, '') + key[len(prefix) :]] = value
    return renamed


@MODELS.register_module()
class GroupViTSegmentor(PretrainedInit, EncoderDecoder):
    """Zero-shot segmentation, whole or in sliding windows (paper: section 3.3 and 4.1).

    Arguments are those of ``EncoderDecoder``; a ``neck`` takes and gives a :class:`GroupViTOutput`,
    as :class:`PatchClustering` does for towers that do not group. Checkpoints of
    :class:`GroupViTPretrainer` load as they are. ``test_cfg`` has the fields of
    :class:`InferenceOptions`: MMSegmentation's ``mode``, ``crop_size`` and ``stride``, and more.
    A whole image is one window: every option means the same in both modes.

    Raises:
        ValueError: if ``test_cfg`` has an option that does not exist, or a value out of its range.
        ImportError: if it asks for a CRF and pydensecrf2 is not installed.
    """

    _given_meta: Mapping[str, Any] | None = None

    @property
    def test_cfg(self) -> ConfigDict:
        """Options of the segmentation; checked when they are set and when they are used."""
        return self._test_cfg

    @test_cfg.setter
    def test_cfg(self, test_cfg: Mapping[str, Any] | None) -> None:
        self._test_cfg = ConfigDict(test_cfg or {})
        if self.options.crf_steps:
            load_library()

    @property
    def options(self) -> InferenceOptions:
        """``test_cfg`` with its defaults filled in.

        Raises:
            ValueError: if there is no such option, or a value is out of its range.
        """
        return read_options(self._test_cfg)

    def _init_decode_head(self, decode_head: dict) -> None:
        """Build the head; what depends on its classes is read from it, for they may change."""
        self.decode_head = MODELS.build(decode_head)

    @property
    def num_classes(self) -> int:
        """Classes, the background included."""
        return self.decode_head.num_classes

    @property
    def out_channels(self) -> int:
        """Channels of the scores."""
        return self.decode_head.out_channels

    @property
    def align_corners(self) -> bool:
        """How scores are resized."""
        return self.decode_head.align_corners

    @property
    def dataset_meta(self) -> dict[str, list]:
        """Names and colours of the classes that are segmented now, for OpenMMLab's tools."""
        return dataset_meta_of(self.decode_head.class_names, self._given_meta)

    @dataset_meta.setter
    def dataset_meta(self, meta: Mapping[str, Any] | None) -> None:
        """Take a palette for the same classes; OpenMMLab's tools guess other classes at times."""
        self._given_meta = meta

    def set_classes(
        self, class_names: ClassList | str | Sequence[str], **class_options: Any
    ) -> None:
        """Segment other classes; see :meth:`.GroupViTZeroShotHead.set_classes`."""
        self.decode_head.set_classes(class_names, **class_options)

    def extract_feat(self, inputs: Tensor) -> GroupViTOutput:
        """Segments and assignments of images ``(B, 3, H, W)`` in one pass, float32."""
        output = self._encode(inputs)
        return self.neck(output) if self.with_neck else output

    def _encode(self, inputs: Tensor) -> GroupViTOutput:
        """What the backbone gives, in the precision that ``test_cfg`` asks for."""
        if self.options.precision == 'fp32' or self.training:
            with fast_linears(inputs):
                return self.backbone.encode(inputs)
        with torch.autocast(inputs.device.type, torch.bfloat16):
            output = self.backbone.encode(inputs)
        return output._replace(segments=output.segments.float(), pooled=output.pooled.float())

    def test_step(self, data: dict | tuple | list) -> list[SegDataSample]:
        """As ``BaseModel``; images of a batch may differ in size, masks that cannot be are refused.

        Raises:
            ValueError: if a mask has colours, or labels without a class.
        """
        inputs = data['inputs'] if isinstance(data, dict) else data[0]
        samples = data['data_samples'] if isinstance(data, dict) else data[1]
        check_masks(samples, self.num_classes)
        if isinstance(inputs, Tensor) or len({image.shape for image in inputs}) == 1:
            return super().test_step(data)
        ready = [
            self.data_preprocessor(dict(inputs=[image], data_samples=[sample]), False)
            for image, sample in zip(inputs, samples, strict=True)
        ]
        return self.predict(
            [one['inputs'][0] for one in ready], [one['data_samples'][0] for one in ready]
        )

    val_step = test_step

    def predict(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[SegDataSample] | None = None,
    ) -> list[SegDataSample]:
        """Segment a batch.

        Args:
            inputs (Tensor | Sequence[Tensor]): ``(B, 3, H, W)``, or ``B`` images of any sizes,
                normalised.
            data_samples (Sequence[SegDataSample], optional): with the images' metas.
                Defaults to None.

        Returns:
            list[SegDataSample]: with ``pred_sem_seg`` and what else ``test_cfg`` asks for, all at
            the original size.
        """
        samples = list(data_samples) if data_samples is not None else [None] * len(inputs)
        predict_one = self._scored if self.options.with_scores else self._labelled
        windowed = self.segment_windows(inputs)
        return [predict_one(*one) for one in zip(windowed, inputs, samples, strict=True)]

    def inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Scores as :meth:`predict` makes them, refined, ``(B, num_classes, H, W)``."""
        windowed = self.segment_windows(inputs)
        return torch.stack([self._refined(*one) for one in zip(windowed, inputs, strict=True)])

    def slide_inference(self, inputs: Tensor, batch_img_metas: list[dict]) -> Tensor:
        """Averaged scores of all windows, ``(B, num_classes, H, W)``."""
        return torch.stack([image.pixel_scores() for image in self.segment_windows(inputs)])

    def segment_windows(self, images: Tensor | Sequence[Tensor]) -> list[WindowedImage]:
        """Windows of images, each encoded once, in batches of ``window_batch_size``.

        Args:
            images (Tensor | Sequence[Tensor]): ``(3, H, W)`` each, of any sizes, normalised.

        Returns:
            list[WindowedImage]: one per image.
        """
        places: dict[tuple[int, ...], list] = defaultdict(list)  # windows of one size, in order
        results = []
        for image in images:
            size = (image.shape[1], image.shape[2])
            windows = crop_windows(size, self.test_cfg)
            results.append(WindowedImage(size, windows, [], []))
            for index, (rows, columns) in enumerate(windows):
                crop = image[:, rows, columns]
                places[tuple(crop.shape)].append((results[-1], index, crop))
        batch_size = self.options.window_batch_size
        for same_size in places.values():
            for start in range(0, len(same_size), batch_size):
                self._segment_batch(same_size[start : start + batch_size])
        return results

    def _segment_batch(self, batch: list[tuple[WindowedImage, int, Tensor]]) -> None:
        """Encode some windows of one size and write what they say into their images."""
        output = self.extract_feat(torch.stack([crop for _, _, crop in batch]))
        scores = self.decode_head.segment_scores(self.decode_head.segment_affinity(output))
        group_maps = smallest_integers(output.group_map(), scores.shape[1])
        for (image, index, _), table, group_map in zip(batch, scores, group_maps, strict=True):
            image.put(index, group_map, table)

    def _refiner(self, image: Tensor) -> Callable[[Tensor], Tensor]:
        """What refines scores ``(C, H, W)`` by an image, if ``test_cfg`` asks for it."""
        pamr_steps, crf_steps = self.options.pamr_steps, self.options.crf_steps
        weights = affinities(image) if pamr_steps else None

        def refined(scores: Tensor) -> Tensor:
            if weights is not None:
                scores = refine(scores, weights, pamr_steps)
            if crf_steps:
                scores = dense_crf(scores, self._picture(image), num_steps=crf_steps)
            return scores

        return refined

    def _picture(self, image: Tensor) -> NDArray[np.uint8]:
        """A normalised image ``(3, H, W)`` as RGB ``(H, W, 3)``, as it was loaded."""
        made = self.data_preprocessor
        normalised = getattr(made, 'mean', None) is not None
        pixels = image * made.std + made.mean if normalised else image
        return pixels.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()

    def _refined(self, windowed: WindowedImage, image: Tensor) -> Tensor:
        """Scores of all classes at the size of the input, ``(num_classes, H, W)``."""
        return self._refiner(image)(windowed.pixel_scores())

    def _scored(
        self, windowed: WindowedImage, image: Tensor, sample: SegDataSample | None
    ) -> SegDataSample:
        """The sample with scores and labels."""
        result = SegDataSample() if sample is None else sample
        scores = resize_scores_to_image(self._refined(windowed, image), result.metainfo)
        result.seg_logits = PixelData(data=scores)
        return self._finished(result, windowed, scores.argmax(dim=0))

    def _labelled(
        self, windowed: WindowedImage, image: Tensor, sample: SegDataSample | None
    ) -> SegDataSample:
        """The sample with the label of each pixel, chosen a few classes at a time."""
        result = SegDataSample() if sample is None else sample
        size = tuple(result.metainfo.get('ori_shape', windowed.size))
        refined = self._refiner(image)
        labels = windowed.label_map(
            lambda scores: resize_scores_to_image(refined(scores), result.metainfo),
            size[0] * size[1],
            # a CRF weighs all classes against each other
            chunk_bytes=sys.maxsize if self.options.crf_steps else CHUNK_BYTES,
        )
        return self._finished(result, windowed, labels)

    def _finished(
        self, result: SegDataSample, windowed: WindowedImage, labels: Tensor
    ) -> SegDataSample:
        """The sample with its labels and, if they are asked for, its segments."""
        result.pred_sem_seg = PixelData(data=labels[None])
        if self.options.with_group_map:
            (group_map,) = windowed.group_maps
            result.pred_group_map = PixelData(data=resize_to_image(group_map, result))
        return result

    def _load_from_state_dict(self, state_dict: dict, *args: Any, **kwargs: Any) -> None:
        """Take a pretrainer's weights under the segmentor's names."""
        renamed = from_pretrainer(state_dict)
        state_dict.clear()
        state_dict.update(renamed)
        super()._load_from_state_dict(state_dict, *args, **kwargs)
