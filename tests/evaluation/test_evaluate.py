"""Evaluation without a runner: values worked out by hand."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.utils.data import DataLoader, Dataset

from groupvit_mmseg.evaluation import ForegroundIoUMetric, PerClassIoUMetric, evaluate_segmentor

TRUTH = [[[0, 0, 1, 1]], [[1, 1, 1, 255]]]
PREDICTED = [[[0, 1, 1, 1]], [[1, 1, 0, 0]]]


class Masks(Dataset):
    """Two images of four pixels."""

    def __init__(self):
        self.metainfo = dict(classes=('background', 'cat'))

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return index, torch.tensor(TRUTH[index])


class Recorded:
    """Answers with the predictions above."""

    training = True

    def eval(self):
        self.training = False

    def test_step(self, batch):
        assert not self.training
        assert not torch.is_grad_enabled()
        return [
            SegDataSample(
                gt_sem_seg=PixelData(data=truth[None]),
                pred_sem_seg=PixelData(data=torch.tensor(PREDICTED[index])[None]),
                seg_logits=PixelData(data=torch.zeros(2, *truth.shape)),
            )
            for index, truth in batch
        ]


@pytest.mark.parametrize('batch_size', [1, 2])
def test_every_image_counts_once(batch_size):
    metric = PerClassIoUMetric()
    loader = DataLoader(Masks(), batch_size=batch_size, collate_fn=list)
    scores = evaluate_segmentor(Recorded(), loader, metric)
    # background: 1 pixel of 3; cat: 4 of 6, the ignored pixel not counted
    assert metric.class_iou == {'background': 33.3333, 'cat': 66.6667}
    assert scores['mIoU'] == pytest.approx(50)


def test_several_metrics_share_a_pass():
    loader = DataLoader(Masks(), collate_fn=list)
    scores = evaluate_segmentor(Recorded(), loader, [PerClassIoUMetric(), ForegroundIoUMetric()])
    assert scores['mIoU'] == pytest.approx(50)
    assert scores['foreground/mIoU'] == pytest.approx(100)  # one class is left
