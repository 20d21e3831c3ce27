"""Files of a study's runs, as JSON holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

CONFIG, TASK, PROGRESS, RESULT, PICTURES, LOG = (
    'config.py',
    'task.json',
    'progress.json',
    'result.json',
    'pictures.npz',
    'log.txt',
)
"""str: Names of the files in the folder of a run."""


class Task(TypedDict):
    """The settings of one run, which its process reads.

    Attributes:
        variant (str): Name of the variant.
        seed (int): Seed.
        config (str): Digest of the config with its folders.
        settings (dict[str, str]): Fields of :class:`.RunSettings`.
        metrics (Sequence[str]): Names of the metrics, those of further evaluations included.
        evaluations (Mapping[str, Mapping[str, object]]): Further evaluations, as in a study.
        weights_from (str | None): Folder of the run whose weights are evaluated; None to train.
        starts_from (str | None): Folder of the run whose weights the training starts from.
        module_folder (str): Folder of the variant's config, whose ``custom_imports`` are found.
    """

    variant: str
    seed: int
    config: str
    settings: dict[str, str]
    metrics: Sequence[str]
    evaluations: Mapping[str, Mapping[str, object]]
    weights_from: str | None
    starts_from: str | None
    module_folder: str


class Progress(TypedDict):
    """The course of a training.

    Attributes:
        curve (dict[str, dict[str, float]]): Metrics of each validation, by epoch.
        pairs (int): Pairs seen by the process that ended last, in whole epochs.
        seconds (float): Time that it took for these.
        steps (int): Steps of the whole training so far.
        batch_size (int): Pairs per step.
        finished (bool): Whether the training is complete.
    """

    curve: dict[str, dict[str, float]]
    pairs: int
    seconds: float
    steps: int
    batch_size: int
    finished: bool


class RunResult(TypedDict):
    """Result of one run.

    Attributes:
        variant (str): Name of the variant.
        seed (int): Seed.
        metrics (dict[str, float | None]): By name; None where a metric is undefined.
        class_iou (dict[str, dict[str, float | None]]): IoU in percent of each class, by metric.
        bg_thresh (dict[str, float]): Calibrated thresholds, by evaluation.
        curve (dict[str, dict[str, float]]): Metrics of each validation during training, by epoch.
        steps (int): Training steps; 0 for a variant that is not trained.
        minutes (float): Training time without validation, estimated from the speed.
        evaluation_minutes (float): Time of the evaluation.
        pairs_per_s (float): Pairs per second of training.
        threads (int): Threads of PyTorch.
        settings (dict[str, str]): Fields of :class:`.RunSettings`.
        versions (dict[str, str]): Of Python and the packages.
    """

    variant: str
    seed: int
    metrics: dict[str, float | None]
    class_iou: dict[str, dict[str, float | None]]
    bg_thresh: dict[str, float]
    curve: dict[str, dict[str, float]]
    steps: int
    minutes: float
    evaluation_minutes: float
    pairs_per_s: float
    threads: int
    settings: dict[str, str]
    versions: dict[str, str]


class Run(NamedTuple):
    """One run of a study.

    Attributes:
        variant (str): Name of the variant.
        seed (int): Seed.
        folder (Path): Folder of its files.
        source (Path, optional): Folder of the run whose weights are evaluated. Defaults to None.
        start (Path, optional): Folder of the run whose weights the training starts from.
            Defaults to None.
    """

    variant: str
    seed: int
    folder: Path
    source: Path | None = None
    start: Path | None = None

    @property
    def name(self) -> str:
        """Name in messages."""
        return f'{self.variant}/seed-{self.seed}'

    def result(self) -> RunResult | None:
        """Return the result; None if the run is not finished."""
        file = self.folder / RESULT
        return cast(RunResult, json.loads(file.read_text())) if file.is_file() else None

    def task(self) -> Task | None:
        """Return the task of a run that was begun; None otherwise."""
        file = self.folder / TASK
        return cast(Task, json.loads(file.read_text())) if file.is_file() else None

    def weights(self) -> Path:
        """Return the folder of the checkpoints that are evaluated."""
        return (self.source or self.folder) / 'train'
