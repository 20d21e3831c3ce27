"""Evaluation protocols by name: every setting between a checkpoint and its score.

Values are those of the sources. Where a source does not state its word list or its templates,
``caveat`` names the substitute, and every result carries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from groupvit_mmseg.benchmark.evaluation_protocol import (
    EVERY_CLASS,
    WITH_BACKGROUND,
    ClassSet,
    Protocol,
    abbreviated,
    has_background,
)
from groupvit_mmseg.benchmark.result_types import ProtocolFields
from groupvit_mmseg.text.background_thresholds import THRESHOLD_PRESETS, background_threshold
from groupvit_mmseg.text.vocabulary import parse_class_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Common surroundings of objects in photographs; none of them is a class of VOC or COCO.
SURROUNDINGS = parse_class_names(
    """
    sky, wall, tree, grass, road, water, mountain, sand, floor, ceiling, building, cloud, door,
    window, curtain, shelf, stairs, hill, fence, rail
    """
)


@dataclass(frozen=True)
class Preset:
    """Protocol with the fields that differ from set to set.

    Attributes:
        common (Protocol): Fields that all sets share.
        thresholds (Mapping[str, float]): Background threshold by class set.
        per_set (Mapping[str, ProtocolFields]): Other fields by class set.
    """

    common: Protocol
    thresholds: Mapping[str, float] = field(default_factory=dict)
    per_set: Mapping[str, ProtocolFields] = field(default_factory=dict)


PROMPTS_OURS = (
    'its templates and classes per window are not stated here: those of GroupViT stand in'
)
WINDOWS_OURS = 'its windows are not stated here: those of SCLIP, 224 / 112, stand in'


def _of_a_peer(
    name: str,
    source: str,
    short_side: int,
    windows: tuple[int, int],
    thresholds: tuple[float, float, float] | None,
    *,
    caveat: str = '',
    **per_set: ProtocolFields,
) -> Preset:
    """Return the protocol of a training-free method on CLIP: 80 templates, every class per window.

    Args:
        name (str): Name of the protocol.
        source (str): Name of the method.
        short_side (int): Pixels of the shorter side.
        windows (tuple[int, int]): Side and stride of the windows.
        thresholds (tuple[float, float, float], optional): Of VOC, Context and COCO-Object.
        caveat (str): Difference from the source.
        **per_set: Other fields by class set.
    """
    common = Protocol(
        name,
        source,
        short_side=short_side,
        crop_size=windows[0],
        stride=windows[1],
        templates='full',
        top_k=EVERY_CLASS,
        caveat=caveat,
    )
    return Preset(common, dict(zip(WITH_BACKGROUND, thresholds or (), strict=False)), per_set)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        'official': Preset(
            Protocol('official', THRESHOLD_PRESETS['official'].source),
            THRESHOLD_PRESETS['official'].values,
        ),
        'paper': Preset(
            Protocol('paper', THRESHOLD_PRESETS['paper'].source),
            THRESHOLD_PRESETS['paper'].values,
        ),
        'tcl': Preset(
            Protocol(
                'tcl',
                'unified protocol of TCL',
                templates='subset',
                caveat='the 7-template subset stands in for nine templates that are not stated',
            ),
            dict.fromkeys(WITH_BACKGROUND, 0.5),
        ),
        'sclip': Preset(
            Protocol(
                'sclip',
                'SCLIP',
                short_side=336,
                crop_size=224,
                stride=112,
                templates='full',
                top_k=EVERY_CLASS,
                logit_scale=40.0,
                caveat='background names are ours, the source states only that there are several',
            ),
            dict.fromkeys(WITH_BACKGROUND, 0.1),
            {
                'cityscapes': dict(short_side=560),
                'coco_stuff': dict(short_side=448),
                'pascal_voc': dict(background_words=SURROUNDINGS),
                'coco_object': dict(background_words=SURROUNDINGS),
            },
        ),
        'clearclip': _of_a_peer(
            'clearclip',
            'ClearCLIP',
            448,
            (448, 224),
            (0.5, 0.15, 0.4),
            cityscapes=dict(crop_size=224, stride=112),
            caveat='the stride of 112 on Cityscapes is ours, the source states the window only',
        ),
        'naclip': _of_a_peer(
            'naclip',
            'NACLIP',
            336,
            (224, 112),
            (0.1, 0.1, 0.1),
            cityscapes=dict(short_side=560),
            caveat='the headline of the source has PAMR (pamr_steps=10); its templates are not '
            'stated here, the 80 stand in',
        ),
        'segclip': Preset(
            Protocol(
                'segclip',
                'SegCLIP',
                short_side=224,
                crop_size=224,
                stride=224,
                caveat=PROMPTS_OURS,
            ),
            dict(zip(WITH_BACKGROUND, (0.8, 0.25, 0.65))),
        ),
        'ovsegmentor': Preset(
            Protocol('ovsegmentor', 'OVSegmentor', caveat=PROMPTS_OURS),
            dict(zip(WITH_BACKGROUND, (0.95, 0.35, 0.9))),
        ),
        'trident': _of_a_peer(
            'trident',
            'Trident',
            448,
            (224, 112),
            (0.2, 0.15, 0.25),
            pascal_context=dict(short_side=576),
            pascal_context59=dict(short_side=576),
            cityscapes=dict(short_side=688),
            caveat=WINDOWS_OURS,
        ),
        'corrclip': _of_a_peer(
            'corrclip',
            'CorrCLIP',
            336,
            (224, 112),
            (0.2, 0.15, 0.25),
            cityscapes=dict(short_side=448),
            caveat=WINDOWS_OURS,
        ),
        'cass': _of_a_peer(
            'cass',
            'CASS',
            336,
            (224, 112),
            (0.1, 0.1, 0.1),
            cityscapes=dict(short_side=560),
            caveat=WINDOWS_OURS,
        ),
        'textregion': _of_a_peer(
            'textregion',
            'TextRegion',
            672,
            (224, 112),
            (0.4, 0.35, 0.5),
            cityscapes=dict(short_side=1344),
            caveat=WINDOWS_OURS,
        ),
        'dinotxt': _of_a_peer(
            'dinotxt',
            'dino.txt',
            512,
            (384, 192),
            None,
            caveat='the source evaluates sets without a background: give bg_thresh for the others; '
            'its templates are not stated here, the 80 stand in',
        ),
    }
)
"""Mapping[str, Preset]: The protocols by name."""


def protocol(
    name: str, class_set: ClassSet, neighbour: str = '', /, **changes: Unpack[ProtocolFields]
) -> Protocol:
    """Return a preset's protocol for a set.

    Args:
        name (str): A key of ``PRESETS``, such as ``official``.
        class_set (str | tuple[str, ...]): A set that ``class_names`` knows, ``imagenet``, or names.
        neighbour (str): Known set whose sizes stand in where the classes are given by names.
            Defaults to ``''``, none.
        **changes: Fields of :class:`Protocol` to change; ``bg_thresh`` may also be the name of a
            preset of thresholds.

    Returns:
        Protocol: The values for this set, with the changes.

    Raises:
        ValueError: If the preset or a field is not known, or neither the preset nor the changes
            have a threshold for a set with a background.

    Example:
        >>> protocol('official', 'pascal_voc').bg_thresh
        0.95
        >>> sclip = protocol('sclip', 'cityscapes', pamr_steps=10)
        >>> sclip.short_side, sclip.crop_size, sclip.pamr_steps
        (560, 224, 10)
        >>> sclip.changes_from(protocol('sclip', 'cityscapes'))
        {'pamr_steps': 10}
    """
    if name not in PRESETS:
        raise ValueError(f'Unknown protocol {name!r}: use one of {", ".join(PRESETS)}.')
    preset = PRESETS[name]
    # Presets know no sets by names.
    key = class_set if isinstance(class_set, str) else neighbour
    threshold = preset.thresholds.get(key)
    fields: ProtocolFields = {'bg_thresh': threshold, **preset.per_set.get(key, {}), **changes}
    if isinstance(fields['bg_thresh'], str):
        fields['bg_thresh'] = background_threshold(fields['bg_thresh'], class_set)
    result = preset.common.changed(**fields)
    if neighbour:
        result = _with_stand_in(result, len(class_set), neighbour)
    if not has_background(class_set):
        return dataclasses.replace(result, bg_thresh=None, background_words=())
    if result.bg_thresh is None and not result.background_words:
        raise ValueError(
            f'The protocol {name!r} has no background threshold for {abbreviated(class_set)}: '
            'give one with bg_thresh.'
        )
    return result


def _with_stand_in(result: Protocol, num_classes: int, neighbour: str) -> Protocol:
    """Add the set whose sizes stand in to the caveat."""
    note = f'no sizes are stated for {num_classes} classes: those for {neighbour} stand in'
    return dataclasses.replace(result, caveat='; '.join(filter(None, (result.caveat, note))))
