"""Metrics that MMSeg lacks, thresholds by name, and ``report``, the result file.

Never imports ``models``.
"""

from groupvit_mmseg.evaluation.calibration import (
    SegmentEvidence,
    ThresholdCalibration,
    calibrate_threshold,
)
from groupvit_mmseg.evaluation.metrics import (
    ForegroundIoUMetric,
    OracleIoUMetric,
    PerClassIoUMetric,
    best_classes,
    count_labels,
)
from groupvit_mmseg.evaluation.predictions import collect_evidence
from groupvit_mmseg.evaluation.shape_metrics import BoundaryIoUMetric, MaskProbingMetric
from groupvit_mmseg.models.windows import crop_windows
from groupvit_mmseg.text.background_thresholds import (
    THRESHOLD_PRESETS,
    background_threshold,
    preset_of,
)

__all__ = [
    'THRESHOLD_PRESETS',
    'BoundaryIoUMetric',
    'ForegroundIoUMetric',
    'MaskProbingMetric',
    'OracleIoUMetric',
    'PerClassIoUMetric',
    'SegmentEvidence',
    'ThresholdCalibration',
    'background_threshold',
    'best_classes',
    'calibrate_threshold',
    'collect_evidence',
    'count_labels',
    'crop_windows',
    'preset_of',
]
