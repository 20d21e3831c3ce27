"""Evaluation protocols by name: every setting between a checkpoint and its score.

Values are those of the sources. Where a source does not state its word list or its templates,
``caveat`` names the substitute, and every result carries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from groupvit_mmseg.benchmark.result_types import ProtocolFields
from groupvit_mmseg.models.inference_options import is_count, read_options
from groupvit_mmseg.text.background_thresholds import THRESHOLD_PRESETS, background_threshold
from groupvit_mmseg.text.class_list import ClassList, as_words, make_class_list
from groupvit_mmseg.text.vocabulary import is_background, parse_class_names

if TYPE_CHECKING:
    from typing_extensions import Unpack

WITH_BACKGROUND = ('pascal_voc', 'pascal_context', 'coco_object')
EVERY_CLASS = 10**6
MAX_LOGIT_SCALE = 100

ClassSet = str | tuple[str, ...]

# Common surroundings of objects in photographs; none of them is a class of VOC or COCO.
SURROUNDINGS = parse_class_names(
    """
    sky, wall, tree, grass, road, water, mountain, sand, floor, ceiling, building, cloud, door,
    window, curtain, shelf, stairs, hill, fence, rail
    """
)


@dataclass(frozen=True)
class Protocol:
    """Settings of the evaluation of one set.

    Attributes:
        name (str): Preset that it derives from.
        source (str): Origin of the preset.
        short_side (int): Pixels of the shorter side after resizing, the aspect kept.
        crop_size (int): Side of a window in pixels; 0 for whole images.
        stride (int): Pixels between windows.
        templates (str | tuple[str, ...]): Prompt templates.
        bg_thresh (float | None): Background threshold in [0, 1]; None without a background.
        background_words (tuple[str, ...]): Words whose pixels are background.
        top_k (int): Number of classes that a window keeps.
        logit_scale (float | None): Factor on the similarities; None for that of the checkpoint.
        pamr_steps (int): Iterations of PAMR on the scores; 0 for none.
        crf_steps (int): Iterations of a fully connected CRF on them; 0 for none.
        alias_pooling (str | None): ``max`` or ``mean`` over the words of a class; None for that of
            the model.
        caveat (str): Difference from the source; empty if there is none.

    Raises:
        ValueError: If a value is out of its range.
    """

    name: str
    source: str
    short_side: int = 448
    crop_size: int = 448
    stride: int = 224
    templates: str | tuple[str, ...] = 'simple'
    bg_thresh: float | None = None
    background_words: tuple[str, ...] = ()
    top_k: int = 5
    logit_scale: float | None = None
    pamr_steps: int = 0
    crf_steps: int = 0
    alias_pooling: str | None = None
    caveat: str = ''

    def __post_init__(self) -> None:
        """Turn a text of words into a tuple; refuse values out of their range."""
        object.__setattr__(self, 'background_words', as_words(self.background_words or ()))
        read_options(self.test_cfg())
        for name in ('short_side', 'top_k'):
            if not is_count(getattr(self, name)):
                raise ValueError(f'{name} = {getattr(self, name)!r} must be a positive number.')
        scale = self.logit_scale
        is_number = isinstance(scale, Real) and not isinstance(scale, bool)
        if scale is not None and not (is_number and 0 < scale <= MAX_LOGIT_SCALE):
            raise ValueError(
                f'logit_scale = {scale!r} is not above 0 and at most {MAX_LOGIT_SCALE}, '
                'where the model clamps it.'
            )

    def test_cfg(self) -> dict[str, Any]:
        """Return the entries of a segmentor's ``test_cfg``: windows, refinement, labels only."""
        size, step = (self.crop_size,) * 2, (self.stride,) * 2
        windows = dict(mode='slide', crop_size=size, stride=step)
        return dict(
            windows if self.crop_size else dict(mode='whole'),
            with_scores=False,
            with_group_map=False,
            pamr_steps=self.pamr_steps,
            crf_steps=self.crf_steps,
        )

    def class_list(
        self,
        class_set: ClassSet,
        classes: Mapping[str, Any] | None = None,
        *,
        alias_pooling: str = 'max',
    ) -> ClassList:
        """Return the prompts for a set.

        Args:
            class_set (str | tuple[str, ...]): A set that ``class_names`` knows, or names.
            classes (Mapping[str, Any], optional): Content of a class file, which replaces the set's
                own spellings. Defaults to None.
            alias_pooling (str): Pooling of the model, for protocols without one. Defaults to
                ``'max'``.

        Raises:
            ValueError: If the classes cannot be used, or their background is not that of the set
                and of the protocol.
        """
        has = has_background(class_set)
        options = {'class_names': class_set, 'with_background': has, **(classes or {})}
        if options['with_background'] != has:
            raise ValueError(
                f'{_abbreviated(class_set)} has {"a" if has else "no"} background, but the class '
                f'file has {"none" if has else "one"}: a line "background:" declares one.'
            )
        words = tuple(options.pop('background_words', ()))
        if words and words != self.background_words:
            raise ValueError(
                f'The class file has the background words {", ".join(words)}, the protocol '
                f'{", ".join(self.background_words) or "none"}: give them in one place.'
            )
        return make_class_list(
            **options,
            bg_thresh=self.bg_thresh,
            background_words=self.background_words,
            templates=self.templates,
            alias_pooling=self.alias_pooling or alias_pooling,
        )

    def changed(self, **changes: Unpack[ProtocolFields]) -> Protocol:
        """Return the protocol with some fields changed.

        Raises:
            ValueError: If there is no such field, or users may not change it.
        """
        fields = {f.name for f in dataclasses.fields(self)} - {'name', 'source', 'caveat'}
        unknown = sorted(set(changes) - fields)
        if unknown:
            raise ValueError(
                f'A protocol has no {", ".join(unknown)} to change: it has '
                f'{", ".join(sorted(fields))}.'
            )
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # in users' forms

    def fields(self) -> ProtocolFields:
        """Return every setting as JSON values, without name, source and caveat."""
        origin = ('name', 'source', 'caveat')
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k not in origin}
        return cast(ProtocolFields, fields)  # a test compares the two lists of fields

    def changes_from(self, other: Protocol) -> dict[str, object]:
        """Return the fields that differ from another protocol, with this one's values."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {key: value for key, value in mine.items() if value != theirs[key]}


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
    }
)
"""Mapping[str, Preset]: The protocols by name."""


def has_background(class_set: ClassSet) -> bool:
    """Whether the first class is the background: of a known set, or of a list of names."""
    if isinstance(class_set, str):
        return class_set in WITH_BACKGROUND
    return is_background(class_set[0])


def protocol(name: str, class_set: ClassSet, /, **changes: Unpack[ProtocolFields]) -> Protocol:
    """Return a preset's protocol for a set.

    Args:
        name (str): ``official``, ``paper``, ``tcl`` or ``sclip``.
        class_set (str | tuple[str, ...]): A set that ``class_names`` knows, ``imagenet``, or names.
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
    key = class_set if isinstance(class_set, str) else ''  # presets know no sets of users
    threshold = preset.thresholds.get(key)
    fields: ProtocolFields = {'bg_thresh': threshold, **preset.per_set.get(key, {}), **changes}
    if isinstance(fields['bg_thresh'], str):
        fields['bg_thresh'] = background_threshold(fields['bg_thresh'], class_set)
    result = preset.common.changed(**fields)
    if not has_background(class_set):
        return dataclasses.replace(result, bg_thresh=None, background_words=())
    if result.bg_thresh is None and not result.background_words:
        raise ValueError(
            f'The protocol {name!r} has no background threshold for {_abbreviated(class_set)}: '
            'give one with bg_thresh.'
        )
    return result


def _abbreviated(class_set: ClassSet) -> str:
    """Return the name of a class set, or the first of its classes."""
    return repr(class_set) if isinstance(class_set, str) else f'{", ".join(class_set[:3])} ...'
