"""Per-class IoU and the oracle, against numbers worked out by hand and against ``IoUMetric``."""

import pytest
import torch
from mmseg.evaluation import IoUMetric

from groupvit_mmseg.benchmark.study_evaluation import METRIC_TYPES
from groupvit_mmseg.evaluation.metrics import (
    ForegroundIoUMetric,
    ImageTagIoUMetric,
    OracleIoUMetric,
    PerClassIoUMetric,
    best_classes,
    central_ellipse,
)
from groupvit_mmseg.evaluation.shape_metrics import MaskProbingMetric

CLASSES = ('background', 'cat', 'dog', 'bus')


def sample(prediction, label, group_map=None):
    data = {
        'pred_sem_seg': {'data': torch.tensor(prediction)[None]},
        'gt_sem_seg': {'data': torch.tensor(label)[None]},
    }
    if group_map is not None:
        data['pred_group_map'] = {'data': torch.tensor(group_map)[None]}
    return data


def evaluate(metric, samples):
    metric.dataset_meta = {'classes': CLASSES}
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def test_class_iou_by_hand():
    metric = PerClassIoUMetric()
    result = evaluate(metric, [sample([[0, 1, 1, 1]], [[0, 0, 1, 255]])])
    assert metric.class_iou == {'background': 50.0, 'cat': 50.0, 'dog': None, 'bus': None}
    assert result['mIoU'] == 50.0
    assert type(result['mIoU']) is float


def test_aggregates_are_those_of_ioumetric():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(0, 4, (6, 2, 9, 7), generator=generator).tolist()
    samples = [sample(prediction, label) for prediction, label in maps]
    assert evaluate(PerClassIoUMetric(), samples) == evaluate(IoUMetric(), samples)


def test_sums_over_many_pixels_are_exact_in_any_order():
    label = torch.zeros(1, 4097, 4097, dtype=torch.long)  # 2^24 pixels and a few
    few = torch.ones(1, 1, 3, dtype=torch.long)
    metric = PerClassIoUMetric()
    areas = [metric.intersect_and_union(m[0], m[0], 4, 255) for m in (label, few * 0, few)]
    for order in (areas, areas[::-1]):
        assert sum(area[0] for area in order).tolist() == [4097**2 + 3, 3, 0, 0]


def test_class_iou_is_the_mean_over_all_images():
    metric = PerClassIoUMetric()
    evaluate(metric, [sample([[1, 1]], [[1, 0]]), sample([[0, 0]], [[0, 0]])])
    assert metric.class_iou['cat'] == 50.0
    assert metric.class_iou['background'] == pytest.approx(66.6667)


def test_no_prefix_is_not_warned_about(caplog):
    PerClassIoUMetric()
    assert not caplog.records


def naive_best_classes(group_map, label_map, num_classes):
    best = []
    for segment in range(int(group_map.max()) + 1):
        known = label_map != 255
        inside = (group_map == segment) & known
        ious = []
        for label in range(num_classes):
            truth = label_map == label
            union = (inside | truth).sum()
            ious.append(float((inside & truth).sum() / union) if union else 0.0)
        best.append(ious.index(max(ious)))
    return best


def test_best_classes_against_masks_compared_one_by_one():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        group_map = torch.randint(0, 5, (8, 6), generator=generator)
        label_map = torch.randint(0, 4, (8, 6), generator=generator)
        label_map[torch.rand(8, 6, generator=generator) < 0.2] = 255
        assert best_classes(group_map, label_map, 4).tolist() == naive_best_classes(
            group_map, label_map, 4
        )


def test_oracle_is_perfect_where_segments_are_the_masks():
    group_map = [[3, 3, 0, 0], [3, 1, 1, 0]]
    label = [[2, 2, 0, 0], [2, 1, 1, 255]]
    result = evaluate(OracleIoUMetric(), [sample([[0] * 4] * 2, label, group_map)])
    assert result['oracle/mIoU'] == 100.0


def test_oracle_by_hand_for_a_segment_over_two_classes():
    # The left segment covers all of "cat" and half of "dog": IoU 2/4 with each, the lower index
    # wins; the right segment is the other half of "dog".
    label = [[1, 1, 2, 2, 2, 2]]
    group_map = [[0, 0, 0, 0, 1, 1]]
    metric = OracleIoUMetric()
    evaluate(metric, [sample([[0] * 6], label, group_map)])
    assert metric.class_iou == {'background': None, 'cat': 50.0, 'dog': 50.0, 'bus': None}


def test_oracle_leaves_the_sample_as_it_was():
    data = sample([[0, 0]], [[1, 2]], [[0, 1]])
    evaluate(OracleIoUMetric(), [data])
    assert data['pred_sem_seg']['data'].tolist() == [[[0, 0]]]


