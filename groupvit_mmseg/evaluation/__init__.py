"""Metrics that MMSegmentation lacks, calibration of background thresholds, probes."""

from groupvit_mmseg.evaluation.calibration import (
    SegmentPrediction,
    ThresholdCalibration,
    calibrate_threshold,
)
from groupvit_mmseg.evaluation.confusion import count_labels
from groupvit_mmseg.evaluation.evaluate import evaluate_segmentor
from groupvit_mmseg.evaluation.metrics import (
    ForegroundIoUMetric,
    ImageTagIoUMetric,
    OracleIoUMetric,
    PerClassIoUMetric,
    best_classes,
)
from groupvit_mmseg.evaluation.predictions import collect_predictions
from groupvit_mmseg.evaluation.shape_metrics import BoundaryIoUMetric, MaskProbingMetric
from groupvit_mmseg.evaluation.threshold_search import calibrate_segmentor

__all__ = [
    'BoundaryIoUMetric',
    'ForegroundIoUMetric',
    'ImageTagIoUMetric',
    'MaskProbingMetric',
    'OracleIoUMetric',
    'PerClassIoUMetric',
    'SegmentPrediction',
    'ThresholdCalibration',
    'best_classes',
    'calibrate_segmentor',
    'calibrate_threshold',
    'collect_predictions',
    'count_labels',
    'evaluate_segmentor',
]
