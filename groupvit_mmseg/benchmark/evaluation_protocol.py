"""The settings of an evaluation protocol, :class:`Protocol`, checked when they are made."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, cast

from groupvit_mmseg.benchmark.result_types import ProtocolFields
from groupvit_mmseg.models.inference_options import is_count, read_options, read_scales
from groupvit_mmseg.models.word_affinity import AFFINITIES, check_affinity_options
from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.class_list import ClassChanges, ClassList, make_class_list
from groupvit_mmseg.text.vocabulary import as_words, is_background

if TYPE_CHECKING:
    from typing_extensions import Unpack

WITH_BACKGROUND = ('pascal_voc', 'pascal_context', 'coco_object')
"""tuple[str, ...]: Class sets whose label 0 is the background."""
MAX_LOGIT_SCALE = 100
EVERY_CLASS = 10**6
"""int: ``top_k`` of protocols in which a window keeps all classes."""

ClassSet = str | tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Settings of the evaluation of one set.

    Attributes:
        name (str): Preset that it derives from.
        source (str): Origin of the preset.
        short_side (int): Pixels of the shorter side after resizing, at the same aspect ratio.
        crop_size (int): Side of a window in pixels; 0 for whole images.
        stride (int): Pixels between windows.
        templates (str | tuple[str, ...]): Prompt templates.
        bg_thresh (float | None): Background threshold in [0, 1]; None without a background.
        background_words (tuple[str, ...]): Words whose pixels are background.
        top_k (int): Number of classes that a window keeps.
        affinity (str): Affinity of a segment to a word, ``softmax`` or ``cosine``; see
            :class:`.GroupViTZeroShotHead`.
        image_weight (float): Share of a window's own affinity in those of its segments.
        logit_scale (float | None): Factor on the similarities; None for that of the checkpoint.
        pamr_steps (int): Iterations of PAMR on the scores; 0 for none.
        crf_steps (int): Iterations of a fully connected CRF on them; 0 for none.
        tta_scales (tuple[float, ...]): Sizes in which each window is encoded.
        tta_flip (bool): Whether each is encoded flipped too.
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
    affinity: str = 'softmax'
    image_weight: float = 0.0
    logit_scale: float | None = None
    pamr_steps: int = 0
    crf_steps: int = 0
    tta_scales: tuple[float, ...] = (1.0,)
    tta_flip: bool = False
    alias_pooling: str | None = None
    caveat: str = ''

    def __post_init__(self) -> None:
        """Turn a text of words into a tuple; refuse values out of their range."""
        object.__setattr__(self, 'background_words', as_words(self.background_words or ()))
        object.__setattr__(self, 'tta_scales', read_scales(self.tta_scales))
        read_options(self.test_cfg())
        for name in ('short_side', 'top_k'):
            if not is_count(getattr(self, name)):
                raise ValueError(f'{name} = {getattr(self, name)!r} must be a positive number.')
        check_affinity_options(self.top_k, self.affinity, self.image_weight)
        scale = self.logit_scale
        is_number = isinstance(scale, Real) and not isinstance(scale, bool)
        if scale is not None and not (is_number and 0 < scale <= MAX_LOGIT_SCALE):
            raise ValueError(
                f'logit_scale = {scale!r} is not above 0 and at most {MAX_LOGIT_SCALE}, '
                'where the model clamps it.'
            )

    def test_cfg(self) -> dict[str, object]:
        """Return the entries of a segmentor's ``test_cfg``: windows, refinement, labels only."""
        size, step = (self.crop_size,) * 2, (self.stride,) * 2
        windows = dict(mode='slide', crop_size=size, stride=step)
        return dict(
            windows if self.crop_size else dict(mode='whole'),
            with_scores=False,
            with_group_map=False,
            pamr_steps=self.pamr_steps,
            crf_steps=self.crf_steps,
            tta_scales=self.tta_scales,
            tta_flip=self.tta_flip,
        )

    def class_list(
        self,
        class_set: ClassSet,
        classes: ClassFile | None = None,
        *,
        alias_pooling: str = 'max',
    ) -> ClassList:
        """Return the prompts for a set.

        Args:
            class_set (str | tuple[str, ...]): A set that ``class_names`` knows, or names.
            classes (ClassFile, optional): Content of a class file, which replaces the set's
                own spellings. Defaults to None.
            alias_pooling (str): Pooling of the model, for protocols without one. Defaults to
                ``'max'``.

        Raises:
            ValueError: If the classes cannot be used, or their background is not that of the set
                and of the protocol.
        """
        options: ClassChanges = {'class_names': class_set}
        if classes is not None:
            self._check_class_file(class_set, classes)
            options = {**classes}
        options['with_background'] = has_background(class_set)
        options['bg_thresh'] = self.bg_thresh
        options['background_words'] = self.background_words
        options['templates'] = self.templates
        options['alias_pooling'] = self.alias_pooling or alias_pooling
        return make_class_list(**options)

    def _check_class_file(self, class_set: ClassSet, classes: ClassFile) -> None:
        """Refuse a class file with fields or a background that contradict set and protocol."""
        extra = [key for key in ('bg_thresh', 'templates', 'alias_pooling') if key in classes]
        if extra:
            raise ValueError(
                f'The class file has {", ".join(extra)}, which the protocol decides: '
                f'leave it out of the file, and give it with --change {extra[0]}=...'
            )
        has = has_background(class_set)
        if classes['with_background'] != has:
            raise ValueError(
                f'{abbreviated(class_set)} has {"a" if has else "no"} background, but the class '
                f'file has {"none" if has else "one"}: begin it with a background, or leave that '
                'out.'
            )
        words = tuple(classes['background_words'])
        if words and words != self.background_words:
            raise ValueError(
                f'The class file has the background words {", ".join(words)}, the protocol '
                f'{", ".join(self.background_words) or "none"}: give them in one place.'
            )

    def unmet_by_adapters(self) -> list[str]:
        """Return the settings that models which score the classes themselves do not follow."""
        settings = []
        if self.top_k < EVERY_CLASS:
            settings.append(f'a window keeps all classes, not the {self.top_k} nearest ones')
        if self.affinity != AFFINITIES[0]:
            settings.append(f'the model scores classes itself, not by {self.affinity}')
        if self.image_weight:
            settings.append(f'image_weight = {self.image_weight} is not applied')
        return settings

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


def has_background(class_set: ClassSet) -> bool:
    """Return whether the first class is the background: of a known set, or of a list of names."""
    if isinstance(class_set, str):
        return class_set in WITH_BACKGROUND
    return bool(class_set) and is_background(class_set[0])


def abbreviated(class_set: ClassSet) -> str:
    """Return the name of a class set, or the first of its classes."""
    return repr(class_set) if isinstance(class_set, str) else f'{", ".join(class_set[:3])} ...'
