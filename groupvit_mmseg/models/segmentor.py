"""MMSegmentation's ``EncoderDecoder`` for a GroupViT backbone and its zero-shot head."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import EncoderDecoder
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.models.groupvit import GroupViTOutput

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
class GroupViTSegmentor(EncoderDecoder):
    """Zero-shot segmentation, whole or in sliding windows (paper: section 3.3 and 4.1).

    Arguments are those of ``EncoderDecoder``. Checkpoints of :class:`GroupViTPretrainer` load as
    they are. ``test_cfg=dict(mode='whole', with_group_map=True)`` adds ``pred_group_map``, the
    segment of each pixel, to the results.
    """

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

    def set_classes(self, class_names: str | Sequence[str], **kwargs: Any) -> None:
        """Segment other classes; see :meth:`GroupViTZeroShotHead.set_classes`."""
        self.decode_head.set_classes(class_names, **kwargs)

    def extract_feat(self, inputs: Tensor) -> GroupViTOutput:
        """Segments and assignments of images ``(B, 3, H, W)`` in one pass."""
        return self.backbone.encode(inputs)

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Segment a batch.

        Args:
            inputs (Tensor): ``(B, 3, H, W)``, normalised.
            data_samples (list[SegDataSample], optional): with the images' metas.
                Defaults to None.

        Returns:
            list[SegDataSample]: with ``seg_logits``, ``pred_sem_seg`` and, if ``test_cfg`` asks
            for it, ``pred_group_map``, all at the original size.
        """
        if not self.test_cfg.get('with_group_map'):
            return super().predict(inputs, data_samples)
        if self.test_cfg.get('mode', 'whole') != 'whole':
            raise ValueError(
                "with_group_map=True needs test_cfg mode='whole': in sliding windows each window "
                'has groups of its own.'
            )
        output = self.extract_feat(inputs)
        scores = self.decode_head.predict(output, [], self.test_cfg)
        results = self.postprocess_result(scores, data_samples)
        for result, group_map in zip(results, self.decode_head.group_map(output), strict=True):
            result.pred_group_map = PixelData(data=to_original_size(group_map, result))
        return results

    def _load_from_state_dict(self, state_dict: dict, *args: Any, **kwargs: Any) -> None:
        """Take a pretrainer's weights under the segmentor's names."""
        renamed = from_pretrainer(state_dict)
        state_dict.clear()
        state_dict.update(renamed)
        super()._load_from_state_dict(state_dict, *args, **kwargs)


def to_original_size(group_map: Tensor, sample: SegDataSample) -> Tensor:
    """``(H, W)`` without padding, unflipped and nearest-resized to the sample's original size."""
    left, right, top, bottom = sample.metainfo.get('img_padding_size', [0, 0, 0, 0])
    height, width = group_map.shape
    group_map = group_map[top : height - bottom, left : width - right]
    if sample.metainfo.get('flip'):
        axis = -1 if sample.metainfo['flip_direction'] == 'horizontal' else -2
        group_map = group_map.flip(axis)
    size = sample.metainfo.get('ori_shape', group_map.shape)
    return F.interpolate(group_map[None, None].float(), size=tuple(size), mode='nearest')[0].long()