def test_oracle_without_group_maps_says_what_to_do():
    with pytest.raises(KeyError, match='no pred_group_map'):
        evaluate(OracleIoUMetric(), [sample([[0]], [[0]])])


def test_metrics_of_the_foreground_refuse_a_set_without_a_background():
    metric = ForegroundIoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=['wall', 'cat'])
    one = sample([[0, 1]], [[0, 1]])
    with pytest.raises(KeyError, match='found no seg_logits'):
        metric.process({}, [one])
    one['seg_logits'] = {'data': torch.zeros(2, 1, 2)}
    with pytest.raises(ValueError, match="leaves out label 0, which is 'wall' here"):
        metric.process({}, [one])
    probing = MaskProbingMetric()
    probing.dataset_meta = dict(classes=['wall', 'cat'])
    with pytest.raises(ValueError, match="MaskProbingMetric leaves out label 0, which is 'wall'"):
        probing.process({}, [sample([[0, 1]], [[0, 1]], [[0, 1]])])


def test_labels_that_the_metric_does_not_know_are_refused():
    with pytest.raises(ValueError, match='labels from 0 to 255, but there are 4 classes'):
        evaluate(
            PerClassIoUMetric(iou_metrics=['mIoU'], ignore_index=9), [sample([[0, 1]], [[0, 255]])]
        )


def test_a_metric_without_classes_says_what_to_set():
    with pytest.raises(ValueError, match='OracleIoUMetric has no classes: set dataset_meta'):
        OracleIoUMetric().process({}, [sample([[0]], [[0]], [[0]])])


def test_no_pixel_that_counts_is_no_score():
    metric = PerClassIoUMetric(iou_metrics=['mIoU'])
    with pytest.raises(ValueError, match='counts no pixel of 2 images'):
        evaluate(metric, [sample([[0, 1]], [[255, 255]])] * 2)


def test_foreground_by_hand():
    # The background wins at the second pixel, whose best foreground class is "dog".
    logits = torch.tensor([[0.0, 1, 0, 0], [0.9, 0.1, 0.2, 0.8], [0.1, 0.3, 0.7, 0], [0, 0, 0, 0]])
    data = sample([[1, 0, 2, 1]], [[1, 2, 2, 0]])
    data['seg_logits'] = dict(data=logits[:, None])
    metric = ForegroundIoUMetric()
    result = evaluate(metric, [data])
    assert metric.class_iou == {'background': None, 'cat': 100.0, 'dog': 100.0, 'bus': None}
    assert result['foreground/mIoU'] == 100.0
    assert data['gt_sem_seg']['data'].tolist() == [[[1, 2, 2, 0]]]


def test_foreground_is_what_a_set_without_background_scores():
    generator = torch.Generator().manual_seed(2)
    logits = torch.rand(5, 4, 8, 6, generator=generator)
    labels = torch.randint(0, 4, (5, 8, 6), generator=generator)
    foreground, plain = ForegroundIoUMetric(), PerClassIoUMetric()
    plain.dataset_meta = dict(classes=CLASSES[1:])
    foreground.dataset_meta = dict(classes=CLASSES)
    for scores, label in zip(logits, labels, strict=True):
        data = sample([[0]], label.tolist())
        data['seg_logits'] = dict(data=scores)
        foreground.process({}, [data])
        without = torch.where(label == 0, 255, label - 1)
        plain.process({}, [sample(scores[1:].argmax(0).tolist(), without.tolist())])
    assert foreground.evaluate(5)['foreground/mIoU'] == plain.evaluate(5)['mIoU']


def test_the_oracle_keeps_labels_above_255():
    """Group maps have one byte a pixel: 300 would become 44 in it, and 65535 255."""
    metric = OracleIoUMetric(ignore_index=65535)
    metric.dataset_meta = {'classes': [str(label) for label in range(301)]}
    group_map = torch.tensor([[[0, 0, 1, 1]]])
    label = torch.tensor([[[300, 300, 255, 65535]]])
    data = {'gt_sem_seg': {'data': label}, 'pred_sem_seg': {'data': torch.zeros_like(label)}}
    metric.process({}, [{**data, 'pred_group_map': {'data': group_map}}])
    metric.evaluate(1)
    assert {name: v for name, v in metric.class_iou.items() if v is not None} == {
        '255': 100.0,
        '300': 100.0,
    }
    probing = MaskProbingMetric(ignore_index=65535)
    probing.dataset_meta = {'classes': ['background', *map(str, range(1, 301))]}
    sample = {
        'pred_group_map': {'data': group_map.to(torch.uint8)},
        'gt_sem_seg': {'data': torch.tensor([[[256, 512, 0, 65535]]])},
    }
    probing.process({}, [sample])
    assert probing.evaluate(1)['probing/jaccard'] == 100.0


