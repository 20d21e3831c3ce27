"""Metrics that MMSeg lacks, thresholds by name, and ``report``, the result file.

Never imports ``models``.
"""

from .calibration import SegmentEvidence, ThresholdCalibration, calibrate_threshold
from .metrics import OracleIoUMetric, PerClassIoUMetric, best_classes, count_labels
from .presets import THRESHOLD_PRESETS, background_threshold, preset_of

__all__ = [
    'THRESHOLD_PRESETS',
    'OracleIoUMetric',
    'PerClassIoUMetric',
    'SegmentEvidence',
    'ThresholdCalibration',
    'background_threshold',
    'best_classes',
    'calibrate_threshold',
    'count_labels',
    'preset_of',
]
