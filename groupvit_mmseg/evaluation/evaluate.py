"""Evaluation of a segmentor on a dataloader, without a runner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmseg.datasets import BaseSegDataset
from mmseg.models.segmentors import BaseSegmentor
from torch.utils.data import DataLoader


@torch.no_grad()
def evaluate_segmentor(
    segmentor: BaseSegmentor, dataloader: DataLoader, metrics: BaseMetric | Sequence[BaseMetric]
) -> dict[str, float]:
    """Segment the images of a dataloader and measure the result.

    Args:
        segmentor (BaseSegmentor): A zero-shot segmentor, or any of MMSegmentation; it is in
            evaluation mode afterwards.
        dataloader (DataLoader): Images with masks, of a MMSegmentation data set.
        metrics (BaseMetric | Sequence[BaseMetric]): Metrics such as :class:`PerClassIoUMetric`.

    Returns:
        dict[str, float]: Value of each metric by name, such as ``mIoU`` in percent.

    Raises:
        ValueError: If a :class:`GroupViTSegmentor` has not as many classes as the masks.

    Example:
        >>> from groupvit_mmseg.evaluation import PerClassIoUMetric
        >>> metric = PerClassIoUMetric()
        >>> def miou(segmentor, dataloader):  # those of a config
        ...     return evaluate_segmentor(segmentor, dataloader, metric)['mIoU']
    """
    dataset = cast(BaseSegDataset, dataloader.dataset)
    evaluator = Evaluator(list(metrics) if isinstance(metrics, Sequence) else metrics)
    evaluator.dataset_meta = dataset.metainfo
    segmentor.eval()
    for batch in dataloader:
        evaluator.process(data_samples=segmentor.test_step(batch), data_batch=batch)
    return evaluator.evaluate(len(dataset))
