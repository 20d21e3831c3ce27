"""Metrics that MMSeg lacks, thresholds by name, and ``report``, the result file.

Never imports ``models``.
"""

from .calibration import SegmentEvidence, ThresholdCalibration, calibrate_threshold
from .evidence import collect_evidence, crop_windows
from .metrics import (
    ForegroundIoUMetric,
    OracleIoUMetric,
    PerClassIoUMetric,
    best_classes,
    count_labels,
)
from .presets import THRESHOLD_PRESETS, background_threshold, preset_of
from .shapes import BoundaryIoUMetric, MaskProbingMetric

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