def tagged(scores, label):
    data = sample(label, label)
    data['seg_logits'] = {'data': torch.tensor(scores)}
    return data


def test_the_best_word_is_painted_over_the_whole_image():
    # Channels: background, cat, dog, bus. The cat is weak everywhere, the dog strong on a half.
    scores = [[[1.0, 0.0]], [[0.5, 0.5]], [[0.0, 0.99]], [[0.1, 0.1]]]
    label = [[0, 2]]
    metric = ImageTagIoUMetric(iou_metrics=['mIoU'])
    result = evaluate(metric, [tagged(scores, label)])
    assert metric.class_iou == {'background': 0.0, 'cat': None, 'dog': 50.0, 'bus': None}
    assert result['tag/mIoU'] == 25.0
    foreground = ImageTagIoUMetric(foreground_only=True)
    assert evaluate(foreground, [tagged(scores, label)])['tag_foreground/mIoU'] == 100.0
    # Near the mean, which is .5 for the cat and .495 for the dog.
    mean = ImageTagIoUMetric(smooth_max_beta=1e-3)
    evaluate(mean, [tagged(scores, label)])
    assert mean.class_iou['cat'] == 0.0


def test_without_a_background_every_class_is_a_word():
    metric = ImageTagIoUMetric()
    metric.dataset_meta = {'classes': ('sand', 'ball')}
    metric.process({}, [tagged([[[0.9, 0.9]], [[0.1, 0.1]]], [[0, 1]])])
    metric.evaluate(1)
    assert metric.class_iou == {'sand': 50.0, 'ball': 0.0}
    metric = ImageTagIoUMetric(foreground_only=True)
    metric.dataset_meta = {'classes': ('sand', 'ball')}
    with pytest.raises(ValueError, match="label 0, which is 'sand'"):
        metric.process({}, [tagged([[[0.9, 0.9]], [[0.1, 0.1]]], [[0, 1]])])


def test_the_tag_in_the_middle_leaves_the_rest_to_the_background():
    scores = torch.zeros(4, 3, 4)
    scores[2] = 0.5  # the dog's
    label = [[0, 0, 0, 0], [0, 2, 2, 1], [0, 0, 0, 0]]
    metric = ImageTagIoUMetric(center_share=0.3)
    result = evaluate(metric, [tagged(scores.tolist(), label)])
    assert metric.class_iou == {'background': 90.0, 'cat': 0.0, 'dog': 100.0, 'bus': None}
    assert result['tag_center/mIoU'] == 63.33


@pytest.mark.parametrize('options', [dict(center_share=0.0), dict(center_share=0.8)])
def test_the_middle_is_a_part_of_the_image(options):
    with pytest.raises(ValueError, match='must be above 0 and at most pi / 4'):
        ImageTagIoUMetric(**options)


def test_the_middle_is_of_the_image_and_not_of_its_foreground():
    with pytest.raises(ValueError, match='without foreground_only'):
        ImageTagIoUMetric(center_share=0.3, foreground_only=True)


def test_the_middle_needs_a_background():
    metric = ImageTagIoUMetric(center_share=0.3)
    metric.dataset_meta = {'classes': ('sand', 'ball')}
    with pytest.raises(ValueError, match="label 0, which is 'sand'"):
        metric.process({}, [tagged([[[0.9, 0.9]], [[0.1, 0.1]]], [[0, 1]])])


@pytest.mark.parametrize('share', [0.1, 0.3, 0.7])
def test_the_ellipse_covers_its_share(share):
    assert central_ellipse(300, 500, share=share).float().mean() == pytest.approx(share, abs=1e-3)


def test_the_tag_needs_scores():
    metric = ImageTagIoUMetric()
    metric.dataset_meta = {'classes': CLASSES}
    with pytest.raises(KeyError, match='with_scores=True'):
        metric.process({}, [sample([[1]], [[1]])])


def test_every_metric_of_a_study_works_in_the_validation_loop(make_runner):
    """In ``ZeroShotValLoop``, on things + background: the first class is taken for it."""
    names = ['background', 'green', 'blue']
    evaluator = [dict(config, _scope_='mmseg') for config in METRIC_TYPES.values()]
    runner = make_runner(
        val_evaluator=evaluator,
        default_hooks=dict(checkpoint=None),  # saves the best during training
        val_dataloader=dict(dataset=dict(metainfo=dict(classes=names))),
        val_cfg=dict(
            segmentor=dict(
                decode_head=dict(class_names=names, with_background=True, bg_thresh=0.5),
                test_cfg=dict(mode='whole', with_group_map=True),
            )
        ),
    )
    values = runner.val()
    prefixes = {name.rpartition('/')[0] for name in values}
    assert prefixes == set(METRIC_TYPES)
    assert values['tag/mIoU'] <= values['oracle/mIoU']
