"""Predictions of segments on images with masks: the input of the threshold calibration.

Letters: ``B`` images of ``H × W`` pixels, ``S`` segments, ``K`` classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from mmseg.structures import SegDataSample
from torch import Tensor

from groupvit_mmseg.datasets.segmentation_checks import check_masks
from groupvit_mmseg.evaluation.calibration import SegmentPrediction
from groupvit_mmseg.models.inference_options import refuse_options
from groupvit_mmseg.models.original_size import padding_of
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.models.windows import crop_windows
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead

# Options of the segmentor that the predictions respect or do not depend on.
CARRIED = (
    'mode',
    'crop_size',
    'stride',
    'precision',
    'window_batch_size',
    'with_scores',
    'with_confidence',
    'with_group_map',
)


def collect_predictions(
    segmentor: GroupViTSegmentor, batches: Iterable[dict], *, ignore_index: int = 255
) -> Iterator[SegmentPrediction]:
    """Yield affinities, group map and mask of each crop, before any threshold; one pass per crop.

    Crops are those of the segmentor's ``test_cfg``: whole images, or every sliding window, each
    with a threshold of its own as in the evaluation. Masks are resized to the size of the network's
    input.

    Args:
        segmentor (GroupViTSegmentor): Its head has a background.
        batches (Iterable[dict]): A dataloader of images with masks.
        ignore_index (int): Label that is not counted, and that of padding. Defaults to 255.

    Yields:
        SegmentPrediction: One per crop of each image.

    Raises:
        ValueError: If the head has no background, or background words besides it, the scores are
            refined after the threshold, or a mask does not fit.
    """
    refuse_options(segmentor.options, CARRIED, 'Predictions of segments are collected')
    head = segmentor.decode_head
    check_threshold(head)
    segmentor.eval()
    for batch in batches:
        check_masks(batch['data_samples'], head.num_classes, ignore_index)
        data = segmentor.data_preprocessor(batch, False)
        size = data['inputs'].shape[2:]
        label_maps = [_at_size(sample, size, ignore_index) for sample in data['data_samples']]
        yield from _of_batch(segmentor, data['inputs'], label_maps)


def check_threshold(head: GroupViTZeroShotHead) -> None:
    """Raise ``ValueError`` for a head that has no background threshold to calibrate."""
    contrast = head.affinity == 'contrast' and head.bg_thresh is not None
    words_decide = head.background_words and not contrast
    if not head.with_background or words_decide:
        raise ValueError(
            'Only a head with a background and without background words has a threshold to '
            'calibrate: set with_background=True and leave background_words out, or set affinity='
            "'contrast', with any bg_thresh."
        )


def _at_size(sample: SegDataSample, size: Sequence[int], ignore_index: int) -> Tensor:
    """Resize a mask to an input of ``H, W`` pixels, and pad it as the input is padded."""
    left, right, top, bottom = padding = padding_of(sample.metainfo)
    inner = (size[0] - top - bottom, size[1] - left - right)
    label_map = F.interpolate(sample.gt_sem_seg.get('data')[None].float(), inner)[0, 0].long()
    return F.pad(label_map, padding, value=ignore_index)


@torch.no_grad()
def _of_batch(
    segmentor: GroupViTSegmentor, inputs: Tensor, label_maps: list[Tensor]
) -> list[SegmentPrediction]:
    """Predict all crops of images ``(B, 3, H, W)`` with masks of the same size."""
    size = (inputs.shape[2], inputs.shape[3])
    predictions: list[SegmentPrediction] = []
    for rows, columns in crop_windows(size, segmentor.test_cfg):
        output = segmentor.extract_feat(inputs[:, :, rows, columns])
        head = segmentor.decode_head
        affinity = head.foreground_affinity(head.segment_affinity(output))  # (B, S, K-1)
        group_maps = output.group_map()  # (B, h, w), the size of the crop
        crops = [label_map[rows, columns] for label_map in label_maps]
        predictions += map(SegmentPrediction, affinity, group_maps, crops)
    return predictions
