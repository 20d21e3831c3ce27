"""Threshold calibration against brute force over pixels."""

import pytest
import torch
from mmseg.evaluation import IoUMetric

from groupvit_mmseg.evaluation.calibration import SegmentPrediction, calibrate_threshold

NUM_FOREGROUND = 3


def make_predictions(num_images=7, num_groups=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    predictions = []
    for _ in range(num_images):
        affinity = torch.rand(num_groups, NUM_FOREGROUND, generator=generator) * 0.8
        group_map = torch.randint(0, num_groups, (9, 8), generator=generator)
        label_map = (affinity.argmax(1) + 1)[group_map]
        label_map[affinity.max(1).values[group_map] < 0.5] = 0
        noise = torch.rand(9, 8, generator=generator)
        label_map = torch.where(noise < 0.2, noise.mul(20).long(), label_map)
        label_map[noise > 0.95] = 255
        predictions.append(SegmentPrediction(affinity, group_map, label_map))
    return predictions


def brute_force_miou(predictions, threshold):
    """Draws the scores pixel by pixel, as the zero-shot head does, and asks MMSeg's metric."""
    metric = IoUMetric(prefix='brute')
    metric.dataset_meta = {'classes': ['background', 'a', 'b', 'c']}
    for item in predictions:
        scores = item.affinity[item.group_map].permute(2, 0, 1)
        limit = min(threshold, float(item.affinity.max()))
        background = (scores.max(0).values < limit).to(scores)[None]
        prediction = torch.cat([background, scores]).argmax(0, keepdim=True)
        truth = item.label_map[None]
        metric.process({}, [{'pred_sem_seg': {'data': prediction}, 'gt_sem_seg': {'data': truth}}])
    return metric.evaluate(len(predictions))['brute/mIoU']


def test_curve_is_that_of_brute_force():
    predictions = make_predictions()
    thresholds = [0.0, 0.2, 0.45, 0.5, 0.6, 0.75, 0.95, 1.0]
    result = calibrate_threshold(predictions, thresholds=thresholds)
    expected = [brute_force_miou(predictions, threshold) for threshold in thresholds]
    assert [miou for _, miou in result.curve] == pytest.approx(expected, abs=0.006)
    assert len({round(miou, 2) for miou in expected}) > 3
    assert result.miou == max(miou for _, miou in result.curve)
    assert result.num_crops == 7


@pytest.mark.parametrize(
    'label, message',
    [
        (0, 'have 504 pixels of background and 0 of other classes'),
        (2, 'have 0 pixels of background and 504 of other classes'),
        (255, 'have 0 pixels of background and 0 of other classes'),
    ],
)
def test_masks_without_background_or_without_foreground_choose_nothing(label, message):
    predictions = [
        item._replace(label_map=item.label_map * 0 + label) for item in make_predictions()
    ]
    with pytest.raises(ValueError, match=message):
        calibrate_threshold(predictions)


def test_default_candidates_find_the_rule_the_masks_were_made_by():
    result = calibrate_threshold(make_predictions(num_images=40))
    assert abs(result.threshold - 0.5) < 0.02
    assert result.miou == max(miou for _, miou in result.curve)


def test_quantiles_reach_thresholds_between_the_steps():
    affinity = torch.tensor([[0.0031], [0.0032], [0.9]])
    group_map, label_map = torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]])
    result = calibrate_threshold([SegmentPrediction(affinity, group_map, label_map)])
    assert 0.0031 < result.threshold <= 0.0032
    assert result.miou == 100.0


def test_the_middle_of_a_plateau_is_chosen():
    predictions = [
        SegmentPrediction(
            torch.tensor([[0.2], [0.8]]), torch.tensor([[0, 1]]), torch.tensor([[0, 1]])
        )
    ]
    result = calibrate_threshold(predictions, thresholds=[0.1, 0.3, 0.5, 0.7])
    assert result.threshold == 0.5
    assert '1 crops' in result.provenance
    assert '4 thresholds' in result.provenance


def test_a_generator_is_enough():
    predictions = make_predictions()
    assert calibrate_threshold(item for item in predictions) == calibrate_threshold(predictions)


def test_no_image_and_bad_thresholds_are_refused():
    with pytest.raises(ValueError, match='No image'):
        calibrate_threshold([])
    with pytest.raises(ValueError, match=r'\[0, 1\]'):
        calibrate_threshold(make_predictions(), thresholds=[0.5, 1.5])
