"""Evaluation protocols by name: everything between a checkpoint and a number, each field to change.

Figures are those the sources state; where a source's own word list or templates are not stated,
``caveat`` says what stands in for them, and every result carries it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any

from groupvit_mmseg.models.inference_options import is_count, read_options
from groupvit_mmseg.text.background_thresholds import THRESHOLD_PRESETS, background_threshold
from groupvit_mmseg.text.class_list import ClassList, as_words, make_class_list
from groupvit_mmseg.text.vocabulary import is_background, parse_class_names

WITH_BACKGROUND = ('pascal_voc', 'pascal_context', 'coco_object')
EVERY_CLASS = 10**6
MAX_LOGIT_SCALE = 100

ClassSet = str | tuple[str, ...]

# What photographs show around the things of a class list; names that are classes are left out.
SURROUNDINGS = parse_class_names(
    """
    sky, wall, tree, grass, road, water, mountain, sand, floor, ceiling, building, cloud, door,
    window, curtain, shelf, stairs, hill, fence, rail
    """
)


@dataclass(frozen=True)
class Protocol:
    """How one set is evaluated.

    Attributes:
        name (str): Preset that it began as.
        source (str): Who evaluates so.
        short_side (int): Pixels of the shorter side after resizing, the aspect kept.
        crop_size (int): Side of a window in pixels; 0 takes whole images.
        stride (int): Pixels between windows.
        templates (str | tuple[str, ...]): Prompt templates.
        bg_thresh (float | None): Background threshold in [0, 1]; None without a background.
        background_words (tuple[str, ...]): Words whose pixels are background.
        top_k (int): Classes that a window lets through.
        logit_scale (float | None): Factor on the similarities; None keeps the checkpoint's.
        pamr_steps (int): Iterations of PAMR on the scores; 0 for none.
        crf_steps (int): Iterations of a fully connected CRF on them; 0 for none.
        alias_pooling (str | None): ``max`` or ``mean`` over the words of a class; None keeps that
            of the model as it is.
        caveat (str): What differs from the source; empty if nothing does.

    Raises:
        ValueError: If a figure is out of its range.
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
        """Words given as a text become a tuple; figures out of their range are refused."""
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
        """What a segmentor's ``test_cfg`` must have for it: labels only, windows, refinement."""
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
        """What is prompted for a set.

        Args:
            class_set (str | tuple[str, ...]): As ``class_names`` knows it, or names.
            classes (Mapping[str, Any], optional): What ``read_class_file`` gives, in the place of
                the set's own spellings. Defaults to None.
            alias_pooling (str): Of the model, for protocols that have none. Defaults to ``'max'``.

        Raises:
            ValueError: If the classes cannot be used, or their background is not that of the set
                and of the protocol.
        """
        decided = [
            key for key in ('bg_thresh', 'templates', 'alias_pooling') if key in (classes or {})
        ]
        if decided:
            raise ValueError(
                f'The class file has {", ".join(decided)}, which the protocol decides: '
                f'leave it out of the file, and give it with --change {decided[0]}=...'
            )
        has = has_background(class_set)
        given: dict[str, Any] = {
            'class_names': class_set,
            'with_background': has,
            **(classes or {}),
        }
        if given['with_background'] != has:
            raise ValueError(
                f'{_told(class_set)} has {"a" if has else "no"} background, but the class file has '
                f'{"none" if has else "one"}: begin it with a background, or leave that out.'
            )
        words = tuple(given.pop('background_words', ()))
        if words and words != self.background_words:
            raise ValueError(
                f'The class file has the background words {", ".join(words)}, the protocol '
                f'{", ".join(self.background_words) or "none"}: give them in one place.'
            )
        return make_class_list(
            **given,
            bg_thresh=self.bg_thresh,
            background_words=self.background_words,
            templates=self.templates,
            alias_pooling=self.alias_pooling or alias_pooling,
        )

    def changed(self, **changes: Any) -> Protocol:
        """The protocol with some fields changed.

        Raises:
            ValueError: If there is no such field, or it is not for the user to change.
        """
        fields = {f.name for f in dataclasses.fields(self)} - {'name', 'source', 'caveat'}
        unknown = sorted(set(changes) - fields)
        if unknown:
            raise ValueError(
                f'A protocol has no {", ".join(unknown)} to change: it has '
                f'{", ".join(sorted(fields))}.'
            )
        return dataclasses.replace(self, **changes)

    def fields(self) -> dict[str, Any]:
        """Every figure, as JSON knows it; not where the protocol comes from."""
        told = ('name', 'source', 'caveat')
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in told}

    def changes_from(self, other: Protocol) -> dict[str, Any]:
        """Fields that differ from another protocol, with this one's values."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {key: value for key, value in mine.items() if value != theirs[key]}


@dataclass(frozen=True)
class Preset:
    """A protocol and what it changes from set to set.

    Attributes:
        common (Protocol): What all sets share.
        thresholds (Mapping[str, float]): Background threshold by class set.
        per_set (Mapping[str, Mapping]): Other fields by class set.
    """

    common: Protocol
    thresholds: Mapping[str, float] = field(default_factory=dict)
    per_set: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


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
    known = class_set in WITH_BACKGROUND
    return known if isinstance(class_set, str) else is_background(class_set[0])


def protocol(name: str, class_set: ClassSet, /, **changes: Any) -> Protocol:
    """The protocol that a preset gives a set.

    Args:
        name (str): ``official``, ``paper``, ``tcl`` or ``sclip``.
        class_set (str | tuple[str, ...]): As ``class_names`` knows it, or ``imagenet``, or names.
        **changes: Fields of :class:`Protocol` to change.

    Returns:
        Protocol: The figures of this set, with the changes.

    Raises:
        ValueError: If the preset or a field is not known, or the preset has no threshold for a set
            with a background and none is given.
    """
    if name not in PRESETS:
        raise ValueError(f'Unknown protocol {name!r}: use one of {", ".join(PRESETS)}.')
    preset = PRESETS[name]
    key = class_set if isinstance(class_set, str) else ''  # presets say nothing about other sets
    own = {'bg_thresh': preset.thresholds.get(key), **preset.per_set.get(key, {})}
    given = own | changes
    if isinstance(given['bg_thresh'], str):
        given['bg_thresh'] = background_threshold(given['bg_thresh'], class_set)
    chosen = preset.common.changed(**given)
    if not has_background(class_set):
        return dataclasses.replace(chosen, bg_thresh=None, background_words=())
    if chosen.bg_thresh is None and not chosen.background_words:
        raise ValueError(
            f'The protocol {name!r} has no background threshold for {_told(class_set)}: give one '
            'with bg_thresh.'
        )
    return chosen


def _told(class_set: ClassSet) -> str:
    """A class set in a sentence."""
    return repr(class_set) if isinstance(class_set, str) else f'{", ".join(class_set[:3])} ...'
