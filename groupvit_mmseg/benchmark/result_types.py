"""Types of the journal's lines and of the result files, as JSON holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from groupvit_mmseg.evaluation.confusion import Pairs
from groupvit_mmseg.text.class_list import Templates


class ImageResult(TypedDict, total=False):
    """Result of one image: ``pairs`` of a segmented image, ``label`` and ``best`` of a classified.

    Attributes:
        image (str): File name without folders.
        pairs (Pairs): Pixels of each (label, prediction) pair, of ``count_pairs``.
        label (int): True class.
        best (list[int]): Up to five classes of the highest scores, in descending order.
        edges (list[list[int]]): Class, intersection and union of boundaries, if measured.
        confidence (list[list[int]]): Counts of ``count_confidence``, if measured.
        queries (list[list[int]]): Class, intersection and union of single queries, if measured.
        prediction (str): Label map of ``encode_labels``, if kept.
    """

    image: str
    pairs: Pairs
    label: int
    best: list[int]
    edges: list[list[int]]
    confidence: list[list[int]]
    queries: list[list[int]]
    prediction: str


class JournalLine(ImageResult, total=False):
    """Line of a journal.

    Attributes:
        index (int): Index of the image in the data set.
        files (list[int]): Fingerprint of the image and its mask, of ``ImageFiles``.
    """

    index: int
    files: list[int]


class ProtocolFields(TypedDict, total=False):
    """Fields of a ``Protocol`` that a user may change; see there."""

    short_side: int
    crop_size: int
    stride: int
    templates: Templates
    bg_thresh: float | str | None
    background_words: str | Sequence[str] | None
    top_k: int
    affinity: str
    image_weight: float
    logit_scale: float | None
    pamr_steps: int
    crf_steps: int
    tta_scales: float | Sequence[float]
    tta_flip: bool
    alias_pooling: str | None


class CheckpointRecord(TypedDict):
    """Name and SHA-256 of a checkpoint; both None for random weights."""

    file: str | None
    sha256: str | None


class ProtocolRecord(TypedDict):
    """Protocol of a result.

    Attributes:
        name (str): Preset.
        source (str): Who evaluates so.
        caveat (str): What differs from the source.
        changes (Mapping[str, object]): Fields that differ from the preset's.
        fields (ProtocolFields): All fields.
    """

    name: str
    source: str
    caveat: str
    changes: Mapping[str, object]
    fields: ProtocolFields


class ImagesRecord(TypedDict):
    """Images of a result: how many are evaluated, how many the set has, a digest of their names."""

    evaluated: int
    files: int
    digest: str


class ClassesRecord(TypedDict):
    """Classes of a result: how many, a digest, the content of the class file, all prompts."""

    count: int
    digest: str
    changed: Mapping[str, object] | None
    prompted: Mapping[str, object]


class Scores(TypedDict):
    """Scores of a set in percent.

    Attributes:
        metrics (dict[str, float]): By the name of the metric.
        class_iou (dict[str, float | None]): By class; None for an absent class.
    """

    metrics: dict[str, float]
    class_iou: dict[str, float | None]


class SetResult(Scores):
    """Content of a result file, ``SET.json``; ``measures`` are the details of measures."""

    set: str
    protocol: ProtocolRecord
    images: ImagesRecord
    classes: ClassesRecord
    checkpoint: CheckpointRecord
    precision: str
    batch_size: int
    measures: dict[str, object]
    versions: dict[str, str]
