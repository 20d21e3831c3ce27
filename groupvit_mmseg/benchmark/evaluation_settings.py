"""Settings that all rows of an evaluation share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from groupvit_mmseg.benchmark.measures import OTHER
from groupvit_mmseg.benchmark.result_types import CheckpointRecord, ProtocolFields
from groupvit_mmseg.benchmark.sets import Benchmark


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings that all rows of an evaluation share.

    Attributes:
        out (Path): Folder of the results; the journals are in a folder below it.
        configs (Path): The folder ``configs`` of the project.
        weights (CheckpointRecord): Of ``describe_checkpoint``.
        data_root (Path): Folder of the sets. Defaults to ``data``.
        roots (Mapping[str, str]): Other folders, by set. Defaults to none.
        protocol (str): Preset. Defaults to ``'official'``.
        changes (ProtocolFields): Fields of the protocol to change. Defaults to none.
        class_files (Mapping[str, str]): Class files, by set. Defaults to none.
        model (str): Digest of the model's config. Defaults to ``''``.
        precision (str): One of ``PRECISIONS`` but ``'auto'``. Defaults to ``'fp32'``.
        device (str): Device of the model. Defaults to ``'cpu'``.
        batch_size (int): Images that share batches of windows. Defaults to 1.
        limit (int | None): Number of images to stop at. Defaults to None, all.
        measures (tuple[str, ...]): Some of ``MEASURES``. Defaults to none.
        query_other (tuple[str, ...]): Words that a single query competes with. Defaults to
            ``OTHER``.
        has_image_embeds (bool): Whether the model embeds whole images, as classification and the
            limit on the classes of a window need. Defaults to True.
    """

    out: Path
    configs: Path
    weights: CheckpointRecord
    data_root: Path = Path('data')
    roots: Mapping[str, str] = field(default_factory=dict)
    protocol: str = 'official'
    changes: ProtocolFields = field(default_factory=ProtocolFields)
    class_files: Mapping[str, str] = field(default_factory=dict)
    model: str = ''
    precision: str = 'fp32'
    device: str = 'cpu'
    batch_size: int = 1
    limit: int | None = None
    measures: tuple[str, ...] = ()
    query_other: tuple[str, ...] = OTHER
    has_image_embeds: bool = True

    def folder(self, benchmark: Benchmark) -> Path:
        """Return the folder of a set's files."""
        return Path(self.roots.get(benchmark.name, benchmark.folder(self.data_root)))
