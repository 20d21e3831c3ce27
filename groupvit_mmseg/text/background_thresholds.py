"""Background thresholds of zero-shot segmentation, by their source.

The released evaluation and the paper's text disagree, so a number without its source cannot be
compared: configs name a preset, and a result file names the preset its threshold belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class ThresholdPreset(NamedTuple):
    """Thresholds of one source.

    Attributes:
        source (str): Where the numbers are written.
        values (Mapping[str, float]): Threshold on the affinity, in [0, 1], by class set.
    """

    source: str
    values: Mapping[str, float]


THRESHOLD_PRESETS: Mapping[str, ThresholdPreset] = MappingProxyType(
    {
        'official': ThresholdPreset(
            source="evaluation settings of the authors' release",
            values=MappingProxyType(
                {'pascal_voc': 0.95, 'pascal_context': 0.35, 'coco_object': 0.95}
            ),
        ),
        'paper': ThresholdPreset(
            source='text of arXiv 2202.11094, which gives none for COCO',
            values=MappingProxyType({'pascal_voc': 0.9, 'pascal_context': 0.5}),
        ),
    }
)
"""Mapping[str, ThresholdPreset]: The presets by name."""


def background_threshold(preset: str, class_set: str | Sequence[str]) -> float:
    """Look up the threshold of a source for a class set.

    Args:
        preset (str): ``official`` or ``paper``.
        class_set (str | Sequence[str]): ``pascal_voc``, ``pascal_context`` or ``coco_object``; a
            list of names belongs to no preset.

    Returns:
        float: The threshold, in [0, 1].

    Raises:
        ValueError: If the preset is not known, or has no threshold for the class set.

    Example:
        >>> [background_threshold(preset, 'pascal_voc') for preset in ('official', 'paper')]
        [0.95, 0.9]
    """
    if preset not in THRESHOLD_PRESETS:
        raise ValueError(
            f'Unknown background threshold preset {preset!r}: use one of '
            f'{", ".join(THRESHOLD_PRESETS)}, or a number.'
        )
    values = THRESHOLD_PRESETS[preset].values
    if not isinstance(class_set, str) or class_set not in values:
        raise ValueError(
            f'The preset {preset!r} has no background threshold for {class_set!r}, only for '
            f'{", ".join(values)}: give a number.'
        )
    return values[class_set]


def preset_of(threshold: float | None, class_set: str | None) -> str | None:
    """Return the name of the preset with this threshold for a class set; None if there is none."""
    for name, preset in THRESHOLD_PRESETS.items():
        if threshold is not None and preset.values.get(class_set or '') == threshold:
            return name
    return None
